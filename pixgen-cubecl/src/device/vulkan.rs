//! Opening a Vulkan device.
//!
//! wgpu panics inside CubeCL when no device answers, so the devices are listed here first.

use super::{DeviceError, DeviceReport};
use cubecl::future::block_on;
use cubecl::wgpu::WgpuDevice;
use wgpu::{AdapterInfo, Backends, DeviceType, Instance, InstanceDescriptor};

/// Looks for the Vulkan device `index`, counted over all devices in the order in which the Vulkan loader lists them.
///
/// # Errors
/// [`DeviceError::NoDevice`] when no Vulkan driver is installed or none finds a device, [`DeviceError::NoSuchDevice`] for a wrong index.
pub fn open(index: usize) -> Result<(WgpuDevice, DeviceReport), DeviceError> {
    let adapters = adapters();
    let Some(info) = adapters.get(index) else {
        return Err(match adapters.len() {
            0 => DeviceError::NoDevice { api: "Vulkan" },
            count => DeviceError::NoSuchDevice { api: "Vulkan", index, count },
        });
    };
    let report = DeviceReport {
        name: info.name.clone(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        compute_capability: None,
        memory: None,
    };
    let types: Vec<DeviceType> = adapters.iter().map(|it| it.device_type).collect();
    Ok((device(&types, index), report))
}

/// The devices behind all Vulkan drivers; empty without a loader or a driver.
fn adapters() -> Vec<AdapterInfo> {
    let descriptor = InstanceDescriptor { backends: Backends::VULKAN, ..InstanceDescriptor::new_without_display_handle() };
    let instance = Instance::new(descriptor);
    block_on(instance.enumerate_adapters(Backends::VULKAN))
        .iter()
        .map(wgpu::Adapter::get_info)
        .collect()
}

/// CubeCL's name of device `index`: it counts the devices of each type for themselves.
fn device(types: &[DeviceType], index: usize) -> WgpuDevice {
    let among_its_type = types[..index].iter().filter(|it| **it == types[index]).count();
    match types[index] {
        DeviceType::DiscreteGpu => WgpuDevice::DiscreteGpu(among_its_type),
        DeviceType::IntegratedGpu => WgpuDevice::IntegratedGpu(among_its_type),
        DeviceType::VirtualGpu => WgpuDevice::VirtualGpu(among_its_type),
        DeviceType::Cpu => WgpuDevice::Cpu,
        DeviceType::Other => WgpuDevice::DefaultDevice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DeviceType::{Cpu, DiscreteGpu, IntegratedGpu};

    #[test]
    fn devices_are_counted_over_all_types() {
        let types = [IntegratedGpu, DiscreteGpu, DiscreteGpu, Cpu];
        assert_eq!(device(&types, 0), WgpuDevice::IntegratedGpu(0));
        assert_eq!(device(&types, 2), WgpuDevice::DiscreteGpu(1));
        assert_eq!(device(&types, 3), WgpuDevice::Cpu);
    }

    /// Whatever this machine lacks, opening says so and does not panic.
    #[test]
    fn an_index_after_the_last_device_is_refused() {
        let count = adapters().len();
        match open(count).unwrap_err() {
            DeviceError::NoDevice { api: "Vulkan" } => assert_eq!(count, 0),
            other => assert_eq!(other, DeviceError::NoSuchDevice { api: "Vulkan", index: count, count }),
        }
    }
}
