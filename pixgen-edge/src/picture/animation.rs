//! Pictures one after another: an animated PNG, which viewers that know no animation show as its first picture.

use super::error::PictureError;
use super::raster::Picture;
use png::{BitDepth, ColorType, Encoder};

/// The bytes of an animated PNG that shows `frames`, all of one size, `per_second` in a second, again and again.
///
/// # Errors
/// [`PictureError::EmptyGrid`] without frames, [`PictureError::Unequal`], [`PictureError::Encode`].
pub fn encode(frames: &[Picture], per_second: u16) -> Result<Vec<u8>, PictureError> {
    let Some(first) = frames.first() else {
        return Err(PictureError::EmptyGrid);
    };
    if let Some(index) = frames.iter().position(|frame| frame.size() != first.size()) {
        return Err(PictureError::Unequal { index, found: frames[index].size(), expected: first.size() });
    }
    let failed = |reason: String| PictureError::Encode { reason };
    let number = |count: usize| u32::try_from(count).map_err(|error| failed(error.to_string()));
    let mut bytes = Vec::new();
    let (width, height, frame_count) = (number(first.width())?, number(first.height())?, number(frames.len())?);
    let mut write = || -> Result<(), png::EncodingError> {
        let mut encoder = Encoder::new(&mut bytes, width, height);
        encoder.set_color(if first.channels() == 1 {
            ColorType::Grayscale
        } else {
            ColorType::Rgb
        });
        encoder.set_depth(BitDepth::Eight);
        encoder.set_animated(frame_count, 0)?;
        encoder.set_frame_delay(1, per_second)?;
        let mut writer = encoder.write_header()?;
        frames.iter().try_for_each(|frame| writer.write_image_data(frame.bytes()))?;
        writer.finish()
    };
    write().map_err(|error| failed(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back() {
        for channels in [1, 3] {
            let frames: Vec<Picture> = (0..5u8)
                .map(|i| Picture::new(3, 2, channels, vec![40 * i; 6 * channels]).unwrap())
                .collect();
            let bytes = encode(&frames, 20).unwrap();
            let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
            assert_eq!(reader.info().animation_control().unwrap().num_frames, 5);
            for frame in &frames {
                let mut pixels = vec![0; 6 * channels];
                reader.next_frame(&mut pixels).unwrap();
                assert_eq!(pixels, frame.bytes());
                assert_eq!(reader.info().frame_control().unwrap().delay_den, 20);
            }
            // To others it is its first picture.
            assert_eq!(image::load_from_memory(&bytes).unwrap().as_bytes(), frames[0].bytes());
        }
    }

    #[test]
    fn unfit_frames_are_errors() {
        let dot = |width| Picture::new(width, 1, 1, vec![0; width]).unwrap();
        assert!(matches!(encode(&[], 20), Err(PictureError::EmptyGrid)));
        assert!(matches!(encode(&[dot(1), dot(2)], 20), Err(PictureError::Unequal { index: 1, .. })));
    }
}
