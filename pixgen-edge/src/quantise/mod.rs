//! From float weights to a `.pxg` file (docs/reference/quantisation.md).
//!
//! [`calibration`] runs the float network on noise of every class and records what each site puts out, through [`observe`]; [`range`]
//! chooses how much of that an integer covers, and [`scale`] says what it means. [`build`] folds, scales and rounds the weights into the
//! body of the file, layer by layer; which layer reads what, an interpreter of the network tells it, with its [`condition`] folded into
//! tables. [`mod@export`] wraps the body up and adds self-test vectors.
//!
//! [`draw`] runs both networks, [`report`](mod@report) compares them site by site.

pub mod build;
pub mod calibration;
pub mod condition;
pub mod draw;
pub mod export;
pub mod observe;
pub mod options;
pub mod range;
pub mod report;
pub mod scale;

mod error;
mod interpreter;

pub use calibration::Calibration;
pub use error::QuantiseError;
pub use export::{Exported, class_lines, export, model_name};
pub use options::{OptionError, QuantiseOptions};
pub use range::RangeMethod;
