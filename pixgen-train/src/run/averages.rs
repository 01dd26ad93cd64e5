//! The averages that a run keeps, as model files: one is exported, all are in the newest checkpoint.

use std::path::Path;

use super::checkpoint;
use super::folder::RunFolder;
use crate::error::Error;
use pixgen_edge::model_file::ModelFile;
use pixgen_edge::terminal::note;

/// Stands for every average and the parameters themselves.
pub const ALL: &str = "all";
/// The parameters themselves.
pub const RAW: &str = "raw";

/// `file` once for each average in `wanted`; `file` alone if none is wanted. `path` is where it comes from.
///
/// # Errors
/// An average that is neither the one in the file nor in the run's newest checkpoint.
pub fn averages(file: ModelFile, path: &Path, wanted: &[String]) -> Result<Vec<ModelFile>, Error> {
    if wanted.iter().all(|name| *name == file.header.ema) {
        return Ok(vec![file]);
    }
    let wrong = |what: String, hint: String| Error::Argument { what, hint: Some(hint) };
    let only = || format!("the file has only {}; give the folder of its training run", file.header.ema);
    if !path.join(super::CONFIG).exists() {
        return Err(wrong(format!("--ema {}: {} is not a run folder", wanted.join(","), path.display()), only()));
    }
    let folder = RunFolder::view(path)?;
    let Some(loaded) = checkpoint::latest(&folder)? else {
        return Err(wrong(format!("--ema {}: the run in {} has no checkpoint", wanted.join(","), path.display()), only()));
    };
    for warning in &loaded.warnings {
        note(&format!("warning: {warning}"));
    }
    let images = loaded.checkpoint.images;
    let kept: Vec<(String, Vec<f32>)> = loaded
        .checkpoint
        .tensors
        .into_iter()
        .filter_map(|tensor| {
            let name = match tensor.name.as_str() {
                "params" => RAW,
                name => name.strip_prefix("ema.")?,
            };
            Some((name.to_owned(), tensor.data))
        })
        .filter(|(_, values)| values.len() == file.params.len())
        .collect();
    let known: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
    if let Some(unknown) = wanted.iter().find(|name| *name != ALL && !known.contains(&name.as_str())) {
        return Err(wrong(
            format!("--ema {unknown}: the checkpoint at {images} images has no such average"),
            format!("it has {}; or `{ALL}`", known.join(", ")),
        ));
    }
    let chosen = |name: &String| wanted.iter().any(|wanted| wanted == ALL || wanted == name);
    let with = |(name, params): (String, Vec<f32>)| {
        let mut file = ModelFile { params, ..file.clone() };
        file.header.ema = name;
        file.header.images = images;
        file
    };
    Ok(kept.into_iter().filter(|(name, _)| chosen(name)).map(with).collect())
}
