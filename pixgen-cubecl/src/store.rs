//! How numbers lie in device memory: `f32`, or bf16 as its 16 bits.
//!
//! Kernels compute in `f32` and read and write vectors of a [`Store`]. bf16 is widened and rounded with integer operations on its bits
//! instead of the device's own type, which costs nothing where memory is the bound and makes the same kernel run on devices without
//! bf16: what a software Vulkan device proves is what CUDA runs. Only tensor-core tiles use the native type ([`crate::attention`]).

use burn_backend::DType;
use cubecl::prelude::*;

/// Four numbers: how tiles of `f32` move between shared memory and registers.
pub type Four = Const<4>;

#[allow(missing_docs)] // of the items that `cube` generates
/// An element of a buffer. `N` numbers are read or written at a time.
#[cube]
pub trait Store: Numeric {
    /// Bits in memory to `f32`, exactly.
    fn widen<N: Size>(stored: Vector<Self, N>) -> Vector<f32, N>;

    /// `f32` to bits in memory, to nearest with ties to even; a NaN stays a NaN.
    fn narrow<N: Size>(value: Vector<f32, N>) -> Vector<Self, N>;
}

#[cube]
impl Store for f32 {
    fn widen<N: Size>(stored: Vector<f32, N>) -> Vector<f32, N> {
        stored
    }

    fn narrow<N: Size>(value: Vector<f32, N>) -> Vector<f32, N> {
        value
    }
}

/// bf16: the upper half of an `f32`.
#[cube]
impl Store for u16 {
    fn widen<N: Size>(stored: Vector<u16, N>) -> Vector<f32, N> {
        Vector::<f32, N>::reinterpret(Vector::<u32, N>::cast_from(stored) << Vector::<u32, N>::new(16))
    }

    fn narrow<N: Size>(value: Vector<f32, N>) -> Vector<u16, N> {
        let bits = Vector::<u32, N>::reinterpret(value);
        let odd = (bits >> Vector::<u32, N>::new(16)) & Vector::<u32, N>::new(1);
        let rounded = (bits + odd + Vector::<u32, N>::new(0x7fff)) >> Vector::<u32, N>::new(16);
        // Rounding would carry a NaN of many ones over into a zero.
        let magnitude = bits & Vector::<u32, N>::new(0x7fff_ffff);
        let nan = magnitude.greater_than(Vector::<u32, N>::new(0x7f80_0000));
        Vector::<u16, N>::cast_from(select_many(nan, Vector::<u32, N>::new(0x7fc0), rounded))
    }
}

/// The types that kernels store.
pub const STORED: [DType; 2] = [DType::F32, DType::BF16];

/// Calls a generic function with the [`Store`] of a tensor's type: `with_store!(op, dtype, E => expression)`. The expression is a
/// [`Result`](crate::error::Result).
#[macro_export]
#[doc(hidden)]
macro_rules! with_store {
    ($op:expr, $dtype:expr, $store:ident => $body:expr) => {
        match $dtype {
            burn_backend::DType::F32 => {
                type $store = f32;
                $body
            }
            burn_backend::DType::BF16 => {
                type $store = u16;
                $body
            }
            other => Err($crate::error::KernelError::setup($op, format!("elements are {other:?}, not f32 or bf16"))),
        }
    };
}
