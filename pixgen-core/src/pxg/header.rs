//! Prefix and header of a file: what they hold, and how they are written around a finished body.

use super::PxgError;
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

/// What the first [`PREFIX_LEN`] bytes say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix {
    /// Where the header ends.
    pub header_end: usize,
    /// Where the body begins.
    pub body_start: usize,
    /// Where the body, and the file with it, ends.
    pub file_len: usize,
    /// CRC-32 of everything else.
    pub crc: u32,
}

impl Prefix {
    /// Reads the start of a file and holds its lengths against each other.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, PxgError> {
        let have = bytes.len();
        let prefix = bytes.first_chunk::<PREFIX_LEN>();
        let prefix = prefix.ok_or(PxgError::Length { need: PREFIX_LEN as u64, have })?;
        if prefix[..8] != MAGIC {
            return Err(PxgError::Magic);
        }
        let u16_at = |at: usize| u16::from_le_bytes([prefix[at], prefix[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
        let (version, header_len, body_start, body_len, crc) = (u16_at(8), u16_at(10), u32_at(12), u32_at(16), u32_at(20));
        if version != VERSION {
            return Err(PxgError::Version { found: version });
        }
        let need = u64::from(body_start) + u64::from(body_len);
        let header_end = PREFIX_LEN + usize::from(header_len);
        // No slice is longer than `isize`: such a file cannot lie in this machine's memory.
        match usize::try_from(need) {
            Ok(file_len) if file_len <= isize::MAX as usize && body_start as usize == header_end.next_multiple_of(ALIGN) => {
                Ok(Self { header_end, body_start: body_start as usize, file_len, crc })
            }
            _ => Err(PxgError::Length { need, have }),
        }
    }
}

/// Bytes of the file that begins with `prefix`, by its first [`PREFIX_LEN`] bytes: how much of a flash partition, or of a stream, is the file.
///
/// ```
/// use pixgen_core::pxg::{file_len, PREFIX_LEN};
///
/// # let partition = include_bytes!("../../examples/nano-28-grey.pxg");
/// let len = file_len(&partition[..PREFIX_LEN])?;
/// assert_eq!(len, partition.len());
/// # Ok::<(), pixgen_core::pxg::PxgError>(())
/// ```
///
/// # Errors
/// Fewer bytes than that, bytes that begin no file of this version (erased flash), or lengths that no file has.
pub fn file_len(prefix: &[u8]) -> Result<usize, PxgError> {
    Ok(Prefix::read(prefix)?.file_len)
}

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
    /// Names of the classes, one a line; empty when they have none.
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
