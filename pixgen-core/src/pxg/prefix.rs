//! The first bytes of a file: how long it is, and where its parts begin.

use super::error::PxgError;
use super::header::{MAGIC, PREFIX_LEN, VERSION};
use crate::aligned::ALIGN;

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
