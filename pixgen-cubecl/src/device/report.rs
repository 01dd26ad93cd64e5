//! What is known of a device that was opened, and what a run may ask of it.

use super::error::DeviceError;
use super::version::{Version, gib};
use std::fmt;

/// The oldest compute capability with bf16 in its matrix units (Ampere).
const BF16_CAPABILITY: Version = Version { major: 8, minor: 0 };

/// A device that can be used. Its `Display` is one line for a log: name, capability, driver, memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceReport {
    /// Name as the driver gives it.
    pub name: String,
    /// The driver: the CUDA version that it speaks, or a Vulkan driver's name and version.
    pub driver: String,
    /// Compute capability; none on Vulkan.
    pub compute_capability: Option<Version>,
    /// Bytes of device memory, and how many of them no program holds; none on Vulkan, which does not tell.
    pub memory: Option<DeviceMemory>,
}

/// Memory of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that no program held when the device was opened.
    pub free: u64,
}

impl DeviceReport {
    /// Whether matrix products may run in bf16.
    ///
    /// # Errors
    /// [`DeviceError::NoBf16`] below compute capability 8.0, and on Vulkan, where Pixgen has no bf16 kernels.
    pub fn require_bf16(&self) -> Result<(), DeviceError> {
        match self.compute_capability {
            Some(capability) if capability >= BF16_CAPABILITY => Ok(()),
            capability => Err(DeviceError::NoBf16 { name: self.name.clone(), capability }),
        }
    }

    /// Whether `needed` bytes fit. A device that does not tell its memory passes.
    ///
    /// # Errors
    /// [`DeviceError::TooLittleMemory`] when more than the free memory is needed.
    pub fn require_memory(&self, needed: u64) -> Result<(), DeviceError> {
        match self.memory {
            Some(DeviceMemory { total, free }) if needed > free => {
                Err(DeviceError::TooLittleMemory { name: self.name.clone(), needed, free, total })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for DeviceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(capability) = self.compute_capability {
            write!(f, ", compute capability {capability}")?;
        }
        write!(f, ", driver {}", self.driver)?;
        if let Some(DeviceMemory { total, free }) = self.memory {
            write!(f, ", {:.1} of {:.1} GiB free", gib(free), gib(total))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(major: u32, minor: u32) -> DeviceReport {
        DeviceReport {
            name: "Test GPU".into(),
            driver: "12.9".into(),
            compute_capability: Some(Version { major, minor }),
            memory: Some(DeviceMemory { total: 80 << 30, free: 60 << 30 }),
        }
    }

    #[test]
    fn bf16_starts_with_ampere() {
        assert!(report(8, 0).require_bf16().is_ok());
        assert!(report(10, 0).require_bf16().is_ok());
        let error = report(7, 5).require_bf16().unwrap_err();
        assert!(error.to_string().contains("7.5"), "{error}");
        let vulkan = DeviceReport { compute_capability: None, ..report(8, 0) };
        assert!(vulkan.require_bf16().is_err());
    }

    #[test]
    fn memory_is_compared_with_what_is_free() {
        assert!(report(9, 0).require_memory(60 << 30).is_ok());
        let error = report(9, 0).require_memory((60 << 30) + 1).unwrap_err();
        assert!(error.to_string().contains("60.0"), "{error}");
        let silent = DeviceReport { memory: None, ..report(9, 0) };
        assert!(silent.require_memory(u64::MAX).is_ok());
    }

    #[test]
    fn one_line_tells_the_device() {
        assert_eq!(report(9, 0).to_string(), "Test GPU, compute capability 9.0, driver 12.9, 60.0 of 80.0 GiB free");
    }
}
