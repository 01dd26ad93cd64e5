//! Shared helpers of the cross-crate tests.
//!
//! [`vectors`] reads golden vectors and compares numbers, [`program`] runs `pixgen-train`, [`fixtures`] makes the small data sets and
//! runs that the program is tried on. [`ranks`] runs it on several processes. [`stages`] holds both stages with everything switched on. [`firmware`] builds firmware and runs it in QEMU. [`cuda`] compiles GPU kernels without a GPU.

pub mod cuda;
pub mod firmware;
pub mod fixtures;
pub mod program;
pub mod ranks;
pub mod stages;
pub mod vectors;

pub use vectors::{Golden, alone, assert_close};

use pixgen_train::device::{DeviceChoice, gpu_features};

/// The devices of this build that a machine without a GPU has: the processor, and for Vulkan Mesa's lavapipe.
pub fn devices() -> Vec<DeviceChoice> {
    let vulkan = gpu_features().any(|feature| feature == "vulkan").then_some(DeviceChoice::Vulkan(0));
    [Some(DeviceChoice::Cpu), vulkan].into_iter().flatten().collect()
}
