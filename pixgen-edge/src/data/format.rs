//! The format of an image file, by its first bytes; names only say where to look.

use std::path::Path;

use image::ImageFormat;

/// Extensions that say "image". Content that is none is then reported as a bad file, not passed over.
const IMAGE_EXTENSIONS: [&str; 20] = [
    "png", "jpg", "jpeg", "jpe", "jif", "jfif", "gif", "webp", "bmp", "dib", "tif", "tiff", "pbm", "pgm", "ppm", "pnm", "pam", "avif",
    "heic", "jxl",
];

/// So many first bytes tell the format.
pub(crate) const START: usize = 32;

/// Formats that are not read, by what stands at a position.
const OTHERS: [(usize, &[u8], &str); 18] = [
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (0, b"\xFF\x0A", "JPEG XL"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"),
    (4, b"jP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xFF\x4F\xFF\x51", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
    (0, b"qoif", "QOI"),
    (0, b"\x76\x2F\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"DDS ", "DDS"),
    (0, b"farbfeld", "farbfeld"),
    (0, b"\0\0\x01\0", "ICO"),
    (0, b"<svg", "SVG"),
    (0, b"%PDF-", "PDF"),
];

/// Whether a name says "image".
pub(crate) fn has_image_name(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| IMAGE_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// Whether a file whose name does not say "image" is one all the same. TIFF counts only without an extension, because many other files
/// are built like it, those of cameras among them.
pub(crate) fn is_unnamed_image(path: &Path, start: &[u8]) -> bool {
    match format_of(start) {
        Some(ImageFormat::Tiff) => path.extension().is_none(),
        format => format.is_some(),
    }
}

/// The format of a file that is read.
pub(crate) fn format_of(start: &[u8]) -> Option<ImageFormat> {
    let word = |at: usize| start.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    match start {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(ImageFormat::Png),
        [0xFF, 0xD8, 0xFF, ..] => Some(ImageFormat::Jpeg),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(ImageFormat::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(ImageFormat::WebP),
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => Some(ImageFormat::Tiff),
        [
            b'P',
            b'1'..=b'6',
            b' ' | b'\t' | b'\n' | b'\r',
            b'0'..=b'9' | b'#' | b' ' | b'\n' | b'\r',
            ..,
        ]
        | [b'P', b'7', b'\n', ..] => Some(ImageFormat::Pnm),
        // Two letters are not enough; the length of the header behind them takes one of a few values.
        [b'B', b'M', ..] if matches!(word(14), Some(12 | 16 | 40 | 52 | 56 | 64 | 108 | 124)) => Some(ImageFormat::Bmp),
        _ => None,
    }
}

/// The name of a format that is read.
pub(crate) fn format_name(start: &[u8]) -> Option<&'static str> {
    Some(match format_of(start)? {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Gif => "GIF",
        ImageFormat::WebP => "WebP",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::Bmp => "BMP",
        _ => "PNM",
    })
}

/// The name of a format that is known and not read.
pub(crate) fn other_format(start: &[u8]) -> Option<&'static str> {
    let stands = |&&(at, what, _): &&(usize, &[u8], &str)| start.get(at..).is_some_and(|rest| rest.starts_with(what));
    OTHERS.iter().find(stands).map(|&(_, _, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell() {
        let unnamed = |name: &str, start: &[u8]| is_unnamed_image(Path::new(name), start);
        assert!(unnamed("picture", b"\xFF\xD8\xFF\xE0") && unnamed("a.jpg_large", b"\x89PNG\r\n\x1a\n\0\0\0\r"));
        assert!(unnamed("scan", b"II*\0\x08\0\0\0") && !unnamed("camera.dng", b"II*\0\x08\0\0\0"));
        for text in [
            &b""[..],
            b"BM",
            b"BMW and other makers of cars",
            b"P6 is a format",
            b"RIFF\0\0\0\0WAVE",
            b"GIF",
        ] {
            assert_eq!(format_of(text), None, "{text:?}");
        }
        assert_eq!(format_of(b"P6\n# made by hand\n2 2"), Some(ImageFormat::Pnm));
        assert_eq!(other_format(b"\0\0\0\x1cftypavif\0"), Some("AVIF"));
        assert_eq!(other_format(b"a letter"), None);
    }

    #[test]
    fn names_say_where_to_look() {
        for name in ["a.png", "a.JPE", "a.jfif", "a.webp", "b/a.ppm"] {
            assert!(has_image_name(Path::new(name)), "{name}");
        }
        for name in ["a", "a.svg", "png", ".png"] {
            assert!(!has_image_name(Path::new(name)), "{name}");
        }
    }
}
