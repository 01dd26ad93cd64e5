//! The two formats of PyTorch files: the zip archive of 1.6 and later, and before it one pickle after another and then the storages.

use super::pickle::{self, Pickle, Value};
use super::pytorch::PytorchError;
use rawzip::{CompressionMethod, RECOMMENDED_BUFFER_SIZE, ZipArchive};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// How a file of the old format begins, after its first instruction: the pickled magic number.
const MAGIC: &[u8] = &[0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// How a zip archive begins.
const ZIP: &[u8] = b"PK\x03\x04";
/// How a pickle begins.
const PICKLE: u8 = 0x80;
/// Bytes that tell the formats apart.
const HEAD: u64 = 32;

/// Where the numbers of a storage lie in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// CRC-32 of them, in a zip archive.
    pub crc: Option<u32>,
}

/// The pickle of a file, and each of its storages in the pickle's order.
pub(super) struct Container {
    pub pickle: Pickle,
    pub extents: Vec<Extent>,
}

/// Finds out the format and reads everything but the numbers.
pub(super) fn open(file: &File, path: &Path) -> Result<Container, PytorchError> {
    let io = |source| PytorchError::Read { path: path.to_owned(), source };
    let mut reader = BufReader::new(file);
    let mut head = Vec::new();
    reader.by_ref().take(HEAD).read_to_end(&mut head).map_err(io)?;
    reader.seek(SeekFrom::Start(0)).map_err(io)?;
    if head.starts_with(ZIP) {
        archive(file, path)
    } else if head.first() == Some(&PICKLE) && head.windows(MAGIC.len()).any(|at| at == MAGIC) {
        old(reader, path)
    } else {
        let what = match head.first() {
            None => "it is empty",
            Some(_) if head.starts_with(b"version https://git-") => "it is a pointer to a file of Git LFS, not the file itself",
            Some(&PICKLE) => "it is a pickle without PyTorch's storages",
            Some(_) => "it begins neither as a zip archive nor as a pickle",
        };
        Err(PytorchError::Format { path: path.to_owned(), what: what.to_owned() })
    }
}

fn damaged(path: &Path, what: impl ToString) -> PytorchError {
    PytorchError::Damaged { path: path.to_owned(), what: what.to_string() }
}

/// The zip archive: `NAME/data.pkl` and `NAME/data/KEY` for each storage, none compressed.
fn archive(file: &File, path: &Path) -> Result<Container, PytorchError> {
    const ROOT: &[u8] = b"data.pkl";
    let (len, entries) = entries(file, path)?;
    let root = entries.keys().filter(|name| name.rsplit(|&c| c == b'/').next() == Some(ROOT)).min();
    let Some(root) = root else {
        let what = "it is a zip archive without `data.pkl`".to_owned();
        return Err(PytorchError::Format { path: path.to_owned(), what });
    };
    let within_folder = |name: &str| [&root[..root.len() - ROOT.len()], name.as_bytes()].concat();
    let open = |extent: &Extent| -> Result<_, PytorchError> {
        let mut reader = file;
        reader
            .seek(SeekFrom::Start(extent.offset))
            .map_err(|source| PytorchError::Read { path: path.to_owned(), source })?;
        Ok(BufReader::new(reader.take(extent.len)))
    };
    let extent = |name: &[u8]| -> Result<Extent, PytorchError> {
        let shown = String::from_utf8_lossy(name);
        match entries.get(name) {
            Some(Ok(extent)) => within(*extent, len, path),
            Some(Err(reason)) => Err(PytorchError::Format { path: path.to_owned(), what: format!("`{shown}` {reason}") }),
            None => Err(damaged(path, format!("`{shown}` is missing"))),
        }
    };
    let order = within_folder("byteorder");
    if entries.contains_key(&order) {
        let mut order_text = String::new();
        open(&extent(&order)?)?
            .take(HEAD)
            .read_to_string(&mut order_text)
            .map_err(|e| damaged(path, e))?;
        if order_text != "little" {
            return Err(big_endian(path));
        }
    }
    let pickle = pickle::read(&mut open(&extent(root)?)?).map_err(|e| PytorchError::pickle(path, e))?;
    let extents = pickle
        .storages
        .iter()
        .map(|storage| extent(&within_folder(&format!("data/{}", storage.key))));
    let extents = extents.collect::<Result<_, _>>()?;
    Ok(Container { pickle, extents })
}

/// Where an entry's bytes lie, or why they cannot be read in place.
type Entry = Result<Extent, &'static str>;

/// Length of a zip archive and its entries by name.
fn entries(file: &File, path: &Path) -> Result<(u64, HashMap<Vec<u8>, Entry>), PytorchError> {
    let zip = |error: rawzip::Error| damaged(path, format!("as a zip archive: {error}"));
    let len = file_len(file, path)?;
    let file = file.try_clone().map_err(|source| PytorchError::Read { path: path.to_owned(), source })?;
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let archive = ZipArchive::from_file(file, &mut buffer).map_err(zip)?;
    let mut found = HashMap::new();
    let mut walk = archive.entries(&mut buffer);
    while let Some(record) = walk.next_entry().map_err(zip)? {
        let entry = if record.flags().is_encrypted() {
            Err("is encrypted")
        } else if record.compression_method() != CompressionMethod::STORE {
            Err("is compressed, which PyTorch never does")
        } else {
            let (start, end) = archive.get_entry(record.wayfinder()).map_err(zip)?.compressed_data_range();
            Ok(Extent { offset: start, len: end - start, crc: Some(record.crc32()) })
        };
        found.insert(record.file_path().as_bytes().to_vec(), entry);
    }
    Ok((len, found))
}

/// The old format: magic number, version, system, values, keys of the storages; then for each its length and its numbers.
fn old(mut reader: BufReader<&File>, path: &Path) -> Result<Container, PytorchError> {
    let io = |source| PytorchError::Read { path: path.to_owned(), source };
    let len = file_len(reader.get_ref(), path)?;
    let mut next = || pickle::read(&mut reader).map_err(|e| PytorchError::pickle(path, e));
    let (_magic, _version, system) = (next()?, next()?, next()?);
    if let Value::Dict(pairs) = &system.values[system.root] {
        let is_false = |value: usize| matches!(system.values[value], Value::Int(0));
        let little = |key: usize| matches!(&system.values[key], Value::Str(name) if name == "little_endian");
        if pairs.iter().any(|&(key, value)| little(key) && is_false(value)) {
            return Err(big_endian(path));
        }
    }
    let (pickle, keys) = (next()?, next()?);
    let scalars: HashMap<&str, _> = pickle.storages.iter().map(|s| (s.key.as_str(), s.scalar)).collect();
    let Value::List(order) = &keys.values[keys.root] else {
        return Err(damaged(path, "its storages have no list"));
    };
    let mut found: HashMap<&str, Extent> = HashMap::new();
    for &key in order {
        let Value::Str(key) = &keys.values[key] else {
            return Err(damaged(path, "a storage has no name"));
        };
        let Some(Some(scalar)) = scalars.get(key.as_str()) else {
            return Err(damaged(path, format!("no tensor tells the type of storage {key}")));
        };
        let mut count = [0; 8];
        reader
            .read_exact(&mut count)
            .map_err(|_| damaged(path, format!("it ends before storage {key}")))?;
        let offset = reader.stream_position().map_err(io)?;
        let bytes = u64::from_le_bytes(count).saturating_mul(scalar.size() as u64);
        let extent = within(Extent { offset, len: bytes, crc: None }, len, path)?;
        // Within the file, so that both fit.
        reader.seek_relative(extent.len as i64).map_err(io)?;
        found.insert(key, extent);
    }
    let extents = pickle.storages.iter().map(|storage| {
        let extent = found.get(storage.key.as_str()).copied();
        extent.ok_or_else(|| damaged(path, format!("storage {} is missing", storage.key)))
    });
    let extents = extents.collect::<Result<_, _>>()?;
    Ok(Container { pickle, extents })
}

fn file_len(file: &File, path: &Path) -> Result<u64, PytorchError> {
    let metadata = file.metadata().map_err(|source| PytorchError::Read { path: path.to_owned(), source })?;
    Ok(metadata.len())
}

fn within(extent: Extent, file: u64, path: &Path) -> Result<Extent, PytorchError> {
    match extent.offset.checked_add(extent.len) {
        Some(end) if end <= file => Ok(extent),
        _ => Err(damaged(path, format!("it has {file} bytes, a storage reaches beyond them"))),
    }
}

fn big_endian(path: &Path) -> PytorchError {
    PytorchError::Format { path: path.to_owned(), what: "it was written on a big-endian machine".to_owned() }
}
