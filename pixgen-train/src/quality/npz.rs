//! Reference statistics and pictures in the `.npz` form of ADM's evaluation: `mu` and `sigma` of Inception's 2048 features, and `arr_0`
//! with pictures as bytes, n x height x width x channels.
//!
//! An `.npz` is a zip archive of `.npy` arrays: magic, version, a header that says type, order and shape, then the values. Only what such
//! references hold is read: little-endian f32 and f64, and u8, in C order.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, RECOMMENDED_BUFFER_SIZE, ZipArchive};

use crate::quality::error::{ArrayFault, QualityError, ReferenceFault};
use pixgen_edge::data::ImageShape;
use pixgen_edge::eval::frechet::FeatureMoments;

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Npz {
    /// `mu` and `sigma`; of how many pictures is not stored.
    pub moments: Option<FeatureMoments>,
    /// `arr_0`: the shape of every picture, and all of them one after another.
    pub pictures: Option<(ImageShape, Vec<u8>)>,
}

/// Values of an array.
enum Values {
    Bytes(Vec<u8>),
    Numbers(Vec<f64>),
}

/// Reads a reference file.
///
/// # Errors
/// [`QualityError::Reference`] if it cannot be read, is no such archive, or holds neither statistics nor pictures.
pub fn read(path: &Path) -> Result<Npz, QualityError> {
    let fail = |fault| QualityError::Reference { path: path.to_owned(), fault };
    let file = File::open(path).map_err(|error| fail(error.into()))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(fail(io::Error::from(io::ErrorKind::IsADirectory).into()));
    }
    let zip = |error: rawzip::Error| fail(error.into());
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let archive = ZipArchive::from_file(file, &mut buffer).map_err(zip)?;
    let mut found = HashMap::new();
    let mut walk = archive.entries(&mut buffer);
    while let Some(record) = walk.next_entry().map_err(zip)? {
        let entry = (record.wayfinder(), record.compression_method(), record.uncompressed_size_hint());
        found.insert(record.file_path().as_bytes().to_vec(), entry);
    }
    let array = |name: &str| -> Result<Option<(Vec<usize>, Values)>, QualityError> {
        let Some(&(place, method, size)) = found.get(format!("{name}.npy").as_bytes()) else {
            return Ok(None);
        };
        let entry = archive.get_entry(place).map_err(zip)?;
        let unpacked: Box<dyn Read> = match method {
            CompressionMethod::STORE => Box::new(entry.reader()),
            CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(entry.reader())),
            method => return Err(fail(ReferenceFault::Compression { array: name.to_owned(), method })),
        };
        let array = parse(unpacked, size);
        array
            .map(Some)
            .map_err(|fault| fail(ReferenceFault::Array { array: name.to_owned(), fault }))
    };
    let moments = match (array("mu")?, array("sigma")?) {
        (Some((mean_shape, Values::Numbers(mean))), Some((shape, Values::Numbers(covariance)))) => {
            let dim = mean.len();
            if mean_shape.len() != 1 || shape != [dim, dim] {
                return Err(fail(ReferenceFault::Moments { mean: mean_shape, covariance: shape }));
            }
            Some(FeatureMoments::published(&mean, &covariance)?)
        }
        (None, None) => None,
        _ => return Err(fail(ReferenceFault::HalfMoments)),
    };
    let pictures = match array("arr_0")? {
        Some((shape, Values::Bytes(pixels))) => match shape[..] {
            [_, height, width, channels @ (1 | 3)] if height > 0 && width > 0 => Some((ImageShape { height, width, channels }, pixels)),
            _ => return Err(fail(ReferenceFault::PictureShape { shape })),
        },
        Some(_) => return Err(fail(ReferenceFault::PictureType)),
        None => None,
    };
    if moments.is_none() && pictures.is_none() {
        return Err(fail(ReferenceFault::Nothing));
    }
    Ok(Npz { moments, pictures })
}

/// An `.npy` array of `size` bytes in all.
fn parse(mut entry: impl Read, size: u64) -> Result<(Vec<usize>, Values), ArrayFault> {
    let mut take = |count: usize| -> Result<Vec<u8>, ArrayFault> {
        let mut bytes = Vec::new();
        entry.by_ref().take(count as u64).read_to_end(&mut bytes)?;
        if bytes.len() < count { Err(ArrayFault::Short) } else { Ok(bytes) }
    };
    let prefix = take(8)?;
    if !prefix.starts_with(b"\x93NUMPY") {
        return Err(ArrayFault::NotAnArray);
    }
    let length = match prefix[6] {
        1 => take(2)?.iter().rev().fold(0, |length, &byte| length << 8 | usize::from(byte)),
        2 | 3 => take(4)?.iter().rev().fold(0, |length, &byte| length << 8 | usize::from(byte)),
        version => return Err(ArrayFault::Version(version)),
    };
    if length as u64 > size {
        return Err(ArrayFault::Header);
    }
    let header = String::from_utf8_lossy(&take(length)?).into_owned();
    let value = |key: &str| header.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
    if !value("fortran_order").is_some_and(|rest| rest.starts_with("False")) {
        return Err(ArrayFault::Order);
    }
    let shape = value("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')'));
    let numbers = shape.map(|(inside, _)| inside.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::parse).collect());
    let Some(Ok(shape)): Option<Result<Vec<usize>, _>> = numbers else {
        return Err(ArrayFault::Shape);
    };
    let kind = value("descr")
        .and_then(|rest| rest.strip_prefix('\'')?.split_once('\''))
        .map_or("", |(kind, _)| kind);
    let width = match kind {
        "|u1" => 1,
        "<f4" => 4,
        "<f8" => 8,
        _ => return Err(ArrayFault::Type(kind.to_owned())),
    };
    let bytes = shape
        .iter()
        .try_fold(width, |product: usize, &side| product.checked_mul(side))
        .filter(|&bytes| bytes as u64 <= size);
    let bytes = take(bytes.ok_or(ArrayFault::Size)?)?;
    let values = match kind {
        "|u1" => Values::Bytes(bytes),
        "<f4" => Values::Numbers(bytes.as_chunks().0.iter().map(|&chunk| f64::from(f32::from_le_bytes(chunk))).collect()),
        _ => Values::Numbers(bytes.as_chunks().0.iter().map(|&chunk| f64::from_le_bytes(chunk)).collect()),
    };
    Ok((shape, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use pixgen_edge::eval::EvalError;
    use rawzip::ZipArchiveWriter;
    use std::io::Write;
    use std::path::PathBuf;

    /// An `.npy` array of version 1.
    fn npy(kind: &str, shape: &str, values: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
        let header = format!("{header:<117}\n");
        [
            b"\x93NUMPY\x01\x00",
            &(header.len() as u16).to_le_bytes()[..],
            header.as_bytes(),
            values,
        ]
        .concat()
    }

    fn file(folder: &tempfile::TempDir, arrays: &[(&str, Vec<u8>)]) -> PathBuf {
        let path = folder.path().join("reference.npz");
        let mut archive = ZipArchiveWriter::new(File::create(&path).unwrap());
        for (name, bytes) in arrays {
            // numpy.savez stores, numpy.savez_compressed deflates.
            let packed = *name == "sigma";
            let method = if packed {
                CompressionMethod::DEFLATE
            } else {
                CompressionMethod::STORE
            };
            let (mut entry, config) = archive.new_file(format!("{name}.npy")).compression_method(method).start().unwrap();
            let output = if packed {
                let mut data = config.wrap(DeflateEncoder::new(&mut entry, Compression::fast()));
                data.write_all(bytes).unwrap();
                let (encoder, output) = data.finish().unwrap();
                encoder.finish().unwrap();
                output
            } else {
                let mut data = config.wrap(&mut entry);
                data.write_all(bytes).unwrap();
                data.finish().unwrap().1
            };
            entry.finish(output).unwrap();
        }
        archive.finish().unwrap();
        path
    }

    fn f64s(values: &[f64]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn statistics_and_pictures_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let sigma: Vec<u8> = [2.0f32, 0.5, 0.5, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let path = file(
            &folder,
            &[
                ("mu", npy("<f8", "(2,)", &f64s(&[1.0, -1.0]))),
                ("sigma", npy("<f4", "(2, 2)", &sigma)),
                ("arr_0", npy("|u1", "(2, 1, 2, 3)", &Vec::from_iter(0..12))),
            ],
        );
        let found = read(&path).unwrap();
        let moments = found.moments.unwrap();
        assert_eq!((moments.mean(), moments.covariance(), moments.n()), (&[1.0, -1.0][..], &[2.0, 0.5, 0.5, 3.0][..], 0));
        let (shape, pixels) = found.pictures.unwrap();
        assert_eq!((shape.to_string().as_str(), pixels), ("1x2x3", Vec::from_iter(0..12)));
    }

    #[test]
    fn bad_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let fails = |arrays: &[(&str, Vec<u8>)]| {
            let error = read(&file(&folder, arrays)).unwrap_err();
            assert!(error.hint().is_some(), "{error}");
            error.to_string()
        };
        let mu = || ("mu", npy("<f8", "(2,)", &f64s(&[0.0; 2])));
        assert!(fails(&[]).contains("neither mu"));
        assert!(fails(&[mu()]).contains("both"));
        assert!(fails(&[mu(), ("sigma", npy("<f8", "(2, 1)", &f64s(&[0.0; 2])))]).contains("are not a mean and a covariance"));
        assert!(fails(&[("arr_0", npy("|u1", "(2, 2, 2, 3)", &[0; 12]))]).contains("too early"));
        assert!(fails(&[("arr_0", npy("|u1", "(99999999999, 99999999999, 2, 3)", &[0; 12]))]).contains("more bytes"));
        assert!(fails(&[("arr_0", npy("|u1", "(3, 2, 2)", &[0; 12]))]).contains("1 or 3 expected"));
        assert!(fails(&[("arr_0", npy("<i8", "(1, 1, 1, 1)", &[0; 8]))]).contains("`<i8`"));
        assert!(fails(&[("arr_0", npy("<f8", "(1,)", &[0; 8]))]).contains("no bytes"));
        assert!(fails(&[("arr_0", b"\x93NUMPY\x01\x00\xff\xff".to_vec())]).contains("longer than the file"));
        assert!(fails(&[("arr_0", b"\x93NUM".to_vec())]).contains("too early"));
        let nan = ("sigma", npy("<f8", "(2, 2)", &f64s(&[f64::NAN; 4])));
        assert!(matches!(read(&file(&folder, &[mu(), nan])), Err(QualityError::Eval(EvalError::NonFinite { .. }))));
        std::fs::write(folder.path().join("text"), "no").unwrap();
        assert!(matches!(read(&folder.path().join("text")), Err(QualityError::Reference { .. })));
        for (path, hint) in [(folder.path().join("missing"), "spelling"), (folder.path().to_owned(), "folder")] {
            let error = read(&path).unwrap_err();
            assert!(error.hint().is_some_and(|found| found.contains(hint)), "{error}: {:?}", error.hint());
        }
    }
}
