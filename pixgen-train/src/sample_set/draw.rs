//! Drawing what is missing, while a thread in the background writes it. Where the system has no thread to spare, the drawing waits for the
//! writing.

use super::error::SampleSetError;
use super::folder::{Manifest, SampleFolder};
use crate::distributed::Collective;
use crate::ops::FusedOps;
use crate::run::Progress;
use crate::sampling::{BATCH, LoadedGenerator, SampleRequest};
use pixgen_edge::interrupt;
use pixgen_edge::picture::{Picture, png};
use pixgen_edge::threads;
use pixgen_edge::units::counted;
use rayon::prelude::*;
use std::sync::mpsc;
use std::thread::{self, Builder};

/// Values of the pictures that are drawn at once.
const BLOCK_VALUES: usize = 4 << 20;

/// Pictures of a block: a function of their size alone, because a GPU may round in another way in a batch of another size.
fn block(image_len: usize) -> u64 {
    (BLOCK_VALUES / image_len).clamp(16, BATCH) as u64
}

/// A block of pictures on its way to the disk: those with these numbers, of `pixels` that begin at picture `first`.
struct Drawn {
    first: u64,
    numbers: Vec<u64>,
    pixels: Vec<u8>,
}

/// Draws those of the first `count` pictures of `manifest` that are missing in `folder`, which `ranks` do in turns; rank 0 alone has the folder.
/// The process may end at any moment: files are whole or not there, and the next
/// call goes on.
///
/// Blocks are aligned and drawn as a whole, so that a picture has the same neighbours whenever it is drawn.
///
/// # Errors
/// Those of [`SampleFolder::missing`], and files that cannot be written.
pub fn complete<B: FusedOps>(
    folder: Option<&SampleFolder>,
    manifest: &Manifest,
    generator: &mut LoadedGenerator<'_, B>,
    count: u64,
    ranks: &Collective,
    quiet: bool,
) -> Result<(), SampleSetError> {
    let (size, channels) = generator.picture_shape();
    let block = block(size * size * channels);
    let missing = ranks.broadcast_all(folder.map_or_else(|| Ok(Vec::new()), |folder| folder.missing(count))?);
    let there = count - missing.len() as u64;
    let blocks: Vec<&[u64]> = missing.chunk_by(|a, b| a / block == b / block).collect();
    let mut draw = |number: usize| {
        let first = blocks[number][0] / block * block;
        let classes: Vec<usize> = (first..count.min(first + block)).map(|number| manifest.class(number)).collect();
        generator.draw(&SampleRequest { seed: manifest.seed, first, classes: &classes, drawing: manifest.drawing })
    };
    let Some(folder) = folder else {
        return ranks.in_turns(blocks.len(), draw, |_, _| Ok(()));
    };
    let mut progress = Progress::new("sample", there, count, quiet);
    if there > 0 && there < count {
        progress.message(&format!("{there} of {count} pictures are there"));
    }
    let mut writer = Writer { folder, size, channels, there };
    writer.note_saved();
    thread::scope(|scope| {
        // Two blocks wait at most, so that a slow disk does not fill the memory.
        let (sender, receiver) = mpsc::sync_channel::<Drawn>(2);
        let mut own = writer.clone();
        let serve = move || receiver.iter().try_for_each(|drawn| own.write(&drawn));
        let thread = threads::may_wait_for_others()
            .then(|| Builder::new().spawn_scoped(scope, serve).ok())
            .flatten();
        let mut done = there;
        let gone = ranks.in_turns(blocks.len(), &mut draw, |number, pixels| {
            let numbers = blocks[number].to_vec();
            done += numbers.len() as u64;
            let drawn = Drawn { first: numbers[0] / block * block, numbers, pixels };
            if thread.is_none() {
                writer.write(&drawn).map_err(Some)?;
            } else if sender.send(drawn).is_err() {
                // The writer has gone away: it says why.
                return Err(None);
            }
            progress.update(done, None);
            Ok(())
        });
        drop(sender);
        let written = thread.map_or(Ok(()), |thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        gone.or_else(|error| error.map_or(Ok(()), Err)).and(written)
    })?;
    if there < count {
        progress.finish();
    }
    Ok(folder.write_labels(count)?)
}

/// Writes what was drawn.
#[derive(Clone)]
struct Writer<'a> {
    folder: &'a SampleFolder,
    size: usize,
    channels: usize,
    /// Pictures in the folder.
    there: u64,
}

impl Writer<'_> {
    /// Notes each picture for the sentence of an interrupt.
    fn write(&mut self, drawn: &Drawn) -> Result<(), SampleSetError> {
        let Self { folder, size, channels, .. } = *self;
        let len = size * size * channels;
        let encode = |&number: &u64| {
            let at = (number - drawn.first) as usize * len;
            let picture = Picture::new(size, size, channels, drawn.pixels[at..at + len].to_vec())?;
            png::encode(&picture, None)
        };
        let files: Vec<_> = drawn.numbers.par_iter().map(encode).collect();
        for (&number, file) in drawn.numbers.iter().zip(files) {
            folder.write(number, &file?)?;
            self.there += 1;
            self.note_saved();
        }
        Ok(())
    }

    fn note_saved(&self) {
        if self.there > 0 {
            interrupt::saved(&format!("{} in {}", counted(self.there as usize, "picture", "pictures"), self.folder.path().display()));
        }
    }
}
