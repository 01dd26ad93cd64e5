//! Runs a kernel.

use crate::block::{Block, Random};
use crate::buffers::{BufferId, Buffers};
use crate::fault::Fault;
use crate::kernel::{Kernel, Launch};

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// The address of a buffer.
    Buffer(BufferId),
    /// A value, or a structure.
    Bytes(Vec<u8>),
}

/// What a launch took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Instructions of warps.
    pub instructions: u64,
}

impl Kernel {
    /// Runs it.
    ///
    /// # Errors
    /// The first mistake of the kernel.
    ///
    /// # Panics
    /// Arguments that are not those of [`Kernel::arguments`].
    pub fn run(&self, launch: &Launch, arguments: &[Argument], buffers: &mut Buffers) -> Result<Statistics, Fault> {
        let params = self.params(arguments, buffers);
        let mut random = Random(launch.seed);
        let mut instructions = 0;
        let [x, y, z] = launch.grid;
        for position in (0..z).flat_map(|z| (0..y).flat_map(move |y| (0..x).map(move |x| [x, y, z]))) {
            let mut block = Block::new(self, launch, &params, buffers, position);
            block.run(&mut random)?;
            instructions += block.instructions;
        }
        Ok(Statistics { instructions })
    }

    fn params(&self, arguments: &[Argument], buffers: &Buffers) -> Vec<u8> {
        assert_eq!(arguments.len(), self.program.params.len(), "arguments of {}", self.source.name);
        let end = self.program.params.last().map_or(0, |(at, bytes)| at + bytes);
        let mut params = vec![0; end];
        for ((at, bytes), argument) in self.program.params.iter().zip(arguments) {
            let value = match argument {
                Argument::Buffer(id) => buffers.address(*id).to_le_bytes().to_vec(),
                Argument::Bytes(value) => value.clone(),
            };
            assert_eq!(value.len(), *bytes, "bytes of an argument of {}", self.source.name);
            params[*at..at + bytes].copy_from_slice(&value);
        }
        params
    }
}
