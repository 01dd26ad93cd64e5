//! A model file with the authors' names and layouts, as safetensors.

use super::authors::table;
use pixgen_edge::file_error::FileError;
use pixgen_edge::model_file::ModelFile;
use pixgen_edge::tensor_file::{self, Shaped, WriteError};
use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;

/// Metadata entry with the header of the model file, which [`import`](mod@super::import) reads back.
pub(super) const HEADER: &str = "pixgen.header";

/// Writes the tensors of `file` as the authors' `load_state_dict` takes them, and all that the names do not say as metadata.
pub fn export(file: &ModelFile, out: &Path) -> Result<(), FileError> {
    let rows = table(&file.header);
    let list: Vec<Shaped> = rows
        .iter()
        .map(|row| Shaped { name: row.theirs.clone(), shape: row.shape.clone() })
        .collect();
    let statistics: HashMap<String, &[f32]> = file.statistics.iter().flat_map(|statistics| statistics.named()).collect();
    let values = |at: usize| -> Result<Vec<f32>, Infallible> {
        let row = &rows[at];
        let values = match file.set.position_of(&row.name) {
            Some(at) => &file.params[file.set.entries()[at].range.clone()],
            None => statistics.get(&row.name).copied().unwrap_or_default(),
        };
        Ok(row.export(values.to_vec()))
    };
    let header = serde_json::to_string(&file.header).map_err(|error| FileError::write(out)(error.into()))?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned()), (HEADER.to_owned(), header)]);
    tensor_file::write(out, metadata, &list, values).map_err(|error| match error {
        WriteError::Values(never) => match never {},
        WriteError::File(error) => error,
    })
}
