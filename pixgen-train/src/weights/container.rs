//! The two formats of PyTorch files: the zip archive of 1.6 and later, and before it one pickle after another and then the storages.

use super::error::{ContainerProblem, FormatProblem, PytorchError};
use super::pickle::{self, Pickle, Value};
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
    let mut reader = BufReader::new(file);
    let mut head = Vec::new();
    reader.by_ref().take(HEAD).read_to_end(&mut head).map_err(PytorchError::read(path))?;
    reader.rewind().map_err(PytorchError::read(path))?;
    if head.starts_with(ZIP) {
        archive(file, path)
    } else if head.first() == Some(&PICKLE) && head.windows(MAGIC.len()).any(|at| at == MAGIC) {
        old(reader, path)
    } else {
        let kind = match head.first() {
            None => FormatProblem::Empty,
            Some(_) if head.starts_with(b"version https://git-") => FormatProblem::GitLfsPointer,
            Some(&PICKLE) => FormatProblem::BarePickle,
            Some(_) => FormatProblem::Unknown,
        };
        Err(PytorchError::format(path, kind))
    }
}

/// The zip archive: `NAME/data.pkl` and `NAME/data/KEY` for each storage, none compressed.
fn archive(file: &File, path: &Path) -> Result<Container, PytorchError> {
    const ROOT: &[u8] = b"data.pkl";
    let (len, entries) = entries(file, path)?;
    let root = entries.keys().filter(|name| name.rsplit(|&c| c == b'/').next() == Some(ROOT)).min();
    let Some(root) = root else {
        return Err(PytorchError::format(path, FormatProblem::OtherArchive));
    };
    let within_folder = |name: &str| [&root[..root.len() - ROOT.len()], name.as_bytes()].concat();
    let open = |extent: &Extent| -> Result<_, PytorchError> {
        let mut reader = file;
        reader.seek(SeekFrom::Start(extent.offset)).map_err(PytorchError::read(path))?;
        Ok(BufReader::new(reader.take(extent.len)))
    };
    let extent = |name: &[u8]| -> Result<Extent, PytorchError> {
        match entries.get(name) {
            Some(Ok(extent)) => within(*extent, len, path),
            Some(Err(problem)) => Err(PytorchError::format(path, problem.clone())),
            None => Err(PytorchError::damaged(path, ContainerProblem::NoMember(shown(name)))),
        }
    };
    let order = within_folder("byteorder");
    if entries.contains_key(&order) {
        let mut order_text = String::new();
        open(&extent(&order)?)?
            .take(HEAD)
            .read_to_string(&mut order_text)
            .map_err(|_| PytorchError::damaged(path, ContainerProblem::NotText(shown(&order))))?;
        if order_text != "little" {
            return Err(PytorchError::format(path, FormatProblem::BigEndian));
        }
    }
    let pickle = pickle::read(&mut open(&extent(root)?)?).map_err(PytorchError::pickle(path))?;
    let extents = pickle
        .storages
        .iter()
        .map(|storage| extent(&within_folder(&format!("data/{}", storage.key))));
    let extents = extents.collect::<Result<_, _>>()?;
    Ok(Container { pickle, extents })
}

/// Where an entry's bytes lie, or why they cannot be read in place.
type Entry = Result<Extent, FormatProblem>;

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Length of a zip archive and its entries by name.
fn entries(file: &File, path: &Path) -> Result<(u64, HashMap<Vec<u8>, Entry>), PytorchError> {
    let zip = |error: rawzip::Error| PytorchError::damaged(path, ContainerProblem::Zip(error.to_string()));
    let len = file_len(file, path)?;
    let file = file.try_clone().map_err(PytorchError::read(path))?;
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let archive = ZipArchive::from_file(file, &mut buffer).map_err(zip)?;
    let mut found = HashMap::new();
    let mut walk = archive.entries(&mut buffer);
    while let Some(record) = walk.next_entry().map_err(zip)? {
        let name = record.file_path().as_bytes().to_vec();
        let entry = if record.flags().is_encrypted() {
            Err(FormatProblem::Encrypted(shown(&name)))
        } else if record.compression_method() != CompressionMethod::STORE {
            Err(FormatProblem::Compressed(shown(&name)))
        } else {
            let (start, end) = archive.get_entry(record.wayfinder()).map_err(zip)?.compressed_data_range();
            Ok(Extent { offset: start, len: end - start, crc: Some(record.crc32()) })
        };
        found.insert(name, entry);
    }
    Ok((len, found))
}

/// The old format: magic number, version, system, values, keys of the storages; then for each its length and its numbers.
fn old(mut reader: BufReader<&File>, path: &Path) -> Result<Container, PytorchError> {
    let damaged = |problem| PytorchError::damaged(path, problem);
    let len = file_len(reader.get_ref(), path)?;
    let mut next = || pickle::read(&mut reader).map_err(PytorchError::pickle(path));
    let (_magic, _version, system) = (next()?, next()?, next()?);
    if let Value::Dict(pairs) = &system.values[system.root] {
        let is_false = |value: usize| matches!(system.values[value], Value::Int(0));
        let little = |key: usize| matches!(&system.values[key], Value::Str(name) if name == "little_endian");
        if pairs.iter().any(|&(key, value)| little(key) && is_false(value)) {
            return Err(PytorchError::format(path, FormatProblem::BigEndian));
        }
    }
    let (pickle, keys) = (next()?, next()?);
    let scalars: HashMap<&str, _> = pickle.storages.iter().map(|s| (s.key.as_str(), s.scalar)).collect();
    let Value::List(order) = &keys.values[keys.root] else {
        return Err(damaged(ContainerProblem::NoStorageList));
    };
    let mut found: HashMap<&str, Extent> = HashMap::new();
    for &key in order {
        let Value::Str(key) = &keys.values[key] else {
            return Err(damaged(ContainerProblem::UnnamedStorage));
        };
        let Some(Some(scalar)) = scalars.get(key.as_str()) else {
            return Err(damaged(ContainerProblem::UntypedStorage(key.clone())));
        };
        let mut count = [0; 8];
        reader
            .read_exact(&mut count)
            .map_err(|_| damaged(ContainerProblem::EndsBeforeStorage(key.clone())))?;
        let offset = reader.stream_position().map_err(PytorchError::read(path))?;
        let bytes = u64::from_le_bytes(count).saturating_mul(scalar.size() as u64);
        let extent = within(Extent { offset, len: bytes, crc: None }, len, path)?;
        // Within the file, so that both fit.
        reader.seek_relative(extent.len as i64).map_err(PytorchError::read(path))?;
        found.insert(key, extent);
    }
    let extents = pickle.storages.iter().map(|storage| {
        let extent = found.get(storage.key.as_str()).copied();
        extent.ok_or_else(|| damaged(ContainerProblem::NoStorage(storage.key.clone())))
    });
    let extents = extents.collect::<Result<_, _>>()?;
    Ok(Container { pickle, extents })
}

fn file_len(file: &File, path: &Path) -> Result<u64, PytorchError> {
    Ok(file.metadata().map_err(PytorchError::read(path))?.len())
}

fn within(extent: Extent, file: u64, path: &Path) -> Result<Extent, PytorchError> {
    match extent.offset.checked_add(extent.len) {
        Some(end) if end <= file => Ok(extent),
        _ => Err(PytorchError::damaged(path, ContainerProblem::BeyondFile { file_len: file })),
    }
}
