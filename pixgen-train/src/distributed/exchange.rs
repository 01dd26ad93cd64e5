//! What GPUs do together.

use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;

/// Something that GPUs do together, with contiguous tensors that are equally long at every rank.
#[derive(Debug)]
pub enum Exchange<'a, R: CubeRuntime> {
    /// Adds up the `f32` of all ranks, in place; the same bits everywhere.
    Sum(&'a CubeTensor<R>),
    /// Cuts `f32` into parts of `length`, the last ones of which may be shorter, and adds up those of all ranks: each rank has its part
    /// afterwards, in place, and nothing of use elsewhere.
    SumParts {
        /// All parts.
        buffer: &'a CubeTensor<R>,
        /// Elements of a part.
        length: usize,
    },
    /// Takes each such part from the rank that has it.
    JoinParts {
        /// All parts.
        buffer: &'a CubeTensor<R>,
        /// Elements of a part.
        length: usize,
    },
    /// Gives everyone the tensor of rank 0, in place.
    Broadcast(&'a CubeTensor<R>),
    /// Puts the tensors `mine` of all ranks into `all`, in their order.
    Gather {
        /// Of this rank.
        mine: &'a CubeTensor<R>,
        /// As long as those of all ranks together.
        all: &'a CubeTensor<R>,
    },
}

impl<R: CubeRuntime> Exchange<'_, R> {
    /// What goes around the ranks, and how often.
    pub const fn around(&self) -> (u64, &CubeTensor<R>) {
        match self {
            Self::Sum(all) => (2, all),
            Self::SumParts { buffer: all, .. } | Self::JoinParts { buffer: all, .. } | Self::Broadcast(all) | Self::Gather { all, .. } => {
                (1, all)
            }
        }
    }
}
