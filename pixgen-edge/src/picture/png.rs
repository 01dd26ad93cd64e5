//! PNG files, with a note inside.
//!
//! The note is a `tEXt` chunk: any viewer ignores it, and it cannot be parted from its picture as a file beside it could.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder as _, ImageFormat};

use super::error::PictureError;
use super::raster::Picture;
use crate::file_error::FileError;
use crate::memory::{self, MemoryError, MemoryUse};
use crate::output;

/// Keyword of our note.
const KEYWORD: &[u8] = b"pixgen";
/// Signature of 8 bytes and the first chunk, IHDR, of 25.
const AFTER_HEADER: usize = 33;
/// Bytes around a chunk's data: length, type and checksum.
const CHUNK_BYTES: usize = 12;
const TEXT: &[u8] = b"tEXt";

/// Writes `picture` to `path`, whole or not at all, with an optional note (ASCII).
///
/// # Errors
/// [`PictureError::Encode`] and [`PictureError::File`].
pub fn write(path: &Path, picture: &Picture, note: Option<&str>) -> Result<(), PictureError> {
    let bytes = encode(picture, note)?;
    output::write(path, |out| out.write_all(&bytes))?;
    Ok(())
}

/// Reads a grey or RGB picture and its note.
///
/// # Errors
/// [`PictureError::Decode`] and [`PictureError::File`].
pub fn read(path: &Path) -> Result<(Picture, Option<String>), PictureError> {
    let decode = |reason: String| PictureError::Decode { path: path.to_owned(), reason };
    let bytes = fs::read(path).map_err(FileError::read(path))?;
    let image = image::load_from_memory_with_format(&bytes, ImageFormat::Png).map_err(|error| decode(error.to_string()))?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let picture = match image {
        DynamicImage::ImageLuma8(grey) => Picture::new(width, height, 1, grey.into_raw()),
        DynamicImage::ImageRgb8(rgb) => Picture::new(width, height, 3, rgb.into_raw()),
        other => {
            return Err(decode(format!("its pixels are {:?} instead of grey or RGB bytes", other.color())));
        }
    }?;
    Ok((picture, find_note(&bytes)))
}

/// The bytes of a PNG file, with an optional note (ASCII).
///
/// # Errors
/// [`PictureError::Encode`] and [`PictureError::Memory`].
pub fn encode(picture: &Picture, note: Option<&str>) -> Result<Vec<u8>, PictureError> {
    let encode = |reason: String| PictureError::Encode { reason };
    let side = |side: usize| u32::try_from(side).map_err(|error| encode(error.to_string()));
    let colour = match picture.channels() {
        1 => ExtendedColorType::L8,
        _ => ExtendedColorType::Rgb8,
    };
    let mut growing = Growing::default();
    let written = PngEncoder::new(&mut growing).write_image(picture.bytes(), side(picture.width())?, side(picture.height())?, colour);
    if let Some(error) = growing.full {
        return Err(error.into());
    }
    written.map_err(|error| encode(error.to_string()))?;
    let mut bytes = growing.bytes;
    if let Some(note) = note {
        let chunk = text_chunk(note).ok_or_else(|| encode("the note is too long".to_owned()))?;
        bytes.splice(AFTER_HEADER..AFTER_HEADER, chunk);
    }
    Ok(bytes)
}

/// Bytes in memory, as far as there is some.
#[derive(Default)]
struct Growing {
    bytes: Vec<u8>,
    full: Option<MemoryError>,
}

impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Twice as much at a time, so that few bytes are moved.
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            let more = bytes.len().max(self.bytes.len());
            if let Err(error) = memory::reserve(MemoryUse::Pictures, &mut self.bytes, more) {
                self.full = Some(error);
                return Err(io::ErrorKind::OutOfMemory.into());
            }
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Length of the data, type, data (keyword, zero, text), CRC-32 of type and data; numbers are big-endian.
fn text_chunk(note: &str) -> Option<Vec<u8>> {
    let data = [KEYWORD, &[0], note.as_bytes()].concat();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(TEXT);
    hasher.update(&data);
    let mut chunk = u32::try_from(data.len()).ok()?.to_be_bytes().to_vec();
    chunk.extend(TEXT);
    chunk.extend(data);
    chunk.extend(hasher.finalize().to_be_bytes());
    Some(chunk)
}

/// The text of our `tEXt` chunk. Its checksum is verified here, as decoders may skip it.
fn find_note(file: &[u8]) -> Option<String> {
    let mut rest = file.get(AFTER_HEADER..)?;
    loop {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (kind, data) = after.split_first_chunk::<4>()?;
        if kind == TEXT {
            let data = data.get(..length)?;
            if let Some(text) = data.strip_prefix(KEYWORD).and_then(|d| d.strip_prefix(&[0])) {
                let note = str::from_utf8(text).ok()?;
                return rest.starts_with(&text_chunk(note)?).then(|| note.to_owned());
            }
        }
        rest = rest.get(length.checked_add(CHUNK_BYTES)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(channels: usize) -> Picture {
        let bytes = (0..7 * 5 * channels).map(|i| (i * 3) as u8).collect();
        Picture::new(7, 5, channels, bytes).unwrap()
    }

    #[test]
    fn round_trip_with_and_without_note() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        for channels in [1, 3] {
            for note in [None, Some(""), Some("0,65536")] {
                let picture = gradient(channels);
                write(&path, &picture, note).unwrap();
                let (back, found) = read(&path).unwrap();
                assert_eq!(back, picture);
                assert_eq!(found.as_deref(), note);
            }
        }
    }

    #[test]
    fn broken_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        assert!(matches!(read(&path), Err(PictureError::File(FileError::Read { .. }))));
        let whole = encode(&gradient(1), Some("note")).unwrap();
        for length in 0..whole.len() - CHUNK_BYTES {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(read(&path), Err(PictureError::Decode { .. })), "{length}");
        }
    }

    #[test]
    fn the_note_is_guarded_by_the_checksum_of_png() {
        // From another implementation: zlib.crc32(b"tEXtpixgen\0note") in Python.
        let chunk = text_chunk("note").unwrap();
        assert_eq!(chunk[..8], *b"\0\0\0\x0btEXt");
        assert_eq!(chunk[chunk.len() - 4..], 0xad20_e665_u32.to_be_bytes());
        let mut file = encode(&gradient(1), Some("note")).unwrap();
        assert_eq!(find_note(&file).as_deref(), Some("note"));
        file[AFTER_HEADER + chunk.len() - 5] ^= 1;
        assert_eq!(find_note(&file), None);
    }

    #[test]
    fn other_pixels_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        image::RgbaImage::new(2, 2).save(&path).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.to_string().contains("Rgba8"), "{error}");
        assert!(error.hint().is_some());
    }
}
