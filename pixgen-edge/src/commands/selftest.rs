//! `selftest`: does this machine draw what the exporter drew?

use crate::engine::Kernel;
use crate::error::Error;
use crate::pxg_file::PxgFile;
use crate::terminal::print_line;
use crate::units::counted;
use std::path::Path;

pub(super) fn run(path: &Path) -> Result<(), Error> {
    let file = PxgFile::load(path)?;
    let model = file.model()?;
    let kernel = Kernel::chosen()?;
    let tests = kernel.prepare(&model, &mut kernel.panels(&model))?.self_test()?;
    let pictures = counted(tests, "self-test picture", "self-test pictures");
    Ok(print_line(&format!("{pictures} drawn, all as exported"))?)
}
