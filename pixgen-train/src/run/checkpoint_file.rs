//! The bytes of a checkpoint: a safetensors file in which every bit is guarded by a CRC-32.
//!
//! The file is plain safetensors (8 bytes of header length, JSON header, tensors as little-endian f32), readable by any tool. The
//! first metadata entry is always `"crc32"`, with eight hexadecimal digits at a fixed place. They are the CRC-32 of the **whole file
//! with those eight digits set to `0`**: length, header and data alike, so a single flipped bit anywhere is found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crc32fast::Hasher;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::error::{Damage, RunError};
use pixgen_edge::atomic::write_atomic;

/// Metadata entry of the checksum.
const CHECKSUM: &str = "crc32";
/// Metadata entry of the number of images seen.
const IMAGES: &str = "images";
/// The name under which safetensors keeps the metadata.
const METADATA: &str = "__metadata__";

/// What the JSON begins with, up to the digits of the checksum.
const OPENING: &str = "{\"__metadata__\":{\"crc32\":\"";
const NO_CHECKSUM: &str = "00000000";

const LENGTH_BYTES: usize = 8;
/// The tensors begin at a multiple of this.
const ALIGNMENT: usize = 8;
/// Larger headers than this are no headers.
const MAX_HEADER_BYTES: u64 = 100 << 20;
/// Values converted at a time.
const CHUNK_VALUES: usize = 1 << 14;
const F32_BYTES: usize = size_of::<f32>();

/// The state of training after some number of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Images seen.
    pub images: u64,
    /// Weights, averages and moments, in the order of the file.
    pub tensors: Vec<NamedTensor>,
    /// Whatever else has to be known. `images` and `crc32` are taken.
    pub metadata: BTreeMap<String, String>,
}

/// One tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Unique in its checkpoint.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// As many values as the product of `shape`.
    pub data: Vec<f32>,
}

impl Checkpoint {
    /// Writes a safetensors file, atomically.
    ///
    /// # Errors
    /// [`RunError::File`]; [`RunError::TensorShape`] and [`RunError::NameTaken`] for a state that cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), RunError> {
        write(path, self)
    }

    /// Reads a file that [`Checkpoint::write`] wrote; a single flipped bit anywhere is found.
    ///
    /// # Errors
    /// [`RunError::File`] and [`RunError::Damaged`].
    pub fn read(path: &Path) -> Result<Self, RunError> {
        read(path).map_err(|failure| match failure {
            ReadFailure::Io(source) => RunError::read(path)(source),
            ReadFailure::Damage(damage) => RunError::Damaged { path: path.to_owned(), damage },
        })
    }
}

/// Why a file did not give a checkpoint.
pub(super) enum ReadFailure {
    /// The disk did not give the bytes.
    Io(io::Error),
    /// The bytes are not right.
    Damage(Damage),
}

impl From<Damage> for ReadFailure {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

/// Writes `checkpoint` to `path`, atomically and without a copy of its data.
pub(super) fn write(path: &Path, checkpoint: &Checkpoint) -> Result<(), RunError> {
    let mut header = header(path, checkpoint)?;
    let mut hasher = Hasher::new();
    hasher.update(&(header.len() as u64).to_le_bytes());
    hasher.update(&header);
    for tensor in &checkpoint.tensors {
        for_each_chunk(&tensor.data, |bytes| {
            hasher.update(bytes);
            Ok(())
        })
        .map_err(RunError::write(path))?;
    }
    let digits = format!("{:08x}", hasher.finalize());
    header[OPENING.len()..][..digits.len()].copy_from_slice(digits.as_bytes());

    Ok(write_atomic(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for tensor in &checkpoint.tensors {
            for_each_chunk(&tensor.data, |bytes| out.write_all(bytes))?;
        }
        Ok(())
    })?)
}

/// The metadata of the checkpoint at `path`, whose data are not read and not verified.
pub(super) fn metadata(path: &Path) -> Result<BTreeMap<String, String>, ReadFailure> {
    let (_, header, _) = open(path)?;
    Ok(header
        .metadata()
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect())
}

/// A checkpoint whose header has been read, the header, and the checksum in it.
fn open(path: &Path) -> Result<(Hashing, Metadata, String), ReadFailure> {
    let file = File::open(path).map_err(ReadFailure::Io)?;
    let length = file.metadata().map_err(ReadFailure::Io)?.len();
    let mut input = Hashing { input: BufReader::new(file), hasher: Hasher::new(), length };

    let mut header_bytes = [0; LENGTH_BYTES];
    input.fill(&mut header_bytes)?;
    let header_bytes = u64::from_le_bytes(header_bytes);
    let data_start = (LENGTH_BYTES as u64).saturating_add(header_bytes);
    if header_bytes > MAX_HEADER_BYTES || data_start > length {
        return Err(Damage::Length { expected: data_start, found: length }.into());
    }
    let (header, stored) = input.header(header_bytes as usize)?;
    let expected = data_start.saturating_add(header.data_len() as u64);
    if expected != length {
        return Err(Damage::Length { expected, found: length }.into());
    }
    Ok((input, header, stored))
}

/// Reads and verifies the checkpoint at `path`, holding its data in memory once.
pub(super) fn read(path: &Path) -> Result<Checkpoint, ReadFailure> {
    let (mut input, header, stored) = open(path)?;
    let mut tensors = Vec::new();
    for name in header.offset_keys() {
        if let Some(info) = header.info(&name) {
            tensors.push(input.tensor(name, info)?);
        }
    }
    let found = format!("{:08x}", input.hasher.finalize());
    if stored != found {
        return Err(Damage::Checksum { expected: stored, found }.into());
    }

    let metadata = header.metadata().clone().unwrap_or_default();
    let images = metadata
        .get(IMAGES)
        .and_then(|images| images.parse().ok())
        .ok_or_else(|| Damage::Header(format!("no `{IMAGES}`")))?;
    Ok(Checkpoint {
        images,
        tensors,
        metadata: metadata.into_iter().filter(|(key, _)| key != IMAGES && key != CHECKSUM).collect(),
    })
}

/// The JSON header, with zeros for the checksum. The order of its entries is fixed, so the same state gives the same file.
fn header(path: &Path, checkpoint: &Checkpoint) -> Result<Vec<u8>, RunError> {
    let json = |text: &str| quoted(path, text);
    let mut header = format!("{OPENING}{NO_CHECKSUM}\",{}:{}", json(IMAGES)?, json(&checkpoint.images.to_string())?);
    for (key, value) in &checkpoint.metadata {
        if [CHECKSUM, IMAGES].contains(&key.as_str()) {
            return Err(RunError::NameTaken { name: key.clone() });
        }
        header += &format!(",{}:{}", json(key)?, json(value)?);
    }
    header.push('}');

    let mut names = BTreeSet::from([METADATA]);
    let mut start = 0;
    for tensor in &checkpoint.tensors {
        if !names.insert(&tensor.name) {
            return Err(RunError::NameTaken { name: tensor.name.clone() });
        }
        let values = tensor.shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        if values != Some(tensor.data.len()) {
            return Err(RunError::TensorShape { name: tensor.name.clone(), shape: tensor.shape.clone(), values: tensor.data.len() });
        }
        let end = start + tensor.data.len() * F32_BYTES;
        header += &format!(",{}:{{\"dtype\":\"F32\",\"shape\":{:?},\"data_offsets\":[{start},{end}]}}", json(&tensor.name)?, tensor.shape);
        start = end;
    }
    header.push('}');
    while !(LENGTH_BYTES + header.len()).is_multiple_of(ALIGNMENT) {
        header.push(' ');
    }
    Ok(header.into_bytes())
}

fn quoted(path: &Path, text: &str) -> Result<String, RunError> {
    serde_json::to_string(text).map_err(|source| RunError::Record { path: path.to_owned(), source })
}

/// Hands `values` on as little-endian bytes, piece by piece.
fn for_each_chunk(values: &[f32], mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut bytes = [0; CHUNK_VALUES * F32_BYTES];
    for chunk in values.chunks(CHUNK_VALUES) {
        let bytes = &mut bytes[..chunk.len() * F32_BYTES];
        for (bytes, value) in bytes.chunks_exact_mut(F32_BYTES).zip(chunk) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        each(bytes)?;
    }
    Ok(())
}

/// A file being read, and the checksum of what has been read of it.
struct Hashing {
    input: BufReader<File>,
    hasher: Hasher,
    /// Size of the file in bytes.
    length: u64,
}

impl Hashing {
    /// Reads exactly `bytes`, without counting them into the checksum.
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), ReadFailure> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                ReadFailure::Damage(Damage::Length { expected: (LENGTH_BYTES as u64).max(self.length + 1), found: self.length })
            }
            _ => ReadFailure::Io(error),
        })
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ReadFailure> {
        self.read(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Reads the header and the checksum that it stores.
    fn header(&mut self, length: usize) -> Result<(Metadata, String), ReadFailure> {
        let mut bytes = vec![0; length];
        self.read(&mut bytes)?;
        let digits = OPENING.len()..OPENING.len() + NO_CHECKSUM.len();
        let stored = match bytes.get(digits.clone()) {
            Some(stored) if bytes.starts_with(OPENING.as_bytes()) => String::from_utf8_lossy(stored).into_owned(),
            _ => return Err(Damage::Header("no checksum".to_owned()).into()),
        };
        bytes[digits].copy_from_slice(NO_CHECKSUM.as_bytes());
        self.hasher.update(&bytes);
        let header = serde_json::from_slice(&bytes).map_err(|error| Damage::Header(error.to_string()))?;
        Ok((header, stored))
    }

    /// Reads the next tensor of the file.
    fn tensor(&mut self, name: String, info: &TensorInfo) -> Result<NamedTensor, ReadFailure> {
        if info.dtype != Dtype::F32 {
            return Err(Damage::ElementType { name, found: format!("{:?}", info.dtype) }.into());
        }
        // The header's sizes are checked against each other and the file's length, so this is no larger than the file.
        let count = (info.data_offsets.1 - info.data_offsets.0) / F32_BYTES;
        let mut data = Vec::with_capacity(count);
        let mut bytes = [0; CHUNK_VALUES * F32_BYTES];
        while data.len() < count {
            let bytes = &mut bytes[..(count - data.len()).min(CHUNK_VALUES) * F32_BYTES];
            self.fill(bytes)?;
            let (values, _) = bytes.as_chunks::<F32_BYTES>();
            data.extend(values.iter().map(|value| f32::from_le_bytes(*value)));
        }
        Ok(NamedTensor { name, shape: info.shape.clone(), data })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn checkpoint() -> Checkpoint {
        let tensor = |name: &str, shape: &[usize], first: f32| NamedTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            data: (0..shape.iter().product::<usize>()).map(|i| first + i as f32).collect(),
        };
        Checkpoint {
            images: 1_250_000,
            tensors: vec![
                tensor("z.weight", &[2, 3], 0.5),
                tensor("a \"quoted\" name", &[], f32::NAN),
                tensor("empty", &[0, 4], 0.0),
                tensor("long", &[CHUNK_VALUES + 3], -1.0),
            ],
            metadata: BTreeMap::from([
                ("config".to_owned(), "{\"width\":64}\n".to_owned()),
                ("é".to_owned(), "ü".to_owned()),
            ]),
        }
    }

    fn small() -> Checkpoint {
        Checkpoint { tensors: checkpoint().tensors.into_iter().take(2).collect(), ..checkpoint() }
    }

    fn written(checkpoint: &Checkpoint) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step.safetensors");
        write(&path, checkpoint).unwrap_or_else(|error| panic!("{error}"));
        (folder, path)
    }

    fn damage(path: &Path) -> Damage {
        match read(path) {
            Ok(_) => panic!("read a damaged file"),
            Err(ReadFailure::Io(error)) => panic!("{error}"),
            Err(ReadFailure::Damage(damage)) => damage,
        }
    }

    #[test]
    fn round_trip_keeps_every_bit_and_the_order() {
        let (_folder, path) = written(&checkpoint());
        let Ok(back) = read(&path) else { panic!("not readable") };
        let bits = |checkpoint: &Checkpoint| -> Vec<(String, Vec<usize>, Vec<u32>)> {
            checkpoint
                .tensors
                .iter()
                .map(|t| {
                    let bits = t.data.iter().map(|v| v.to_bits()).collect();
                    (t.name.clone(), t.shape.clone(), bits)
                })
                .collect()
        };
        assert_eq!(back.images, checkpoint().images);
        assert_eq!(back.metadata, checkpoint().metadata);
        // Empty tensors share an offset with a neighbour, so only the others have an order in the file.
        let (mut back, mut wanted) = (bits(&back), bits(&checkpoint()));
        let filled = |list: &[(String, Vec<usize>, Vec<u32>)]| -> Vec<String> {
            let filled = list.iter().filter(|t| !t.2.is_empty());
            filled.map(|t| t.0.clone()).collect()
        };
        assert_eq!(filled(&back), filled(&wanted));
        back.sort();
        wanted.sort();
        assert_eq!(back, wanted);
    }

    #[test]
    fn the_file_is_plain_safetensors_and_the_same_each_time() {
        let (_folder, path) = written(&checkpoint());
        let bytes = fs::read(&path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("z.weight").unwrap().shape(), [2, 3]);
        let header_bytes = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert_eq!(header_bytes % ALIGNMENT as u64, 0);
        let (_folder, again) = written(&checkpoint());
        assert_eq!(bytes, fs::read(again).unwrap());
    }

    #[test]
    fn every_single_flipped_bit_is_found() {
        let (_folder, path) = written(&small());
        let whole = fs::read(&path).unwrap();
        for index in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[index] ^= 1 << bit;
                fs::write(&path, &flipped).unwrap();
                assert!(read(&path).is_err(), "byte {index}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_in_the_data_is_a_checksum_error() {
        let (_folder, path) = written(&checkpoint());
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(damage(&path), Damage::Checksum { .. }));
    }

    #[test]
    fn any_other_length_is_found() {
        let (_folder, path) = written(&small());
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let damage = damage(&path);
            assert!(matches!(damage, Damage::Length { .. }), "{length}: {damage}");
        }
        fs::write(&path, [whole.as_slice(), &[0]].concat()).unwrap();
        assert!(matches!(damage(&path), Damage::Length { .. }));
    }

    #[test]
    fn hostile_headers_are_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step.safetensors");
        let huge = "[4294967295,4294967295,4294967295]";
        for header in [
            String::new(),
            "{}".to_owned(),
            format!("{OPENING}{NO_CHECKSUM}"),
            format!("{OPENING}{NO_CHECKSUM}\"}}"),
            format!("{OPENING}{NO_CHECKSUM}\"}},\"w\":{{\"dtype\":\"F32\",\"shape\":{huge},\"data_offsets\":[0,8]}}}}"),
            format!("{OPENING}{NO_CHECKSUM}\"}},\"w\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,4]}}}}"),
            format!("{OPENING}{NO_CHECKSUM}\"}},\"w\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}}}"),
            format!("{OPENING}{NO_CHECKSUM}\"}},\"w\":{{\"dtype\":\"F16\",\"shape\":[0],\"data_offsets\":[0,0]}}}}"),
            format!("{OPENING}{NO_CHECKSUM}\"}}}}"),
        ] {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            fs::write(&path, &bytes).unwrap();
            damage(&path);
        }
        fs::write(&path, [0xff; 64]).unwrap();
        assert!(matches!(damage(&path), Damage::Length { .. }));
    }

    #[test]
    fn names_and_shapes_are_checked_before_writing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step.safetensors");
        let fails = |change: &dyn Fn(&mut Checkpoint)| {
            let mut checkpoint = checkpoint();
            change(&mut checkpoint);
            let error = write(&path, &checkpoint).unwrap_err();
            assert!(!path.exists());
            error
        };
        let taken = fails(&|c| c.tensors[1].name = c.tensors[0].name.clone());
        assert!(matches!(taken, RunError::NameTaken { .. }));
        let taken = fails(&|c| c.tensors[1].name = METADATA.to_owned());
        assert!(matches!(taken, RunError::NameTaken { .. }));
        let taken = fails(&|c| {
            c.metadata.insert(IMAGES.to_owned(), "3".to_owned());
        });
        assert!(matches!(taken, RunError::NameTaken { .. }));
        let shape = fails(&|c| c.tensors[0].shape = vec![2, 4]);
        assert!(matches!(shape, RunError::TensorShape { values: 6, .. }));
        let shape = fails(&|c| c.tensors[0].shape = vec![usize::MAX, 4]);
        assert!(matches!(shape, RunError::TensorShape { .. }));
    }
}
