//! `info`: what a `.pxg` file holds.

use super::classes;
use crate::engine::Kernel;
use crate::error::Error;
use crate::pxg_file::PxgFile;
use crate::terminal::{print_bytes, print_json, printable};
use crate::units::{counted, format_bytes, format_images};
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
    kernel_here: String,
}

pub(super) fn run(path: &Path, json: bool) -> Result<(), Error> {
    let file = PxgFile::load(path)?;
    let model = file.model()?;
    let header = model.header();
    let totals = plan_sites(&header.model, model.steps(), &mut |_| ());
    let info = Info {
        schema: 1,
        format: VERSION,
        name: header.name.to_owned(),
        model: header.model,
        steps: model.steps(),
        class_names: classes::of_model(&model),
        images_seen: header.images,
        source_crc32: format!("{:08x}", header.source),
        self_tests: header.tests,
        file_bytes: model.file_len(),
        workspace_bytes: model.workspace_len(),
        macs: totals.macs,
        kernel_here: Kernel::chosen()?.to_string(),
    };
    if json {
        return Ok(print_json(&info)?);
    }
    let tower = |t: pixgen_core::config::Tower| {
        format!("{}, width {}, {}", counted(t.depth, "block", "blocks"), t.width, counted(t.heads, "head", "heads"))
    };
    let m = &info.model;
    let text = format!(
        "model            {}\npicture          {} x {} x {}, patches of {}\nencoder          {}\ndecoder          {}\nsteps            {}\nclasses          {}\n\
         images seen      {}\nweights' CRC-32  {}\nself-tests       {}\nfile             {}, format {}\nworkspace        {}\nMACs             {:.2} M\n\
         kernel here      {}\n",
        info.name,
        m.size,
        m.size,
        m.channels,
        m.patch,
        tower(m.encoder),
        tower(m.decoder),
        info.steps,
        printable(&info.class_names.join(", ")),
        format_images(info.images_seen),
        info.source_crc32,
        info.self_tests,
        format_bytes(info.file_bytes as u64),
        info.format,
        format_bytes(info.workspace_bytes as u64),
        info.macs as f64 / 1e6,
        info.kernel_here,
    );
    Ok(print_bytes(text.as_bytes())?)
}
