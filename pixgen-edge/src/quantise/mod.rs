//! From float weights to a `.pxg` file (docs/reference/quantisation.md).
//!
//! [`calibration`] runs the float network on noise of every class and records what each site puts out, through [`observe`]; [`range`]
//! chooses how much of that an integer covers; [`build`] folds, scales and rounds the weights into the body of the file; [`mod@export`] wraps
//! it up and adds self-test vectors. [`report`](mod@report) compares the two networks site by site.

pub mod build;
pub mod calibration;
pub mod code;
pub mod draw;
pub mod export;
pub mod observe;
pub mod range;
pub mod report;

mod error;

pub use calibration::Calibration;
pub use error::QuantiseError;
pub use export::{Exported, Options, export, model_name};
pub use range::Method;
