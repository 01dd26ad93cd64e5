//! The `.pxg` model file, read in place from flash (docs/reference/format-pxg.md), and what is done with it: draw, test.
//!
//! ```text
//! prefix 24 bytes | header, postcard | zeros to 16 | body: parts in the places of `layout` | self-test vectors
//! ```
//!
//! Nothing is copied: the slice is borrowed for as long as the model lives. All numbers are little-endian.

mod draw;
mod error;
pub mod layout;
mod parts;
mod write;

pub use draw::{Hash, Request, Usage};
pub use error::{DrawError, PxgError, SelfTestError};
pub use parts::{Linear, Modulation, Norm, Step};
pub use write::{PREFIX_LEN, encode};

use crate::config::{ConfigError, ModelConfig};
use crc::{CRC_32_ISO_HDLC, Crc};
use layout::{ALIGN, Layout, TEST_LEN, padded};
use serde::{Deserialize, Serialize};

#[cfg(target_endian = "big")]
compile_error!("weights are read in place and are little-endian");

/// The first bytes of a file. The line end shows damage by text transfer.
pub const MAGIC: [u8; 8] = *b"PIXGEN\r\n";
/// Version of the format that is read and written here.
pub const VERSION: u16 = 1;
/// The most steps of a sampler.
pub const MAX_STEPS: usize = 2;

/// What the file says of its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header<'a> {
    /// Architecture; `classes` counts the exported ones.
    pub model: ModelConfig,
    /// Network evaluations of a picture, 1 or 2.
    pub steps: u8,
    /// True when the noisy input is part of the output (c_skip is not 0).
    pub skips_input: bool,
    /// Self-test vectors at the end of the body.
    pub tests: u16,
    /// Name of the model, for people.
    pub name: &'a str,
    /// Names of the classes, one a line.
    pub class_names: &'a str,
    /// Images seen in training.
    pub images: u64,
    /// CRC-32 of the weights that were exported.
    pub source: u32,
}

/// A checked model file.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    header: Header<'a>,
    layout: Layout,
    body: &'a [u8],
    len: usize,
}

impl<'a> Model<'a> {
    /// Checks everything: prefix, lengths, checksum, header, sizes and scales. `bytes` is the whole file, 16-byte aligned.
    pub fn read(bytes: &'a [u8]) -> Result<Self, PxgError> {
        Self::read_with(bytes, true)
    }

    /// As [`read`](Self::read) without the checksum, which takes six instructions a byte: for a file that was checked before.
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

    /// What the file says of its model.
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

    /// Workspace for [`draw`](Self::draw), bytes.
    pub const fn workspace_len(&self) -> usize {
        crate::integer::workspace_len(&self.header.model, self.steps())
    }

    /// Name of a class.
    #[expect(
        clippy::manual_pattern_char_comparison,
        reason = "the search for a character, which `lines` uses too, has a panic"
    )]
    pub fn class_name(&self, class: usize) -> Option<&'a str> {
        self.header.class_names.split(|c| c == '\n').nth(class)
    }

    /// Seed, class and hash of a self-test vector.
    fn test(&self, number: usize) -> Option<(u64, usize, u64)> {
        let bytes = self.body.get(self.layout.test(number))?.first_chunk::<TEST_LEN>()?;
        let [seed, class, hash] = [0, 8, 16].map(|at| u64::from_le_bytes(core::array::from_fn(|i| bytes[at + i])));
        Some((seed, usize::try_from(class).ok()?, hash))
    }
}

/// The chip's rows are read in words of four bytes.
pub fn check_widths(config: &ModelConfig) -> Result<(), ConfigError> {
    for (field, tower) in [("encoder", &config.encoder), ("decoder", &config.decoder)] {
        if !tower.width.is_multiple_of(4) {
            return Err(ConfigError { field, reason: "width must be a multiple of 4 for a chip" });
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
    if bytes < 1 << 31 {
        Ok(())
    } else {
        Err(ConfigError { field: "size", reason: "too many tokens for a chip: activations would take gigabytes" })
    }
}

/// CRC-32 of the file without the checksum itself; `rest` is what follows the prefix.
fn crc32(prefix: &[u8; PREFIX_LEN], rest: &[u8]) -> u32 {
    const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    let mut digest = CRC.digest();
    digest.update(&prefix[..PREFIX_LEN - 4]);
    digest.update(rest);
    digest.finalize()
}
