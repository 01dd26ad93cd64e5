//! A data set at the training size in one file or a few: what `data prepare` writes.
//!
//! A zip archive has the layout of EDM's and StyleGAN's tools: stored pictures `00000/img00000000.png` and a `dataset.json` with their
//! labels; a folder gets tar shards in that of WebDataset. Both are a function of the pictures and the options alone: order, names and
//! dates are fixed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Write};
use std::iter;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, ImageError};
use rawzip::ZipArchiveWriter;
use rawzip::time::UtcDateTime;
use rayon::prelude::*;
use serde_json::json;

use pixgen_edge::atomic::{Unfinished, behind_links, make_folder};
use pixgen_edge::data::error::BadFile;
use pixgen_edge::data::labels::LABEL_FILE;
use pixgen_edge::data::{DataError, Dataset, ImageShape};
use pixgen_edge::file_error::FileError;

/// How pictures are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureFormat {
    /// Without loss.
    Png,
    /// With a quality from 1 to 100.
    Jpeg {
        /// See above.
        quality: u8,
    },
}

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareOptions {
    /// A `.zip`, or a folder for tar shards. It must not be there yet.
    pub out: PathBuf,
    /// How pictures are stored.
    pub format: PictureFormat,
    /// Pictures of a shard, at least 1.
    pub shard_images: usize,
    /// Leave bad files out.
    pub skip_bad: bool,
}

/// What was written.
#[derive(Debug)]
pub struct WrittenFiles {
    /// Pictures.
    pub images: usize,
    /// Archives.
    pub files: usize,
    /// Bytes of all archives.
    pub bytes: u64,
    /// Bad files that were left out, in order.
    pub skipped: Vec<BadFile>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The pictures.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The files.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is something.
    #[error("{} is already there", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
}

impl PrepareError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Data(error) => error.hint_with_skip_bad(),
            Self::File(error) => error.hint(),
            Self::Exists { path } if path.is_file() || path.is_dir() => Some("give another --out, or remove it first".into()),
            Self::Exists { .. } => {
                Some("give another --out: a set is written whole or not at all, which only a plain file or a folder allows".into())
            }
        }
    }
}

/// Encodes the pictures of `dataset`, whose shape is that of the written ones, and calls `progress` with the number done after every few.
///
/// Whole or not at all: everything is written under a temporary name in the same folder and renamed in the end.
///
/// # Errors
/// A bad file, named, unless they are skipped; a class without a good file; an `out` that is there or cannot be written.
pub fn prepare(dataset: &Dataset, options: &PrepareOptions, progress: &mut dyn FnMut(usize)) -> Result<WrittenFiles, PrepareError> {
    let out = &behind_links(&options.out);
    if out.exists() {
        return Err(PrepareError::Exists { path: options.out.clone() });
    }
    let (unfinished, written) = if is_zip(out) {
        let (unfinished, file) = Unfinished::beside(out, |path| File::create_new(path)).map_err(FileError::write(out))?;
        (unfinished, write_zip(dataset, options, file, progress)?)
    } else {
        if let Some(folder) = out.parent() {
            make_folder(folder).map_err(FileError::write(folder))?;
        }
        let (unfinished, ()) = Unfinished::beside(out, |path| fs::create_dir(path)).map_err(FileError::write(out))?;
        let written = write_shards(dataset, options, unfinished.path(), progress)?;
        (unfinished, written)
    };
    unfinished.finish(out).map_err(FileError::write(out))?;
    Ok(written)
}

fn is_zip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"))
}

/// Encoded pictures in order, with the number of each among the good ones, and the class.
fn encode_all(
    dataset: &Dataset,
    options: &PrepareOptions,
    progress: &mut dyn FnMut(usize),
    mut write: impl FnMut(usize, u16, &[u8]) -> Result<(), PrepareError>,
) -> Result<(usize, Vec<BadFile>), PrepareError> {
    let (mut images, mut skipped, mut counts) = (0, Vec::new(), vec![0usize; dataset.class_names.len()]);
    let together = 32 * rayon::current_num_threads().max(1);
    for start in (0..dataset.len()).step_by(together) {
        let range = start..(start + together).min(dataset.len());
        let encode = |index| dataset.image(index).map(|pixels| encode(&pixels, dataset.shape, options.format));
        let encoded: Vec<Result<Result<Vec<u8>, ImageError>, BadFile>> = range.clone().into_par_iter().map(encode).collect();
        for (index, encoded) in range.clone().zip(encoded) {
            match encoded {
                Ok(bytes) => {
                    // Into memory, of a size that the data set has checked.
                    let failed = |error: ImageError| DataError::Inconsistent { name: dataset.source.clone(), what: error.to_string() };
                    write(images, dataset.labels[index], &bytes.map_err(failed)?)?;
                    counts[usize::from(dataset.labels[index])] += 1;
                    images += 1;
                }
                Err(bad) if options.skip_bad => skipped.push(bad),
                Err(bad) => return Err(DataError::from(bad).into()),
            }
        }
        progress(range.end);
    }
    match (counts.iter().position(|&count| count == 0), skipped.first()) {
        (Some(class), Some(bad)) => {
            let what = format!("no image of class `{}` is left without the bad files", dataset.class_names[class]);
            Err(DataError::Archive { path: bad.path.clone(), what, hint: "repair the files, or remove the class" }.into())
        }
        _ => Ok((images, skipped)),
    }
}

/// A picture as a file.
pub(crate) fn encode(pixels: &[u8], shape: ImageShape, format: PictureFormat) -> Result<Vec<u8>, ImageError> {
    let (width, height) = (shape.width as u32, shape.height as u32);
    let colour = if shape.channels == 1 {
        ExtendedColorType::L8
    } else {
        ExtendedColorType::Rgb8
    };
    let mut bytes = Vec::new();
    match format {
        PictureFormat::Png => {
            let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive);
            encoder.write_image(pixels, width, height, colour)?;
        }
        PictureFormat::Jpeg { quality } => JpegEncoder::new_with_quality(&mut bytes, quality).write_image(pixels, width, height, colour)?,
    }
    Ok(bytes)
}

impl PictureFormat {
    const fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg { .. } => "jpg",
        }
    }
}

fn write_zip(
    dataset: &Dataset,
    options: &PrepareOptions,
    file: File,
    progress: &mut dyn FnMut(usize),
) -> Result<WrittenFiles, PrepareError> {
    let failed = |error: io::Error| PrepareError::from(FileError::write(&options.out)(error));
    let mut archive = PictureArchive::new(file);
    let (images, skipped) =
        encode_all(dataset, options, progress, |_, label, bytes| archive.add(bytes, options.format, label).map_err(failed))?;
    let bytes = archive.finish(&dataset.class_names).map_err(failed)?;
    Ok(WrittenFiles { images, files: 1, bytes, skipped })
}

/// A zip archive with the layout of EDM's and StyleGAN's tools, in the making.
pub(crate) struct PictureArchive {
    archive: ZipArchiveWriter<BufWriter<File>>,
    labels: Vec<(String, u16)>,
}

impl PictureArchive {
    /// Without a picture yet.
    pub(crate) fn new(file: File) -> Self {
        Self {
            archive: ZipArchiveWriter::new(BufWriter::with_capacity(1 << 20, file)),
            labels: Vec::new(),
        }
    }

    /// Adds an encoded picture.
    pub(crate) fn add(&mut self, bytes: &[u8], format: PictureFormat, label: u16) -> io::Result<()> {
        let name = archived_name(self.labels.len(), format.extension());
        add(&mut self.archive, &name, bytes)?;
        self.labels.push((name, label));
        Ok(())
    }

    /// Adds the labels and the names of the classes; returns the length of the file.
    pub(crate) fn finish(mut self, class_names: &[String]) -> io::Result<u64> {
        // Data of one class have none, as the other tools write it.
        let labels = (class_names.len() > 1).then_some(self.labels);
        let text = json!({ "labels": labels, "classes": class_names }).to_string();
        add(&mut self.archive, LABEL_FILE, text.as_bytes())?;
        let file = self.archive.finish().map_err(zip_error)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

/// `00012/img00012345.png`: the name of a picture in the archives of EDM's and StyleGAN's tools.
pub(crate) fn archived_name(number: usize, extension: &str) -> String {
    format!("{:05}/img{number:08}.{extension}", number / 1000)
}

/// Stores an entry, dated to the first second that the format knows.
pub(crate) fn add<W: Write>(archive: &mut ZipArchiveWriter<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    add_streamed(archive, name, |entry| entry.write_all(bytes))
}

/// As [`add`], with bytes that nobody holds at once.
pub(crate) fn add_streamed<W: Write>(
    archive: &mut ZipArchiveWriter<W>,
    name: &str,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    const FIRST: i64 = 315_532_800; // 1980-01-01
    let file = archive
        .new_file(name)
        .last_modified(UtcDateTime::from_unix(FIRST))
        .unix_permissions(0o644);
    let (mut entry, config) = file.start().map_err(zip_error)?;
    let mut writer = config.wrap(&mut entry);
    write(&mut writer)?;
    let (_, output) = writer.finish().map_err(zip_error)?;
    entry.finish(output).map_err(zip_error)?;
    Ok(())
}

/// What the system said, so that a full disk is known as one.
pub(crate) fn zip_error(error: rawzip::Error) -> io::Error {
    match error.into_kind() {
        rawzip::ErrorKind::IO(source) => source,
        kind => io::Error::other(kind.to_string()),
    }
}

fn write_shards(
    dataset: &Dataset,
    options: &PrepareOptions,
    temporary: &Path,
    progress: &mut dyn FnMut(usize),
) -> Result<WrittenFiles, PrepareError> {
    let failed = |error: io::Error| PrepareError::from(FileError::write(&options.out)(error));
    let labelled = dataset.class_names.len() > 1;
    let mut shard: Option<tar::Builder<BufWriter<File>>> = None;
    let (mut files, mut bytes_written) = (0, 0);
    let (images, skipped) = encode_all(dataset, options, progress, |number, label, bytes| {
        if number.is_multiple_of(options.shard_images) {
            bytes_written += shard.take().map_or(Ok(0), close).map_err(failed)?;
            let file = File::create(temporary.join(format!("{files:06}.tar"))).map_err(failed)?;
            shard = Some(tar::Builder::new(BufWriter::with_capacity(1 << 20, file)));
            files += 1;
        }
        let picture = (options.format.extension(), bytes);
        let class = label.to_string();
        let class = labelled.then_some(("cls", class.as_bytes()));
        for (extension, bytes) in iter::once(picture).chain(class) {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(0);
            if let Some(shard) = &mut shard {
                let name = format!("{number:08}.{extension}");
                shard.append_data(&mut header, name, Cursor::new(bytes)).map_err(failed)?;
            }
        }
        Ok(())
    })?;
    bytes_written += shard.take().map_or(Ok(0), close).map_err(failed)?;
    let names = json!({ "classes": dataset.class_names }).to_string();
    fs::write(temporary.join(LABEL_FILE), names).map_err(failed)?;
    Ok(WrittenFiles { images, files, bytes: bytes_written, skipped })
}

/// Ends a shard; returns its bytes.
fn close(shard: tar::Builder<BufWriter<File>>) -> io::Result<u64> {
    let file = shard.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};
    use tempfile::TempDir;

    use super::*;
    use pixgen_edge::data::{DataPart, DataSource, DataSpec, ImageShape, PixelStore, WHITE, load};

    fn pictures() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (class, number) in [("a", 0), ("a", 1), ("a", 2), ("b", 3), ("b", 4)] {
            fs::create_dir_all(folder.path().join(class)).unwrap();
            let picture = RgbImage::from_fn(20 + number, 31, |x, y| Rgb([(x * 9) as u8, (y * 7) as u8, 40 * number as u8]));
            picture.save(folder.path().join(format!("{class}/{number}.png"))).unwrap();
        }
        folder
    }

    fn loaded(path: &Path) -> Dataset {
        let shape = ImageShape { height: 8, width: 8, channels: 3 };
        let source = DataSource::Path(path.into());
        let spec = DataSpec {
            source,
            shape,
            background: WHITE,
            skip_bad: false,
            memory: PixelStore::Never,
            part: DataPart::Train,
            relabel: false,
        };
        load(&spec).unwrap().dataset
    }

    fn options(out: PathBuf) -> PrepareOptions {
        PrepareOptions { out, format: PictureFormat::Png, shard_images: 2, skip_bad: false }
    }

    #[test]
    fn archives_hold_the_same_pictures_and_the_same_bytes_every_time() {
        let (folder, out) = (pictures(), tempfile::tempdir().unwrap());
        let at = |name: &str| out.path().join(name);
        let original = loaded(folder.path());
        let mut seen = Vec::new();
        let written = prepare(&original, &options(at("1.zip")), &mut |done| seen.push(done)).unwrap();
        assert_eq!((written.images, written.files, written.bytes), (5, 1, fs::metadata(at("1.zip")).unwrap().len()));
        assert_eq!(seen.last(), Some(&5));
        let written = prepare(&original, &options(at("shards")), &mut |_| ()).unwrap();
        assert_eq!((written.images, written.files), (5, 3));
        assert!(at("shards/000002.tar").is_file());
        for name in ["1.zip", "shards"] {
            let again = loaded(&at(name));
            assert_eq!(again.pixels().unwrap(), original.pixels().unwrap(), "{name}");
            assert_eq!((&again.labels, &again.class_names), (&original.labels, &original.class_names), "{name}");
        }
        prepare(&original, &options(at("2.zip")), &mut |_| ()).unwrap();
        assert_eq!(fs::read(at("1.zip")).unwrap(), fs::read(at("2.zip")).unwrap());
        // Nothing half-written is left, and nothing is written over.
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 3);
        let error = prepare(&original, &options(at("1.zip")), &mut |_| ()).unwrap_err();
        assert!(matches!(&error, PrepareError::Exists { .. }), "{error}");
        let error = prepare(&original, &options(at("none/1.zip")), &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains("none/1.zip"), "{error}");
    }

    #[test]
    fn jpeg_is_close() {
        let (folder, out) = (pictures(), tempfile::tempdir().unwrap());
        let (original, path) = (loaded(folder.path()), out.path().join("1.zip"));
        let options = PrepareOptions { format: PictureFormat::Jpeg { quality: 100 }, ..options(path.clone()) };
        prepare(&original, &options, &mut |_| ()).unwrap();
        let again = loaded(&path);
        let (a, b) = (original.pixels().unwrap(), again.pixels().unwrap());
        let mean = a.iter().zip(&*b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64;
        assert!(mean > 0.0 && mean < 6.0, "{mean}");
    }

    #[test]
    fn bad_files_are_named_or_left_out() {
        let (folder, out) = (pictures(), tempfile::tempdir().unwrap());
        fs::write(folder.path().join("a/1.png"), b"text").unwrap();
        let at = |name: &str| out.path().join(name);
        let data = loaded(folder.path());
        for name in ["1.zip", "shards"] {
            let error = prepare(&data, &options(at(name)), &mut |_| ()).unwrap_err();
            assert!(error.to_string().contains("a/1.png: the content is neither"), "{error}");
            assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
        }
        let written = prepare(&data, &PrepareOptions { skip_bad: true, ..options(at("1.zip")) }, &mut |_| ()).unwrap();
        assert_eq!((written.images, written.skipped.len()), (4, 1));
        assert_eq!(loaded(&at("1.zip")).labels, [0, 0, 1, 1]);
        for number in [3, 4] {
            fs::write(folder.path().join(format!("b/{number}.png")), b"text").unwrap();
        }
        let error = prepare(&loaded(folder.path()), &PrepareOptions { skip_bad: true, ..options(at("2.zip")) }, &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains("class `b`"), "{error}");
    }
}
