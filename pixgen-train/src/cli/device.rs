//! `--device` of the verbs that compute without training.

use crate::device::{DeviceChoice, DeviceProblem};
use clap::Args;

/// Where a verb computes. Training has `compute.device` among its settings instead.
#[derive(Debug, Args)]
pub struct DeviceArgs {
    /// Where to compute: `cpu`, `cuda`, `vulkan`, or one of several devices, for example `cuda:1`
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
}

impl DeviceArgs {
    /// The device by that name; nothing is opened yet.
    ///
    /// # Errors
    /// [`DeviceProblem::Name`].
    pub fn choice(&self) -> Result<DeviceChoice, DeviceProblem> {
        self.device.parse()
    }
}
