//! Why cuBLASLt does not compute a product.

use crate::device::DeviceError;
use cudarc::driver::result::DriverError;
use std::path::PathBuf;
use thiserror::Error;

/// Why products do not go through cuBLASLt.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BlasError {
    /// The driver is missing or too old, or it does not have the device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// No folder that is known holds the library.
    #[error("the library libcublasLt was not found")]
    NotFound,
    /// The library is there and cannot be loaded, or lacks a function.
    #[error("{} cannot be used: {message}", .path.display())]
    Unusable {
        /// Its file, or its name where the system's loader was asked.
        path: PathBuf,
        /// What the loader says.
        message: String,
    },
    /// A function of the library failed.
    #[error("{call} failed with status {status} ({})", status_name(*.status))]
    Status {
        /// The function.
        call: &'static str,
        /// Its `cublasStatus_t`.
        status: i32,
    },
    /// A function of the driver failed.
    #[error("the driver failed in {call}: {code}")]
    Driver {
        /// The function.
        call: &'static str,
        /// Name of its error.
        code: String,
    },
    /// No stream was found in which a product waits for what CubeCL computed before it.
    #[error("CubeCL's stream was not found, and the driver lacks the events of a context (CUDA 12.5)")]
    NoStream,
    /// The product of the trial at the start is not the right one.
    #[error("a trial product is wrong: {found} instead of {wanted}")]
    WrongProduct {
        /// What came back, as integers.
        found: i64,
        /// The product.
        wanted: i64,
    },
    /// CubeCL did not give the memory of an operand, or its device thread ended.
    #[error("CubeCL does not give the memory of an operand: {message}")]
    Memory {
        /// What CubeCL says.
        message: String,
    },
}

impl BlasError {
    /// Whether the library does not compute products of a kind: it submitted nothing and never will.
    pub(super) fn is_refusal(&self) -> bool {
        // INVALID_VALUE, ARCH_MISMATCH, NOT_SUPPORTED
        matches!(self, Self::Status { status: 7 | 8 | 15, .. })
    }
}

/// Turns an error of the driver's function `call` into ours.
pub(super) fn driver(call: &'static str) -> impl Fn(DriverError) -> BlasError {
    move |error| BlasError::Driver { call, code: format!("{:?}", error.0) }
}

/// Turns CubeCL's answer about memory into ours.
pub(super) fn memory(error: impl std::fmt::Debug) -> BlasError {
    BlasError::Memory { message: format!("{error:?}") }
}

/// The name of a `cublasStatus_t`, without its prefix.
fn status_name(status: i32) -> &'static str {
    match status {
        1 => "NOT_INITIALIZED",
        3 => "ALLOC_FAILED",
        7 => "INVALID_VALUE",
        8 => "ARCH_MISMATCH",
        11 => "MAPPING_ERROR",
        13 => "EXECUTION_FAILED",
        14 => "INTERNAL_ERROR",
        15 => "NOT_SUPPORTED",
        16 => "LICENSE_ERROR",
        _ => "unknown",
    }
}
