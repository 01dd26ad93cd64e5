//! Opening a GPU: everything that can be wrong with the machine is found here, as an error with a sentence and a hint.
//!
//! CubeCL opens a device in a thread of its own and panics there when a library, a header or the device is missing; the caller sees a
//! broken channel. So a program calls [`cuda::open`] or [`vulkan::open`] before it touches CubeCL or burn. Both look at each thing that
//! CubeCL is going to need, in the order in which it needs them, and return the device to hand to CubeCL with a [`DeviceReport`] of it.
//! What a run needs beyond a device that works is asked of the report: [`DeviceReport::require_bf16`], [`DeviceReport::require_memory`].

#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
mod report;
mod version;
#[cfg(feature = "vulkan")]
pub mod vulkan;

pub use error::DeviceError;
pub use report::{DeviceMemory, DeviceReport};
pub use version::Version;
