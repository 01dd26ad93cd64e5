//! The network on burn: parameters as a flat list, weights as tensors, the burn interpreter of the op set, the projector.

pub mod batch;
pub mod interpreter;
pub mod param_set;
pub mod projector;
pub mod weights;

pub use batch::Condition;
pub use interpreter::{DropoutMasks, Network, features, forward};
pub use param_set::{Entry, ParamSet};
pub use projector::{BatchStatistics, NormMode, Projector, ProjectorConfig, RunningStatistics};
pub use weights::Weights;
