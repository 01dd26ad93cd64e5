//! Memory whose size a file or an option decides: where the system does not give it, that is an error like any other.

use crate::units::format_bytes;
use bytemuck::Zeroable;
use bytemuck::allocation::try_zeroed_vec;

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryUse {
    /// A model file.
    File,
    /// Weights packed for a kernel.
    Panels,
    /// What a thread draws with.
    Drawing,
    /// What a thread computes the float network with.
    Network,
    /// Pictures that are drawn.
    Pictures,
}

/// The system does not give that much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for {}: {} more are needed", self.what(), format_bytes(*.bytes))]
pub struct MemoryError {
    /// What it is for.
    pub purpose: MemoryUse,
    /// How much was asked for.
    pub bytes: u64,
}

impl MemoryError {
    fn what(&self) -> &'static str {
        match self.purpose {
            MemoryUse::File => "the model file",
            MemoryUse::Panels => "packed weights",
            MemoryUse::Drawing | MemoryUse::Network => "drawing on each thread",
            MemoryUse::Pictures => "the pictures",
        }
    }

    /// What to try next.
    pub fn hint(&self) -> String {
        let first = match self.purpose {
            MemoryUse::File => "",
            MemoryUse::Panels => "draw without them, with PIXGEN_KERNEL=portable (of bench `--kernel portable`), or ",
            MemoryUse::Drawing => "try `--threads 1`, and PIXGEN_KERNEL=portable (of bench `--kernel portable`), which needs less; or ",
            MemoryUse::Network => "try `--threads 1`, or ",
            MemoryUse::Pictures => "draw fewer at a time, or ",
        };
        format!("{first}end other programs, or raise the limit that `ulimit -v` shows")
    }
}

/// `count` zeros.
///
/// # Errors
/// The system does not give that much.
pub fn zeroed<T: Zeroable>(purpose: MemoryUse, count: usize) -> Result<Vec<T>, MemoryError> {
    let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
    try_zeroed_vec(count).map_err(|()| MemoryError { purpose, bytes })
}

/// Room for `count` more values in `values`.
///
/// # Errors
/// As [`zeroed`].
pub fn reserve<T>(purpose: MemoryUse, values: &mut Vec<T>, count: usize) -> Result<(), MemoryError> {
    let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
    values.try_reserve_exact(count).map_err(|_| MemoryError { purpose, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_is_an_error() {
        let zeros = zeroed::<u32>(MemoryUse::Panels, 3).expect("a little");
        assert_eq!(zeros, [0; 3]);
        for count in [1 << 60, usize::MAX] {
            let error = zeroed::<u32>(MemoryUse::Panels, count).expect_err("too much");
            assert!(
                error.to_string().starts_with("no memory for packed weights: ") && error.hint().contains("portable"),
                "{error}"
            );
            reserve(MemoryUse::Pictures, &mut vec![0u64], count).expect_err("too much");
        }
    }
}
