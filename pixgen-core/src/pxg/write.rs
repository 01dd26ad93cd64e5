//! Prefix and header of a file around a finished body.

use super::layout::ALIGN;
use super::{Header, MAGIC, VERSION, crc32};

/// Bytes before the header: magic, u16 version, u16 header length, u32 body start, u32 body length, u32 CRC-32.
pub const PREFIX_LEN: usize = 24;

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
