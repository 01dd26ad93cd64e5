//! The network on burn: weights as tensors, the burn interpreter of the op set, the projector, and passes that gradients are wanted of.

pub mod batch;
pub mod interpreter;
pub mod pass;
pub mod projector;
pub mod recompute;
pub mod weights;

pub use batch::Condition;
pub use interpreter::{BurnNetwork, features, forward};
pub use pass::{GradientOf, Pass};
pub use projector::{NormMode, NormStatistics, Projector};
pub use weights::BurnWeights;
