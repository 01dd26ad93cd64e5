//! A kernel that can be launched.

use crate::decode::{self, Program};
use crate::fault::{Fault, FaultKind};
use crate::source::{self, ParseError, Source};

/// A kernel of a PTX module.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Its text, taken apart.
    pub(crate) source: Source,
    /// Its instructions.
    pub(crate) program: Program,
}

/// How a kernel is launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Blocks of the grid.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of a block.
    pub dynamic_shared: usize,
    /// Of the order in which warps are stepped.
    pub seed: u64,
}

impl Launch {
    /// Threads of a block, in all.
    pub fn threads(&self) -> usize {
        self.block.iter().map(|it| *it as usize).product()
    }
}

impl Kernel {
    /// Reads the kernel `name` of a module.
    ///
    /// # Errors
    /// There is none of this name, or it has an instruction that is not supported.
    pub fn parse(module: &str, name: &str) -> Result<Self, ParseError> {
        let source = source::read(module, name)?;
        let program = decode::decode(&source)?;
        Ok(Self { source, program })
    }

    /// Bytes of each argument.
    pub fn arguments(&self) -> impl Iterator<Item = usize> {
        self.source.params.iter().map(|(_, bytes)| *bytes)
    }

    /// A fault at statement `at`.
    pub(crate) fn fault(&self, kind: FaultKind, at: usize, block: [u32; 3], warp: usize, lane: Option<usize>) -> Fault {
        let statement = &self.source.statements[at];
        Fault {
            kind,
            kernel: self.source.name.clone(),
            line: statement.line,
            instruction: statement.text.clone(),
            block,
            warp,
            lane,
        }
    }
}
