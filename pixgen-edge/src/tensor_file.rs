//! Writing a safetensors file of f32 one tensor at a time, for weights that memory should hold only once.

use crate::file_error::FileError;
use crate::output;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

/// Alignment of the values in the file.
const ALIGNMENT: usize = 8;

/// Name and dimensions of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shaped {
    /// Name.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
}

/// Why a tensor file was not written.
#[derive(Debug)]
pub enum WriteError<E> {
    /// The values cannot be had.
    Values(E),
    /// The file cannot be written.
    File(FileError),
}

/// Writes `tensors` in their order, whole or not at all. `values` gives those of the tensor at a position of the list, as many as its
/// shape says; it may be asked twice for the same ones.
///
/// # Errors
/// The error of `values`, or that of the file system.
pub fn write<E, V: AsRef<[f32]>>(
    path: &Path,
    metadata: HashMap<String, String>,
    tensors: &[Shaped],
    mut values: impl FnMut(usize) -> Result<V, E>,
) -> Result<(), WriteError<E>> {
    let header = header(metadata, tensors).map_err(|error| WriteError::File(FileError::write(path)(io::Error::other(error))))?;
    let mut failed = None;
    let written = output::write(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for at in 0..tensors.len() {
            match values(at) {
                Ok(values) => out.write_all(bytemuck::cast_slice(values.as_ref()))?,
                Err(error) => {
                    failed = Some(error);
                    return Err(io::Error::other("the values cannot be had"));
                }
            }
        }
        Ok(())
    });
    match (failed, written) {
        (Some(error), _) => Err(WriteError::Values(error)),
        (None, written) => written.map_err(WriteError::File),
    }
}

/// The file's JSON, padded.
fn header(metadata: HashMap<String, String>, tensors: &[Shaped]) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let mut end = 0;
    let mut place = |tensor: &Shaped| {
        let start = end;
        end += size_of::<f32>() * tensor.shape.iter().product::<usize>();
        let info = TensorInfo { dtype: Dtype::F32, shape: tensor.shape.clone(), data_offsets: (start, end) };
        (tensor.name.clone(), info)
    };
    let list = Metadata::new(None, tensors.iter().map(&mut place).collect())?;
    let mut header = serde_json::to_string(&list)?;
    if !metadata.is_empty() {
        // In the order of their names, so that the same entries give the same bytes.
        let entries: BTreeMap<String, String> = metadata.into_iter().collect();
        let comma = if tensors.is_empty() { "" } else { "," };
        header = format!("{{\"__metadata__\":{}{comma}{}", serde_json::to_string(&entries)?, &header[1..]);
    }
    let mut header = header.into_bytes();
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    fn list() -> [Shaped; 3] {
        [("b", vec![2, 2]), ("a", vec![]), ("none", vec![0, 3])].map(|(name, shape)| Shaped { name: name.to_owned(), shape })
    }

    #[test]
    fn reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let metadata = HashMap::from([("key".to_owned(), "value".to_owned())]);
        let values: [&[f32]; 3] = [&[1.0, 2.0, 3.0, 4.0], &[-5.5], &[]];
        write(&path, metadata, &list(), |at| Ok::<_, ()>(values[at])).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap()["key"], "value");
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        for (tensor, values) in list().iter().zip(values) {
            let view = tensors.tensor(&tensor.name).unwrap();
            assert_eq!((view.shape(), view.data()), (&tensor.shape[..], bytemuck::cast_slice(values)));
        }
        let header = bytes.first_chunk().map(|&length| u64::from_le_bytes(length));
        assert_eq!(header.map(|length| length % ALIGNMENT as u64), Some(0));
    }

    #[test]
    fn values_that_fail_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let failed = write(&path, HashMap::new(), &list(), |at| if at == 0 { Ok(vec![0.0; 4]) } else { Err("gone") });
        assert!(matches!(failed, Err(WriteError::Values("gone"))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
