//! One image file to 8-bit grey or colour, whatever its colour mode.
//!
//! JPEG goes to the decoder inside `image` directly: `image` reads the headers three times and copies the file, a tenth of the time of a
//! small picture.

use std::io::{self, Cursor};

use image::error::{UnsupportedError, UnsupportedErrorKind};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use crate::data::ImageShape;
use crate::data::error::BadReason;
use crate::data::format::{format_of, other_format};

/// Longest side of an image file.
const MAX_FILE_SIDE: u32 = 1 << 15;
/// Most bytes of pixels of an image file, 512 MiB: a small file can claim to be a huge picture.
const MAX_PIXEL_BYTES: u64 = 1 << 29;

/// An image at its own size.
#[derive(Debug)]
pub struct Decoded {
    /// Size; one channel for a grey image without alpha, otherwise three.
    pub shape: ImageShape,
    /// H W C bytes.
    pub pixels: Vec<u8>,
    /// Colour mode of the file, for example `grey`, `palette` or `rgba 16-bit`.
    pub mode: &'static str,
}

/// Decodes a PNG, JPEG, WebP, GIF, BMP, TIFF or PNM, recognised by its content; of an animation the first picture. 16-bit values are rounded to 8 bits and the EXIF orientation is applied.
pub fn decode(bytes: &[u8], background: [u8; 3]) -> Result<Decoded, BadReason> {
    if bytes.is_empty() {
        return Err(BadReason::Empty);
    }
    let Some(format) = format_of(bytes) else {
        return Err(other_format(bytes).map_or(BadReason::NotAnImage, |name| BadReason::OtherFormat(name.into())));
    };
    if format == ImageFormat::Jpeg {
        if !jpeg_is_complete(bytes) {
            return Err(BadReason::Truncated);
        }
        return decode_jpeg(bytes).map_err(|error| BadReason::Decode(error.to_string()));
    }
    let (image, mode) = read_other(bytes, format).map_err(reason)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (channels, pixels) = if image.color().has_alpha() {
        (3, composite(image.into_rgba8().as_raw(), background))
    } else if image.color().has_color() {
        (3, image.into_rgb8().into_raw())
    } else {
        (1, image.into_luma8().into_raw())
    };
    Ok(Decoded { shape: ImageShape { height, width, channels }, pixels, mode })
}

/// What the libraries alone make of a file, with their own settings and no check, to compare [`decode`] with. Number of bytes of pixels;
/// `None` if they refuse it.
pub fn decode_plainly(bytes: &[u8]) -> Option<usize> {
    let pixels = match image::guess_format(bytes).ok()? {
        ImageFormat::Jpeg => JpegDecoder::new(ZCursor::new(bytes)).decode().ok()?,
        format => image::load_from_memory_with_format(bytes, format).ok()?.into_bytes(),
    };
    Some(pixels.len())
}

/// As files have no transparency, grey stays grey and every other colour space becomes RGB.
fn decode_jpeg(bytes: &[u8]) -> Result<Decoded, DecodeErrors> {
    let side = MAX_FILE_SIDE as usize;
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(side).set_max_height(side);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers()?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    if (width * height * 3) as u64 > MAX_PIXEL_BYTES {
        return Err(DecodeErrors::Format(format!("{width} x {height} pixels are too many")));
    }
    let grey = matches!(decoder.input_colorspace(), Some(ColorSpace::Luma | ColorSpace::LumaA));
    decoder.set_options(options.jpeg_set_out_colorspace(if grey { ColorSpace::Luma } else { ColorSpace::RGB }));
    // A damaged EXIF block does not make the picture unusable.
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let pixels = decoder.decode()?;
    let (channels, mode) = if grey { (1, "grey") } else { (3, "rgb") };
    let shape = ImageShape { height, width, channels };
    if pixels.len() != shape.len() {
        return Err(DecodeErrors::Format(format!("{} bytes of pixels for {shape}", pixels.len())));
    }
    match orientation {
        None | Some(Orientation::NoTransforms) => Ok(Decoded { shape, pixels, mode }),
        Some(orientation) => Ok(turned(shape, pixels, mode, orientation)),
    }
}

/// The picture as its EXIF block wants it shown.
fn turned(shape: ImageShape, pixels: Vec<u8>, mode: &'static str, orientation: Orientation) -> Decoded {
    let (width, height) = (shape.width as u32, shape.height as u32);
    let image = match shape.channels {
        1 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        _ => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
    };
    // The caller has checked that the pixels fill the shape.
    let mut image = image.unwrap_or_default();
    image.apply_orientation(orientation);
    let (height, width) = (image.height() as usize, image.width() as usize);
    Decoded { shape: ImageShape { height, width, ..shape }, pixels: image.into_bytes(), mode }
}

/// Everything but JPEG. Of several pictures in a file, the first.
fn read_other(bytes: &[u8], format: ImageFormat) -> Result<(DynamicImage, &'static str), ImageError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_FILE_SIDE);
    limits.max_image_height = Some(MAX_FILE_SIDE);
    limits.max_alloc = Some(MAX_PIXEL_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    limits.reserve(decoder.total_bytes())?;
    // A damaged EXIF block does not make the picture unusable.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    // Byte 25 of a PNG is the colour type of its header, and 3 means palette.
    let palette = format == ImageFormat::Png && bytes.get(25) == Some(&3);
    let mode = mode_name(decoder.color_type(), palette);
    if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
        let kind = UnsupportedErrorKind::GenericFeature("pixels in floating point".into());
        return Err(ImageError::Unsupported(UnsupportedError::from_format_and_kind(format.into(), kind)));
    }
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok((image, mode))
}

fn mode_name(colour: ColorType, palette: bool) -> &'static str {
    match (colour, palette) {
        (ColorType::Rgba8, true) => "palette+alpha",
        (_, true) => "palette",
        (ColorType::L8, _) => "grey",
        (ColorType::La8, _) => "grey+alpha",
        (ColorType::Rgb8, _) => "rgb",
        (ColorType::Rgba8, _) => "rgba",
        (ColorType::L16, _) => "grey 16-bit",
        (ColorType::La16, _) => "grey+alpha 16-bit",
        (ColorType::Rgb16, _) => "rgb 16-bit",
        (ColorType::Rgba16, _) => "rgba 16-bit",
        _ => "other",
    }
}

/// Red, green and blue over `background`, rounded.
fn composite(rgba: &[u8], background: [u8; 3]) -> Vec<u8> {
    rgba.chunks_exact(4)
        .flat_map(|p| {
            let alpha = u32::from(p[3]);
            std::array::from_fn::<u8, 3, _>(|c| {
                let sum = u32::from(p[c]) * alpha + u32::from(background[c]) * (255 - alpha);
                ((sum + 127) / 255) as u8
            })
        })
        .collect()
}

/// Whether an end marker (FF D9) follows the last start of scan (FF DA). The decoder fills what is missing with grey, so a cut file
/// would pass otherwise. Inside a scan FF is always followed by 00 or a restart marker, so neither pair occurs by chance.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    // Nearly every file ends with the marker, maybe with some padding.
    let tail = &bytes[bytes.len().saturating_sub(64)..];
    if tail.windows(2).any(|pair| pair == [0xFF, 0xD9]) {
        return true;
    }
    let scan = bytes.windows(2).rposition(|pair| pair == [0xFF, 0xDA]);
    // Without any scan the decoder itself refuses the file, with a better reason.
    scan.is_none_or(|at| bytes[at..].windows(2).any(|pair| pair == [0xFF, 0xD9]))
}

fn reason(error: ImageError) -> BadReason {
    match error {
        ImageError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => BadReason::Truncated,
        error => BadReason::Decode(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, ImageBuffer, ImageEncoder, Luma, LumaA, Rgb, RgbImage, Rgba};

    use super::*;

    const WHITE: [u8; 3] = [255; 3];

    fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
        encode(image, ImageFormat::Png)
    }

    /// A PNG by hand: the `image` crate does not write palettes. `chunks` follow the header.
    fn raw_png(width: u32, height: u32, bits: u8, colour: u8, chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
        let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
        header.extend([bits, colour, 0, 0, 0]);
        let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
        let end: (&[u8; 4], Vec<u8>) = (b"IEND", Vec::new());
        for (name, data) in std::iter::once(&(b"IHDR", header)).chain(chunks).chain([&end]) {
            out.extend((data.len() as u32).to_be_bytes());
            let start = out.len();
            out.extend(*name);
            out.extend(data);
            out.extend(crc32fast::hash(&out[start..]).to_be_bytes());
        }
        out
    }

    fn deflate(data: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_colour_mode_decodes() {
        let palette = vec![10, 20, 30, 200, 100, 50];
        let cases: Vec<(Vec<u8>, &str, usize, Vec<u8>)> = vec![
            (png(GrayImage::from_pixel(1, 1, Luma([9]))), "grey", 1, vec![9]),
            (png(ImageBuffer::from_pixel(1, 1, LumaA([0u8, 51]))), "grey+alpha", 3, vec![204; 3]),
            (png(RgbImage::from_pixel(1, 1, Rgb([1, 2, 3]))), "rgb", 3, vec![1, 2, 3]),
            (png(ImageBuffer::from_pixel(1, 1, Rgba([255u8, 0, 0, 128]))), "rgba", 3, vec![255, 127, 127]),
            (png(ImageBuffer::from_pixel(1, 1, Luma([0x8080u16]))), "grey 16-bit", 1, vec![0x80]),
            (png(ImageBuffer::from_pixel(1, 1, Rgb([0xFFFFu16, 0, 0x0101]))), "rgb 16-bit", 3, vec![255, 0, 1]),
            (png(ImageBuffer::from_pixel(1, 1, LumaA([0u16, 0xFFFF]))), "grey+alpha 16-bit", 3, vec![0; 3]),
            (png(ImageBuffer::from_pixel(1, 1, Rgba([0u16, 0, 0, 0]))), "rgba 16-bit", 3, vec![255; 3]),
            (
                raw_png(2, 1, 1, 3, &[(b"PLTE", palette.clone()), (b"IDAT", deflate(&[0, 0b0100_0000]))]),
                "palette",
                3,
                vec![10, 20, 30, 200, 100, 50],
            ),
            (
                raw_png(2, 1, 1, 3, &[(b"PLTE", palette), (b"tRNS", vec![0]), (b"IDAT", deflate(&[0, 0b0100_0000]))]),
                "palette+alpha",
                3,
                vec![255, 255, 255, 200, 100, 50],
            ),
            (raw_png(4, 1, 2, 0, &[(b"IDAT", deflate(&[0, 0b00_01_10_11]))]), "grey", 1, vec![0, 85, 170, 255]),
        ];
        for (bytes, mode, channels, pixels) in cases {
            let decoded = decode(&bytes, WHITE).unwrap();
            assert_eq!((decoded.mode, decoded.shape.channels), (mode, channels));
            assert_eq!(decoded.pixels, pixels, "{mode}");
        }
    }

    #[test]
    fn every_format_decodes() {
        let image = RgbImage::from_fn(5, 4, |x, y| Rgb([50 * x as u8, 60 * y as u8, 9]));
        for format in [ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::Pnm, ImageFormat::WebP] {
            let bytes = encode(image.clone(), format);
            let decoded = decode(&bytes, WHITE).unwrap();
            assert_eq!((decoded.pixels.as_slice(), decoded.mode), (image.as_raw().as_slice(), "rgb"), "{format:?}");
            assert!(decode(&bytes[..bytes.len() / 2], WHITE).is_err(), "{format:?} cut in half");
        }
        // Of an animation the first picture; what is transparent shows the background.
        let frame = |value| image::Frame::new(image::RgbaImage::from_pixel(2, 2, Rgba([value, value, value, 255])));
        let mut gif = Vec::new();
        image::codecs::gif::GifEncoder::new(&mut gif)
            .encode_frames([frame(40), frame(200)])
            .unwrap();
        assert_eq!(decode(&gif, WHITE).unwrap().pixels, [40; 12]);
        let clear = encode(image::RgbaImage::from_pixel(1, 1, Rgba([7, 7, 7, 0])), ImageFormat::WebP);
        assert_eq!(decode(&clear, [1, 2, 3]).unwrap().pixels, [1, 2, 3]);
        let grey = decode(b"P2 2 1 255 3 4", WHITE).unwrap();
        assert_eq!((grey.shape.channels, grey.pixels), (1, vec![3, 4]));
        let float = encode(image::Rgb32FImage::from_pixel(1, 1, Rgb([0.5, 0.5, 0.5])), ImageFormat::Tiff);
        let error = decode(&float, WHITE).unwrap_err().to_string();
        assert!(error.contains("floating point"), "{error}");
    }

    #[test]
    fn alpha_shows_the_background() {
        let clear = png(ImageBuffer::from_pixel(1, 1, Rgba([7u8, 7, 7, 0])));
        assert_eq!(decode(&clear, [1, 2, 3]).unwrap().pixels, [1, 2, 3]);
        let solid = png(ImageBuffer::from_pixel(1, 1, Rgba([7u8, 8, 9, 255])));
        assert_eq!(decode(&solid, [1, 2, 3]).unwrap().pixels, [7, 8, 9]);
    }

    #[test]
    fn jpeg_decodes_and_a_cut_one_does_not() {
        let image = RgbImage::from_fn(40, 40, |x, y| Rgb([x as u8 * 6, y as u8 * 6, 90]));
        let bytes = encode(image, ImageFormat::Jpeg);
        let decoded = decode(&bytes, WHITE).unwrap();
        assert_eq!((decoded.mode, decoded.shape.len()), ("rgb", 4800));
        for cut in [bytes.len() - 2, bytes.len() / 2, 400] {
            let error = decode(&bytes[..cut], WHITE).unwrap_err();
            assert!(matches!(error, BadReason::Truncated | BadReason::Decode(_)), "cut at {cut}: {error}");
        }
        assert_eq!(decode(&bytes[..bytes.len() - 2], WHITE).unwrap_err(), BadReason::Truncated);
    }

    #[test]
    fn exif_orientation_turns_the_image() {
        let mut jpeg = Vec::new();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new(&mut jpeg);
        // TIFF header, one entry: tag 0x0112 (orientation), SHORT, 1 value, 6 = turn right.
        let mut exif = b"MM\0\x2a\0\0\0\x08\0\x01".to_vec();
        exif.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0]);
        encoder.set_exif_metadata(exif).unwrap();
        encoder.encode_image(&GrayImage::from_pixel(16, 8, Luma([3]))).unwrap();
        let decoded = decode(&jpeg, WHITE).unwrap();
        assert_eq!((decoded.shape.height, decoded.shape.width), (16, 8));
    }

    #[test]
    fn hostile_files_are_named() {
        assert_eq!(decode(&[], WHITE).unwrap_err(), BadReason::Empty);
        assert_eq!(decode(b"hello, world", WHITE).unwrap_err(), BadReason::NotAnImage);
        assert_eq!(decode(b"\0\0\0\x1cftypavif", WHITE).unwrap_err(), BadReason::OtherFormat("AVIF".into()));
        let good = png(RgbImage::from_fn(64, 64, |x, y| Rgb([x as u8, y as u8, (x * y) as u8])));
        for cut in 8..good.len() - 12 {
            let error = decode(&good[..cut], WHITE).unwrap_err();
            assert!(matches!(error, BadReason::Truncated | BadReason::Decode(_)), "cut at {cut}: {error}");
        }
        assert_eq!(decode(&good[..good.len() / 2], WHITE).unwrap_err(), BadReason::Truncated);
        // Zero and enormous sizes, with next to no data behind them.
        for (width, height) in [(0, 5), (5, 0), (u32::MAX >> 1, 1), (30_000, 30_000)] {
            let bytes = raw_png(width, height, 8, 6, &[(b"IDAT", deflate(&[0]))]);
            assert!(decode(&bytes, WHITE).is_err(), "{width} x {height}");
        }
        // A small JPEG that claims to be a huge picture: height and width follow the marker of the frame.
        let mut jpeg = encode(RgbImage::new(8, 8), ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap() + 5;
        jpeg[frame..frame + 4].copy_from_slice(&[0x7F, 0xFF, 0x7F, 0xFF]);
        assert!(
            decode(&jpeg, WHITE)
                .unwrap_err()
                .to_string()
                .contains("32767 x 32767 pixels are too many")
        );
        let mut noise = good.clone();
        for (i, byte) in noise.iter_mut().enumerate().skip(60) {
            *byte = byte.wrapping_mul(31).wrapping_add(i as u8);
        }
        assert!(decode(&noise, WHITE).is_err());
    }
}
