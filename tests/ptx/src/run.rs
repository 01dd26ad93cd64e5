//! Runs a kernel.

use crate::block::{Block, Random};
use crate::buffers::Memory;
use crate::fault::Fault;
use crate::kernel::{Kernel, Launch};

/// What a launch took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Instructions of warps.
    pub instructions: u64,
}

impl Kernel {
    /// Runs it on the bytes of its arguments, of which buffers are addresses in `memory`.
    ///
    /// # Errors
    /// The first mistake of the kernel.
    ///
    /// # Panics
    /// Arguments that are not those of [`Kernel::arguments`].
    pub fn run(&self, launch: &Launch, arguments: &[Vec<u8>], memory: &mut dyn Memory) -> Result<Statistics, Fault> {
        let params = self.params(arguments);
        let mut random = Random(launch.seed);
        let mut instructions = 0;
        let [x, y, z] = launch.grid;
        for position in (0..z).flat_map(|z| (0..y).flat_map(move |y| (0..x).map(move |x| [x, y, z]))) {
            let mut block = Block::new(self, launch, &params, memory, position);
            block.run(&mut random)?;
            instructions += block.instructions;
        }
        Ok(Statistics { instructions })
    }

    fn params(&self, arguments: &[Vec<u8>]) -> Vec<u8> {
        assert_eq!(arguments.len(), self.program.params.len(), "arguments of {}", self.source.name);
        let end = self.program.params.last().map_or(0, |(at, bytes)| at + bytes);
        let mut params = vec![0; end];
        for ((at, bytes), value) in self.program.params.iter().zip(arguments) {
            assert_eq!(value.len(), *bytes, "bytes of an argument of {}", self.source.name);
            params[*at..at + bytes].copy_from_slice(value);
        }
        params
    }
}
