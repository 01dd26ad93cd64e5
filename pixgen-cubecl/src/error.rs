//! Why a kernel was not launched: a mistake of the caller, a limit of the device, or a failure before it.

use thiserror::Error;

/// Result of a launch.
pub type Result<T> = core::result::Result<T, KernelError>;

/// A kernel that was not launched. Unless a product failed, nothing was computed, and the caller may use another implementation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The operands do not fit together: a mistake of the caller, the same on every device.
    #[error("{op}: {what}")]
    Setup {
        /// The operation.
        op: &'static str,
        /// Which operand, and what is wrong with it.
        what: String,
    },
    /// The operands are fine, this device or this build lacks something.
    #[error("{op}: this device cannot: {what}")]
    Unavailable {
        /// The operation.
        op: &'static str,
        /// What is missing.
        what: String,
    },
    /// A product failed on the device, this one or an earlier one, and with it everything that was computed from its result.
    #[cfg(feature = "cuda")]
    #[error("a matrix product failed on the device: {0}")]
    Submitted(crate::cuda::error::BlasError),
}

impl KernelError {
    /// A mistake of the caller.
    pub fn setup(op: &'static str, what: impl Into<String>) -> Self {
        Self::Setup { op, what: what.into() }
    }

    /// A limit of the device.
    pub fn unavailable(op: &'static str, what: impl Into<String>) -> Self {
        Self::Unavailable { op, what: what.into() }
    }

    /// Whether another implementation may still run it.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
