//! `selftest`: does this machine draw what the exporter drew?

use crate::aligned::AlignedBytes;
use crate::error::Error;
use crate::pxg_file::PxgFile;
use crate::terminal::print_line;
use crate::units::counted;
use std::path::Path;

pub(super) fn run(path: &Path) -> Result<(), Error> {
    let file = PxgFile::load(path)?;
    let model = file.model()?;
    let mut workspace = AlignedBytes::zeroed(model.workspace_len());
    let tests = model.self_test(workspace.bytes_mut())?;
    let pictures = counted(tests, "self-test picture", "self-test pictures");
    Ok(print_line(&format!("{pictures} drawn, all as exported"))?)
}
