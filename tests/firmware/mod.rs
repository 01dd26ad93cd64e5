//! Firmware on emulated microcontrollers: build `firmware-examples/qemu` for a machine and a model, run it in QEMU, read its log.
//!
//! ```ignore
//! let machine = firmware::machine("mps2-an386").expect("in the table");
//! let report = firmware::draw(machine, Path::new("tiny.pxg"), &[(0, 1)])?;
//! println!("{} instructions", report.instructions);
//! ```
//!
//! [`Image::build`] and [`Image::run`] are the two halves. A model that is too large for a machine is refused by the linker:
//! [`FirmwareError::Build`].

pub mod budget;

mod cargo;
mod emulator;
mod image;
mod log;
#[path = "../../firmware-examples/qemu/machines.rs"]
mod machines;
mod random;

pub use image::Image;
pub use log::Line;
pub use machines::{MACHINES, Machine, STACK, machine};
pub use random::random_model;

use std::fmt;
use std::path::Path;

/// Bytes of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// What is flashed: code, constants, the model, start values of variables.
    pub flash: u64,
    /// Variables, the workspace among them; not the stack.
    pub ram: u64,
}

/// A picture that was drawn in slices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slices {
    /// How many there were.
    pub count: u64,
    /// Instructions of the longest.
    pub longest: u64,
    /// Instructions of all.
    pub all: u64,
    /// Hash of the picture.
    pub hash: u64,
}

/// What a run of the firmware said, and the size of its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Name of the machine.
    pub machine: String,
    /// Name of the kernels.
    pub kernel: String,
    /// Name of the model.
    pub model: String,
    /// Hash of every picture asked for, in the order of the request.
    pub hashes: Vec<u64>,
    /// Instructions of the first picture, without what is done with its pixels.
    pub instructions: u64,
    /// Most bytes of the workspace that were in use at once.
    pub workspace: u64,
    /// Most bytes of stack that were in use at once.
    pub stack: u64,
    /// The first picture once more, in slices.
    pub slices: Slices,
    /// Bytes of the image.
    pub sizes: Sizes,
    /// The whole log.
    pub log: Vec<Line>,
}

/// Builds and runs: pictures of the `.pxg` file `model` for the (class, seed) `pairs` on `machine`.
pub fn draw(machine: &'static Machine, model: &Path, pairs: &[(usize, u64)]) -> Result<Report, FirmwareError> {
    Image::build(machine, model, pairs)?.run()
}

/// What went wrong with firmware.
#[derive(Debug)]
pub enum FirmwareError {
    /// It was not built: cargo's output. The linker's complaint when the model does not fit.
    Build(String),
    /// It did not come to a good end: the reason and its log.
    Run(String, Vec<Line>),
    /// Its log cannot be read.
    Log(String),
    /// A file or program of the host.
    Host(String),
}

impl FirmwareError {
    /// Whether the linker refused the image because a memory of the machine is too small.
    pub fn is_too_large(&self) -> bool {
        // lld, GNU ld, and the firmware's own check of the stack.
        let complaints = ["will not fit in region", "overflowed by", "are left for the stack"];
        matches!(self, Self::Build(output) if complaints.iter().any(|complaint| output.contains(complaint)))
    }
}

impl fmt::Display for FirmwareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(output) => write!(f, "firmware was not built:\n{output}"),
            Self::Run(reason, log) => {
                write!(f, "firmware: {reason}")?;
                log.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
            Self::Log(reason) => write!(f, "log of the firmware: {reason}"),
            Self::Host(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for FirmwareError {}
