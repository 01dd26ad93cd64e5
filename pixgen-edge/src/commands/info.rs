//! `info`: what a `.pxg` file holds.

use super::classes;
use crate::engine::Kernel;
use crate::error::Error;
use crate::model_facts::ModelFacts;
use crate::pxg_file::PxgFile;
use crate::terminal::{note, print_json, print_text};
use pixgen_core::config::ModelConfig;
use pixgen_core::integer::plan::plan_sites;
use pixgen_core::pxg::VERSION;
use serde::Serialize;
use std::path::Path;

/// What a file holds.
#[derive(Serialize)]
struct Info {
    schema: u32,
    format: u16,
    name: String,
    model: ModelConfig,
    steps: usize,
    class_names: Vec<String>,
    images_seen: u64,
    source_crc32: String,
    self_tests: u16,
    file_bytes: usize,
    workspace_bytes: usize,
    macs: u64,
    kernel_here: Option<String>,
}

pub(super) fn run(path: &Path, json: bool) -> Result<(), Error> {
    let file = PxgFile::load(path)?;
    let model = file.model()?;
    let header = model.header();
    let class_names = classes::of_model(&model);
    let kernel_here = kernel_here();
    if !json {
        let facts = ModelFacts::new(&model, &class_names).text();
        return Ok(print_text(&format!("{facts}{:<16} {}\n", "kernel here", kernel_here.as_deref().unwrap_or("none")))?);
    }
    let info = Info {
        schema: 1,
        format: VERSION,
        name: header.name.to_owned(),
        model: header.model,
        steps: model.steps(),
        class_names,
        images_seen: header.images,
        source_crc32: format!("{:08x}", header.source),
        self_tests: header.tests,
        file_bytes: model.file_len(),
        workspace_bytes: model.workspace_len(),
        macs: plan_sites(&header.model, model.steps(), &mut |_| ()).macs,
        kernel_here,
    };
    Ok(print_json(&info)?)
}

/// What this machine would draw with. Nothing is drawn here, so a kernel that it does not have is no error.
fn kernel_here() -> Option<String> {
    match Kernel::chosen() {
        Ok(kernel) => Some(kernel.to_string()),
        Err(error) => {
            note(&format!("warning: {error}; {}", error.hint().unwrap_or_default()));
            None
        }
    }
}
