//! A checked model file.

use super::PxgError;
use super::header::{Header, MAGIC, MAX_STEPS, PREFIX_LEN, VERSION, crc32};
use super::layout::{Layout, TEST_LEN, padded};
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
    /// Checks everything: prefix, lengths, checksum, header, sizes and scales. `bytes` is the whole file, at a multiple of
    /// [`ALIGN`] bytes: [`include_pxg!`](crate::include_pxg) and [`align`](crate::align) see to that.
    ///
    /// # Errors
    /// The first thing that is wrong with the file.
    pub fn read(bytes: &'a [u8]) -> Result<Self, PxgError> {
        Self::read_with(bytes, true)
    }

    /// As [`read`](Self::read) without the checksum, which takes six instructions a byte: for a file that was checked before.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_trusted(bytes: &'a [u8]) -> Result<Self, PxgError> {
        Self::read_with(bytes, false)
    }

    fn read_with(bytes: &'a [u8], checksum: bool) -> Result<Self, PxgError> {
        let too_short = PxgError::Length { need: PREFIX_LEN as u64, have: bytes.len() };
        let (prefix, rest) = bytes.split_first_chunk::<PREFIX_LEN>().ok_or(too_short)?;
        if prefix[..8] != MAGIC {
            return Err(PxgError::Magic);
        }
        let u16_at = |at: usize| u16::from_le_bytes([prefix[at], prefix[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
        let (version, header_len, body_start, body_len, crc) = (u16_at(8), u16_at(10), u32_at(12), u32_at(16), u32_at(20));
        if version != VERSION {
            return Err(PxgError::Version { found: version });
        }
        if !(bytes.as_ptr() as usize).is_multiple_of(ALIGN) {
            return Err(PxgError::Misaligned);
        }
        let need = u64::from(body_start) + u64::from(body_len);
        let length = PxgError::Length { need, have: bytes.len() };
        let header_end = PREFIX_LEN + usize::from(header_len);
        if need != bytes.len() as u64 || body_start as usize != header_end.next_multiple_of(ALIGN) {
            return Err(length);
        }
        let body = bytes.get(body_start as usize..).ok_or(length)?;
        if checksum {
            let found = crc32(prefix, rest);
            if found != crc {
                return Err(PxgError::Checksum { expected: crc, found });
            }
        }
        let header = bytes.get(PREFIX_LEN..header_end).ok_or(length)?;
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

    /// Name of a class.
    #[expect(
        clippy::manual_pattern_char_comparison,
        reason = "the search for a character, which `lines` uses too, has a panic"
    )]
    pub fn class_name(&self, class: usize) -> Option<&'a str> {
        self.header.class_names.split(|c| c == '\n').nth(class)
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
fn check_size(config: &ModelConfig) -> Result<(), ConfigError> {
    let (encoder, decoder) = (&config.encoder, &config.decoder);
    let row = encoder.width.max(decoder.width).max(padded(config.patch_len()));
    // More than the long skips, the stream and the activations of a block are together; neither factor can leave 64 bits.
    let bytes = (config.tokens() as u64 + 16) * (encoder.depth as u64 + 16) * row as u64;
    if bytes < 1 << 31 { Ok(()) } else { Err(ConfigError::ChipSize) }
}
