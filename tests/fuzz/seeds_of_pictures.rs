//! Pictures of every format, and of the same pictures every container.

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use rawzip::ZipArchiveWriter;
use std::error::Error;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

type Files = Vec<(String, Vec<u8>)>;

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format)?;
    Ok(bytes.into_inner())
}

fn tar(files: &Files) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes.as_slice())?;
    }
    Ok(archive.into_inner()?)
}

fn zip(files: &Files) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for (name, bytes) in files {
        let (mut entry, config) = archive.new_file(name).start()?;
        let mut writer = config.wrap(&mut entry);
        writer.write_all(bytes)?;
        let (_, output) = writer.finish()?;
        entry.finish(output)?;
    }
    Ok(archive.finish()?)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Writes all of them into folders of `seeds`.
pub fn write(seeds: &Path) -> Result<(), Box<dyn Error>> {
    let put = |target: &str, name: &str, bytes: Vec<u8>| -> Result<(), Box<dyn Error>> {
        fs::create_dir_all(seeds.join(target))?;
        Ok(fs::write(seeds.join(target).join(name), bytes)?)
    };
    let grey = GrayImage::from_fn(5, 3, |x, y| Luma([(40 * x + 9 * y) as u8]));
    let colour = RgbImage::from_fn(9, 8, |x, y| Rgb([20 * x as u8, 30 * y as u8, 77]));
    let clear = RgbaImage::from_pixel(3, 3, Rgba([200, 10, 10, 100]));
    let names = ["png", "jpeg", "webp", "gif", "bmp", "tiff", "pnm"];
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, Tiff, WebP};
    for (name, format) in names.into_iter().zip([Png, Jpeg, WebP, Gif, Bmp, Tiff, Pnm]) {
        put("picture", name, encoded(colour.clone(), format)?)?;
    }
    put("picture", "grey", encoded(grey.clone(), Png)?)?;
    put("picture", "transparent", encoded(clear, Png)?)?;

    let png = encoded(grey.clone(), Png)?;
    let with = |files: &[(&str, &str)]| -> Files {
        files
            .iter()
            .map(|&(name, text)| (name.to_owned(), if text.is_empty() { png.clone() } else { text.into() }))
            .collect()
    };
    let folders = with(&[("a/1.png", ""), ("b/1.png", ""), ("b/x.txt", "x"), ("__MACOSX/x", "x")]);
    let edm = with(&[
        ("0/1.png", ""),
        ("0/2", ""),
        ("dataset.json", r#"{"labels": [["0/1.png", 1], ["0/2", 0]], "classes": ["x", "y"]}"#),
    ]);
    let keyed = with(&[
        ("1.png", ""),
        ("1.cls", "0\r\n"),
        ("2.seg.png", ""),
        ("2.json", r#"{"x": NaN, "label": 1}"#),
    ]);
    for (name, files) in [("folders", folders), ("edm", edm), ("keyed", keyed)] {
        put("zip", name, zip(&files)?)?;
        put("tar", name, tar(&files)?)?;
        put("tar", &format!("{name}.gz"), gzip(&tar(&files)?)?)?;
    }
    for (name, which, text) in [
        ("list", 0u8, r#"{"labels": [["a.png", 1], ["0/b.png", 0]], "classes": ["x", "y"]}"#),
        ("null", 0, "\u{feff}{\"labels\": null}"),
        ("cls", 130, "1\r\n"),
        ("json", 131, r#"{"caption": "\"label\"", "similarity": NaN, "label": 0}"#),
    ] {
        put("labels", name, [&[which], text.as_bytes()].concat())?;
    }
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let images = [words(&[0x803, 2, 3, 5]), grey.as_raw().clone(), grey.as_raw().clone()].concat();
    let labels = [words(&[0x801, 2]), vec![0, 1]].concat();
    for (name, images, labels) in [
        ("plain", images.clone(), labels.clone()),
        ("packed", gzip(&images)?, gzip(&labels)?),
    ] {
        // The place of the cut in 256ths, rounded up, with padding that makes it exact.
        let at = (1..=255u8).find(|&at| (images.len() + labels.len()) * usize::from(at) / 256 == images.len());
        let at = at.ok_or("no place for the cut")?;
        put("idx", name, [vec![at], images, labels].concat())?;
    }
    Ok(())
}
