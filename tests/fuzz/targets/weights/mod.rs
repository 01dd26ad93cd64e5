//! The readers of PyTorch files, without the rest of the trainer: burn would be compiled for the fuzzer, and is not what is fuzzed.

#[path = "../../../../pixgen-train/src/weights/container.rs"]
mod container;
#[path = "../../../../pixgen-train/src/weights/error.rs"]
pub mod error;
#[path = "../../../../pixgen-train/src/weights/pickle.rs"]
mod pickle;
#[path = "../../../../pixgen-train/src/weights/pytorch.rs"]
pub mod pytorch;
#[path = "../../../../pixgen-train/src/weights/scalar.rs"]
mod scalar;
