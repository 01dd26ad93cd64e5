//! The pictures of a data set at the training shape: all of them in memory, or each decoded when it is asked for.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::data::decode::decode;
use crate::data::error::BadFile;
use crate::data::listing::Listing;
use crate::data::resize;
use crate::data::shape::ImageShape;

/// Where the pixels of a data set are.
#[derive(Clone, Debug)]
pub(crate) enum ImageStore {
    /// One image after another.
    Memory(Vec<u8>),
    /// In their files.
    Stream(Stream),
}

/// Pictures that are read and decoded when they are asked for, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    listing: Arc<Listing>,
    /// Number in the listing of each picture.
    picks: Vec<u32>,
    shape: ImageShape,
    background: [u8; 3],
    /// What happens with a bad file: the next good one of its class takes its place, or it is an error.
    replace: bool,
    bad: Arc<Mutex<Bad>>,
}

/// Bad files that others took the place of.
#[derive(Debug, Default)]
struct Bad {
    known: HashSet<u32>,
    untold: Vec<BadFile>,
}

impl Stream {
    /// Picture `index`; with replacement, of the first good file from there on that has its class.
    fn image(&self, index: usize) -> Result<Vec<u8>, BadFile> {
        let first = match self.decode(self.picks[index]) {
            Err(bad) if self.replace => bad,
            other => return other,
        };
        self.note(self.picks[index], &first);
        let class = |pick: u32| self.listing.entries[pick as usize].label;
        let after = self.picks[index + 1..].iter().chain(&self.picks[..index]);
        for &pick in after.filter(|&&pick| class(pick) == class(self.picks[index])) {
            match self.decode(pick) {
                Ok(pixels) => return Ok(pixels),
                Err(bad) => self.note(pick, &bad),
            }
        }
        Err(first)
    }

    fn decode(&self, pick: u32) -> Result<Vec<u8>, BadFile> {
        read_picture(&self.listing, pick as usize, self.shape, self.background)
    }

    fn note(&self, pick: u32, file: &BadFile) {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        if bad.known.insert(pick) {
            bad.untold.push(file.clone());
        }
    }
}

impl ImageStore {
    /// The pictures of a listing, decoded when they are asked for; with `replace` the next good one of its class takes the place of a bad
    /// file, so that the same picture is seen in its place every time.
    pub fn stream(listing: Listing, shape: ImageShape, background: [u8; 3], replace: bool) -> Self {
        let picks = (0..listing.len() as u32).collect();
        let (listing, bad) = (Arc::new(listing), Arc::default());
        Self::Stream(Stream { listing, picks, shape, background, replace, bad })
    }
    /// Picture `index` of `size` bytes.
    pub fn image(&self, index: usize, size: usize) -> Result<Cow<'_, [u8]>, BadFile> {
        match self {
            Self::Memory(pixels) => Ok(Cow::Borrowed(&pixels[index * size..(index + 1) * size])),
            Self::Stream(stream) => stream.image(index).map(Cow::Owned),
        }
    }

    /// The pictures with these indices.
    pub fn select(&self, indices: &[usize], size: usize) -> Self {
        match self {
            Self::Memory(pixels) => {
                let pieces = indices.iter().map(|&index| &pixels[index * size..(index + 1) * size]);
                Self::Memory(pieces.flatten().copied().collect())
            }
            Self::Stream(stream) => {
                let picks = indices.iter().map(|&index| stream.picks[index]).collect();
                Self::Stream(Stream { picks, ..stream.clone() })
            }
        }
    }

    /// Bad files that others took the place of since the last call.
    pub fn newly_bad(&self) -> Vec<BadFile> {
        match self {
            Self::Memory(_) => Vec::new(),
            Self::Stream(stream) => std::mem::take(&mut stream.bad.lock().unwrap_or_else(PoisonError::into_inner).untold),
        }
    }
}

/// Reads, decodes and fits one picture of a listing.
pub(crate) fn read_picture(listing: &Listing, index: usize, shape: ImageShape, background: [u8; 3]) -> Result<Vec<u8>, BadFile> {
    let mut bytes = Vec::new();
    listing.read(index, &mut bytes)?;
    let image = decode(&bytes, background).map_err(|reason| BadFile { path: listing.path(index), reason })?;
    Ok(resize::fit(image.pixels, image.shape, shape))
}
