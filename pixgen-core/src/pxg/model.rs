//! A checked model file.

use super::PxgError;
use super::header::{Header, MAX_STEPS, PREFIX_LEN, crc32};
use super::layout::{Layout, TEST_LEN, padded};
use super::prefix::Prefix;
use crate::aligned::ALIGN;
use crate::config::{ConfigError, ModelConfig};
use crate::params::{Layer, Side, Site};
use bytemuck::AnyBitPattern;
use core::ops::Range;

/// A checked model file.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    header: Header<'a>,
    layout: Layout,
    body: &'a [u8],
    len: usize,
}

impl<'a> Model<'a> {
    /// Checks everything: prefix, lengths, checksum, header, sizes and scales. `bytes` begin with the file, at a multiple of
    /// [`ALIGN`] bytes: [`include_pxg!`](crate::include_pxg) and [`align`](crate::align) see to that. What follows the file is ignored,
    /// so a flash partition can be given whole.
    ///
    /// # Errors
    /// The first thing that is wrong with the file.
    pub fn read(bytes: &'a [u8]) -> Result<Self, PxgError> {
        Self::read_with(bytes, false)
    }

    /// As [`read`](Self::read) without the checksum, which takes six instructions a byte, and the count of names: for a file that was checked before.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_trusted(bytes: &'a [u8]) -> Result<Self, PxgError> {
        Self::read_with(bytes, true)
    }

    fn read_with(bytes: &'a [u8], trusted: bool) -> Result<Self, PxgError> {
        let prefix = Prefix::read(bytes)?;
        if !(bytes.as_ptr() as usize).is_multiple_of(ALIGN) {
            return Err(PxgError::Misaligned);
        }
        let length = PxgError::Length { need: prefix.file_len as u64, have: bytes.len() };
        // What lies behind the file in its partition is not looked at.
        let bytes = bytes.get(..prefix.file_len).ok_or(length)?;
        let (start, rest) = bytes.split_first_chunk::<PREFIX_LEN>().ok_or(length)?;
        let body = bytes.get(prefix.body_start..).ok_or(length)?;
        if !trusted {
            let found = crc32(start, rest);
            if found != prefix.crc {
                return Err(PxgError::Checksum { expected: prefix.crc, found });
            }
        }
        let header = bytes.get(PREFIX_LEN..prefix.header_end).ok_or(length)?;
        let (header, left) = postcard::take_from_bytes::<Header<'a>>(header).map_err(|_| PxgError::Header)?;
        if !left.is_empty() || header.steps == 0 || usize::from(header.steps) > MAX_STEPS {
            return Err(PxgError::Header);
        }
        header.model.validate()?;
        check_widths(&header.model)?;
        check_size(&header.model)?;
        let layout = Layout::new(&header.model, usize::from(header.steps));
        let need = layout.body_len(usize::from(header.tests));
        if need != body.len() as u64 {
            return Err(PxgError::Body { need, have: body.len() });
        }
        if !trusted && !header.class_names.is_empty() {
            let (names, classes) = (lines(header.class_names).count(), header.model.classes);
            if names != classes {
                return Err(PxgError::ClassNames { names, classes });
            }
        }
        let model = Self { header, layout, body, len: bytes.len() };
        model.check_values()?;
        Ok(model)
    }

    pub(super) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Values of a part; `None` where it does not lie inside the body.
    pub(super) fn slice<T: AnyBitPattern>(&self, range: Range<usize>) -> Option<&'a [T]> {
        bytemuck::try_cast_slice(self.body.get(range)?).ok()
    }

    pub(super) fn words<const N: usize>(&self, range: Range<usize>) -> Option<[i32; N]> {
        self.slice::<i32>(range)?.first_chunk::<N>().copied()
    }

    /// What the file says about its model.
    pub const fn header(&self) -> &Header<'a> {
        &self.header
    }

    /// The architecture.
    pub const fn config(&self) -> &ModelConfig {
        &self.header.model
    }

    /// Bytes of the file.
    pub const fn file_len(&self) -> usize {
        self.len
    }

    /// Network evaluations of a picture.
    pub const fn steps(&self) -> usize {
        self.header.steps as usize
    }

    /// Name of a class; `None` where it has none, and is called by its number. Counts lines from the start: for all names there is
    /// [`class_names`](Self::class_names).
    pub fn class_name(&self, class: usize) -> Option<&'a str> {
        self.class_names().nth(class).flatten()
    }

    /// Names of all classes, in order, as [`class_name`](Self::class_name) has them.
    pub fn class_names(&self) -> ClassNames<'a> {
        ClassNames { lines: lines(self.header.class_names), left: self.header.model.classes }
    }

    /// Seed, class and hash of a self-test vector; `None` when there is no such vector.
    pub fn test(&self, number: usize) -> Option<(u64, usize, u64)> {
        let bytes = self.body.get(self.layout.test(number))?.first_chunk::<TEST_LEN>()?;
        let [seed, class, hash] = [0, 8, 16].map(|at| u64::from_le_bytes(core::array::from_fn(|i| bytes[at + i])));
        Some((seed, usize::try_from(class).ok()?, hash))
    }

    /// Refuses shifts that no exporter writes. A wrong scale makes a wrong picture, never a fault.
    fn check_values(&self) -> Result<(), PxgError> {
        let below_32 = |range: Range<usize>, at: usize| {
            let word = self.words::<4>(range).map(|words| words[at]);
            word.is_some_and(|word| (0..32).contains(&word))
        };
        let config = self.config();
        let whole = [
            (Side::Encoder, Layer::PatchEmbed),
            (Side::Encoder, Layer::FinalNorm),
            (Side::Decoder, Layer::FinalNorm),
            (Side::Decoder, Layer::Head),
        ];
        let bridge = config.has_bridge().then_some((Side::Decoder, Layer::Bridge));
        let in_block = [
            Layer::Norm1,
            Layer::Qkv,
            Layer::Attend,
            Layer::Proj,
            Layer::Norm2,
            Layer::Fc1,
            Layer::Fc2,
            Layer::Skip,
            Layer::SkipNorm,
        ];
        let check = |site: Site| {
            let linear = self.layout.linear(site, 0).is_none_or(|part| below_32(part.words, 0));
            let norm = self
                .layout
                .norm(site)
                .is_none_or(|part| below_32(part.words.clone(), 0) && below_32(part.words, 2));
            let words = self.layout.words(site).is_none_or(|range| below_32(range, 1));
            if linear && norm && words {
                Ok(())
            } else {
                Err(PxgError::Value(site))
            }
        };
        for (side, layer) in whole.into_iter().chain(bridge) {
            check(Site::new(side, 0, layer))?;
        }
        for (side, tower) in [(Side::Encoder, config.encoder), (Side::Decoder, config.decoder)] {
            for block in 0..tower.depth {
                for layer in in_block {
                    check(Site::new(side, block, layer))?;
                }
            }
        }
        Ok(())
    }
}

/// The names of a model's classes ([`Model::class_names`]). A line for each; a class without a line, or with an empty one, has no name.
#[derive(Clone, Debug)]
pub struct ClassNames<'a> {
    lines: Lines<'a>,
    left: usize,
}

impl<'a> Iterator for ClassNames<'a> {
    type Item = Option<&'a str>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.lines.next().filter(|name| !name.is_empty()))
    }
}

/// What [`lines`] goes through.
type Lines<'a> = core::str::Split<'a, fn(char) -> bool>;

/// The lines of a header's class names.
#[expect(
    clippy::manual_pattern_char_comparison,
    reason = "the search for a character, which `lines` of `str` uses too, has a panic"
)]
fn lines(names: &str) -> Lines<'_> {
    names.split(|c| c == '\n')
}

/// The chip's rows are read in words of four bytes.
pub fn check_widths(config: &ModelConfig) -> Result<(), ConfigError> {
    for (tower, width) in [("encoder", config.encoder.width), ("decoder", config.decoder.width)] {
        if !width.is_multiple_of(4) {
            return Err(ConfigError::ChipWidth { tower });
        }
    }
    Ok(())
}

/// Keeps lengths, and the workspace with them, within 31 bits, on every machine alike.
pub(crate) fn check_size(config: &ModelConfig) -> Result<(), ConfigError> {
    let (encoder, decoder) = (&config.encoder, &config.decoder);
    let row = encoder.width.max(decoder.width).max(padded(config.patch_len()));
    // More than the long skips, the stream and the activations of a block are together; neither factor can leave 64 bits.
    let bytes = (config.tokens() as u64 + 16) * (encoder.depth as u64 + 16) * row as u64;
    if bytes < 1 << 31 { Ok(()) } else { Err(ConfigError::ChipSize) }
}
