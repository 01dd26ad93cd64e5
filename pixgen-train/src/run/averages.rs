//! The weights of a run as model files: one average is exported, all are in the checkpoints.

use std::collections::HashMap;
use std::path::Path;

use super::checkpoint::{self, is_checkpoint_name};
use super::checkpoint_file::Checkpoint;
use super::folder::{CHECKPOINTS, RunFolder};
use crate::error::Error;
use pixgen_edge::model_file::ModelFile;
use pixgen_edge::terminal::note;
use pixgen_edge::units::counted;

/// Stands for every average and the parameters themselves.
pub const ALL: &str = "all";
/// The parameters themselves.
pub const RAW: &str = "raw";

/// The run folder that `path` is a checkpoint of; `path` itself if it is none.
pub fn run_folder(path: &Path) -> &Path {
    let run = || {
        let folder = path.parent()?;
        let in_its_place = folder.file_name()? == CHECKPOINTS && is_checkpoint_name(path.file_name()?.to_str()?);
        in_its_place.then(|| folder.parent())?
    };
    match run() {
        // `checkpoints/step-..` seen from inside the run.
        Some(run) if run.as_os_str().is_empty() => Path::new("."),
        Some(run) => run,
        None => path,
    }
}

/// The model at `path` with the weights of one average, by default of the exported one; see [`averages`].
///
/// # Errors
/// Those of [`averages`].
pub fn average(path: &Path, wanted: Option<&str>) -> Result<ModelFile, Error> {
    if wanted == Some(ALL) {
        return Err(Error::Argument {
            what: format!("--ema {ALL}: one average is needed"),
            hint: Some("name it; `pixgen-train eval --ema all` compares them".to_owned()),
        });
    }
    let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
    // Nothing unknown is left out, so one wanted average is one model.
    averages(path, &wanted).map(|mut models| models.swap_remove(0))
}

/// The model at `path` once for each average in `wanted`, or with the exported one alone if none is wanted. `path` is a model file, a run
/// folder, whose run may still be training, or a checkpoint in a run folder.
///
/// # Errors
/// Those of [`ModelFile::load`]; an average that is neither the one in the file nor in the checkpoint, which is the newest of a run folder.
pub fn averages(path: &Path, wanted: &[String]) -> Result<Vec<ModelFile>, Error> {
    let run = run_folder(path);
    let file = ModelFile::load(run)?;
    let wrong = |what: String, hint: String| Error::Argument { what, hint: Some(hint) };
    let only = || format!("the file has only {}; give the folder of its training run", file.header.ema);
    let state = if run != path {
        Checkpoint::read(path)?
    } else if wanted.iter().all(|name| *name == file.header.ema) {
        return Ok(vec![file]);
    } else if !path.join(super::CONFIG).exists() {
        return Err(wrong(format!("--ema {}: {} is not a run folder", wanted.join(","), path.display()), only()));
    } else {
        let Some(loaded) = checkpoint::latest(&RunFolder::view(path)?)? else {
            return Err(wrong(format!("--ema {}: the run in {} has no checkpoint", wanted.join(","), path.display()), only()));
        };
        for warning in &loaded.warnings {
            note(&format!("warning: {warning}"));
        }
        loaded.checkpoint
    };
    let exported = [file.header.ema.clone()];
    choose(file, state, if wanted.is_empty() { &exported } else { wanted })
}

/// `file` with the weights in `state`, once for each average in `wanted`.
fn choose(mut file: ModelFile, state: Checkpoint, wanted: &[String]) -> Result<Vec<ModelFile>, Error> {
    file.header.images = state.images;
    let (mut kept, mut others) = (Vec::new(), HashMap::new());
    for tensor in state.tensors {
        let name = match tensor.name.as_str() {
            "params" => Some(RAW),
            name => name.strip_prefix("ema."),
        };
        match name {
            Some(name) if tensor.data.len() == file.params.len() => kept.push((name.to_owned(), tensor.data)),
            _ => _ = others.insert(tensor.name, tensor.data),
        }
    }
    for (name, place) in file.statistics.iter_mut().flat_map(|statistics| statistics.named_mut()) {
        if let Some(values) = others.remove(&format!("objective.{name}")) {
            *place = values;
        }
    }
    let known: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
    if let Some(unknown) = wanted.iter().find(|name| *name != ALL && !known.contains(&name.as_str())) {
        return Err(Error::Argument {
            what: format!("--ema {unknown}: the checkpoint at {} has no such average", counted(state.images as usize, "image", "images")),
            hint: Some(format!("it has {}", known.join(", "))),
        });
    }
    let chosen = |name: &String| wanted.iter().any(|wanted| wanted == ALL || wanted == name);
    let with = |(name, params): (String, Vec<f32>)| {
        let mut file = ModelFile { params, ..file.clone() };
        file.header.ema = name;
        file
    };
    Ok(kept.into_iter().filter(|(name, _)| chosen(name)).map(with).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_known_by_their_place() {
        let step = "step-000000000128.safetensors";
        for (path, run) in [
            (format!("runs/a/checkpoints/{step}"), "runs/a"),
            (format!("checkpoints/{step}"), "."),
            (format!("/checkpoints/{step}"), "/"),
        ] {
            assert_eq!(run_folder(Path::new(&path)), Path::new(run), "{path}");
        }
        for path in [
            format!("runs/a/{step}"),
            "runs/a/checkpoints/step-7.safetensors".to_owned(),
            "runs/a".to_owned(),
            step.to_owned(),
        ] {
            assert_eq!(run_folder(Path::new(&path)), Path::new(&path));
        }
    }
}
