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
    let mut panels = kernel.panels(&model)?;
    let drawer = kernel.prepare(&model, &mut panels)?;
    let tests = drawer.self_test(&mut drawer.memory(0)?)?;
    let pictures = counted(tests, "self-test picture", "self-test pictures");
    Ok(print_line(&format!("{pictures} drawn, all as exported"))?)
}
