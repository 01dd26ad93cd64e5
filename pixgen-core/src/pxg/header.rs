//! Prefix and header of a file: what they hold, and how they are written around a finished body.

use crate::aligned::ALIGN;
use crate::config::ModelConfig;
use crc::{CRC_32_ISO_HDLC, Crc};
use serde::{Deserialize, Serialize};

/// The first bytes of a file. The line end shows damage by text transfer.
pub const MAGIC: [u8; 8] = *b"PIXGEN\r\n";
/// Version of the format that is read and written here.
pub const VERSION: u16 = 1;
/// Bytes before the header: magic, u16 version, u16 header length, u32 body start, u32 body length, u32 CRC-32.
pub const PREFIX_LEN: usize = 24;
/// The most steps of a sampler.
pub const MAX_STEPS: usize = 2;

/// What a file says about its model.
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
    /// Names of the classes, one a line; empty where none has one. [`Model::class_names`](super::Model::class_names) takes them apart.
    pub class_names: &'a str,
    /// Images seen in training.
    pub images: u64,
    /// CRC-32 of the weights that were exported.
    pub source: u32,
}

/// Writes a file of this header and body into `file` and returns its length. `None` when `file` is too short or a length does not fit
/// its field.
pub fn encode(header: &Header<'_>, body: &[u8], file: &mut [u8]) -> Option<usize> {
    let (prefix, rest) = file.split_first_chunk_mut::<PREFIX_LEN>()?;
    let header_len = postcard::to_slice(header, rest).ok()?.len();
    let body_start = (PREFIX_LEN + header_len).next_multiple_of(ALIGN);
    let end = body_start.checked_add(body.len())?;
    rest.get_mut(header_len..body_start - PREFIX_LEN)?.fill(0);
    rest.get_mut(body_start - PREFIX_LEN..end - PREFIX_LEN)?.copy_from_slice(body);
    let content = rest.get(..end - PREFIX_LEN)?;
    prefix[..8].copy_from_slice(&MAGIC);
    prefix[8..10].copy_from_slice(&VERSION.to_le_bytes());
    prefix[10..12].copy_from_slice(&u16::try_from(header_len).ok()?.to_le_bytes());
    prefix[12..16].copy_from_slice(&u32::try_from(body_start).ok()?.to_le_bytes());
    prefix[16..20].copy_from_slice(&u32::try_from(body.len()).ok()?.to_le_bytes());
    let crc = crc32(prefix, content);
    prefix[20..].copy_from_slice(&crc.to_le_bytes());
    Some(end)
}

/// CRC-32 of the file without the checksum itself; `rest` is what follows the prefix.
pub(super) fn crc32(prefix: &[u8; PREFIX_LEN], rest: &[u8]) -> u32 {
    const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    let mut digest = CRC.digest();
    digest.update(&prefix[..PREFIX_LEN - 4]);
    digest.update(rest);
    digest.finalize()
}
