//! UCI digits: from the numbers in the crate to an IDX pair.

use super::archive;
use super::error::PackageError;
use super::place::Staging;
use std::path::Path;

const NUMBERS: &str = "/src/dataset/digits.xy";
const LICENCE: &str = "/LICENSE";
const SIDE: u32 = 8;
/// The brightest value.
const BRIGHTEST: f32 = 16.0;

/// Writes `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`; the set comes in one part.
///
/// # Errors
/// [`PackageError::Archive`], [`PackageError::File`].
pub fn unpack(package: &Path, staging: &mut Staging) -> Result<(), PackageError> {
    let mut numbers = Vec::new();
    // Not the licences of what a crate may carry in folders of its own.
    let top = |name: &str| name.ends_with(LICENCE) && name.matches('/').count() == 1;
    archive::tar_gz(
        package,
        |name| name.ends_with(NUMBERS) || top(name),
        |name, bytes| {
            if name.ends_with(NUMBERS) {
                numbers = bytes;
            } else {
                staging.licence(&bytes);
            }
            Ok(())
        },
    )?;
    let (pixels, labels) = read(&numbers).ok_or_else(|| archive::broken(package)(format!("{NUMBERS} is not as expected")))?;
    let count = labels.len() as u32;
    let idx =
        |sizes: &[u32], bytes: &[u8]| -> Vec<u8> { sizes.iter().flat_map(|n| n.to_be_bytes()).chain(bytes.iter().copied()).collect() };
    staging.write("train-images-idx3-ubyte", &idx(&[0x803, count, SIDE, SIDE], &pixels))?;
    staging.write("train-labels-idx1-ubyte", &idx(&[0x801, count], &labels))?;
    staging.summarise(format!("{count} digits of 8x8, 10 classes"));
    Ok(())
}

/// Pixels, 0 to 255, and labels.
///
/// The file has the number of features (64) and of samples as 64-bit integers, then the features of all samples (0 to 16) and their
/// labels, all little-endian f32.
fn read(bytes: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (features, rest) = bytes.split_first_chunk()?;
    let (samples, rest) = rest.split_first_chunk()?;
    let (features, samples) = (u64::from_le_bytes(*features), u64::from_le_bytes(*samples));
    let values: Vec<f32> = rest.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let whole =
        features == u64::from(SIDE * SIDE) && samples > 0 && samples.checked_mul(features + 1)?.checked_mul(4)? == rest.len() as u64;
    let (pixels, labels) = values.split_at_checked(samples.checked_mul(features)? as usize).filter(|_| whole)?;
    let within = |values: &[f32], most: f32| values.iter().all(|v| (0.0..=most).contains(v));
    if !within(pixels, BRIGHTEST) || !within(labels, 9.0) {
        return None;
    }
    let bytes = pixels.iter().map(|v| (v * 255.0 / BRIGHTEST).round() as u8).collect();
    Some((bytes, labels.iter().map(|&label| label as u8).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Part, Source};
    use crate::packages::archive::making;
    use crate::packages::catalogue::Name;
    use crate::packages::place::Workshop;

    /// Three digits, the n-th of them all of brightness `8 * n`.
    fn numbers() -> Vec<u8> {
        let mut bytes = [64u64, 3].map(u64::to_le_bytes).concat();
        let values = (0..3 * 64).map(|i| (i / 64 * 8) as f32).chain([9.0, 0.0, 4.0]);
        bytes.extend(values.flat_map(f32::to_le_bytes));
        bytes
    }

    #[test]
    fn the_loader_reads_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let numbers = numbers();
        let files = [
            ("smartcore-0.7.0/src/dataset/digits.xy", &numbers[..]),
            ("smartcore-0.7.0/LICENSE", b"Apache"),
        ];
        let workshop = Workshop::open(&folder.path().join("out")).unwrap();
        let mut staging = workshop.stage(Name::Digits.package()).unwrap();
        unpack(&making::tgz(folder.path(), &files), &mut staging).unwrap();
        let data = pixgen_edge::data::idx::load(staging.root(), Part::Train).unwrap();
        assert_eq!(data.labels, [9, 0, 4]);
        assert_eq!(data.class_names.len(), 10);
        let pixels = data.pixels().unwrap();
        assert_eq!([0, 64, 128].map(|i| pixels[i]), [0, 128, 255]);
        let source = Source::from(staging.root().to_str().unwrap());
        assert!(crate::data::check::check(&source, Part::Train, [255; 3]).unwrap().bad.is_empty());
    }

    #[test]
    fn odd_numbers_are_refused() {
        let whole = numbers();
        let changed = |at: usize, bytes: &[u8]| {
            let mut numbers = whole.clone();
            numbers[at..at + bytes.len()].copy_from_slice(bytes);
            numbers
        };
        assert!(read(&whole).is_some());
        for bytes in [
            Vec::new(),
            whole[..15].to_vec(),
            whole[..whole.len() - 1].to_vec(),
            [&whole[..], &[0]].concat(),
            changed(0, &[63]),
            changed(8, &[2]),
            changed(8, &[0]),
            changed(8, &u64::MAX.to_le_bytes()),
            changed(0, &u64::MAX.to_le_bytes()),
            changed(16, &17f32.to_le_bytes()),
            changed(16, &f32::NAN.to_le_bytes()),
            changed(whole.len() - 4, &10f32.to_le_bytes()),
        ] {
            assert!(read(&bytes).is_none());
        }
    }
}
