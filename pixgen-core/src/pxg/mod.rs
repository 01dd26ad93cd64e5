//! The `.pxg` model file, read in place from flash (docs/reference/format-pxg.md). [`integer`](crate::integer) draws with it.
//!
//! ```text
//! prefix 24 bytes | header, postcard | zeros to 16 | body: parts in the places of `layout` | self-test vectors
//! ```
//!
//! Nothing is copied: the slice is borrowed for as long as the model lives. All numbers are little-endian.

mod error;
mod header;
pub mod layout;
mod model;
mod parts;
mod prefix;

pub use error::{MissingPart, PxgError};
pub use header::{Header, MAGIC, MAX_STEPS, PREFIX_LEN, VERSION, encode};
#[cfg(test)]
pub(crate) use model::check_size;
pub use model::{ClassNames, Model, check_widths};
pub use parts::{Linear, Modulation, Norm, StepRecord};
pub use prefix::file_len;

#[cfg(target_endian = "big")]
compile_error!("weights are read in place and are little-endian");
