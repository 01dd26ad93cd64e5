//! The integer interpreter: what a chip runs (docs/reference/numerics.md section 4).
//!
//! int8 weights with a scale for each output, int8 activations with a scale for each site, i32 sums, a residual stream of i16, and one
//! rounding rule, [`multiply_high`](crate::kernels::multiply_high). There is no float here, so every machine computes the same bytes.
//!
//! Activations lie in one workspace of bytes. The stream is at its high end, with temporaries above it; long skips, and the picture
//! between two steps, are at the low end. [`workspace_len`] is the high-water mark.

mod activation;
mod attention;
mod draw;
mod engine;
mod error;
mod exp_table;
mod head;
#[cfg(host_kernels)]
mod host;
mod input;
mod interpreter;
mod loops;
pub mod norm;
mod operations;
mod pace;
pub mod plan;
#[cfg(host_kernels)]
mod prepared;
mod self_test;
mod workspace;

pub use activation::{ActValues, IntegerAct, IntegerSkip};
pub use draw::{DrawRequest, Drawing, Usage};
pub use error::{DrawError, SelfTestError};
pub use exp_table::EXP;
pub use input::NoiseSeed;
pub use interpreter::{BandOutput, Integer};
pub use pace::SLICE_WORK;
#[cfg(host_kernels)]
pub use prepared::Prepared;
pub use self_test::PictureHash;
pub use workspace::workspace_len;
