//! Why a GPU cannot be used: one sentence and one hint for each reason.

use super::version::{Version, gib};

/// Why a device cannot be opened, or cannot do what a run needs.
///
/// [`DeviceError::NoSuchDevice`] is a wrong request; everything else is about the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The library through which the driver is reached is not installed.
    #[error("this machine has no NVIDIA driver: the library libcuda was not found")]
    NoCudaDriver,
    /// The driver cannot load the code that the compiler makes, or lacks functions that CubeCL calls.
    #[error("the NVIDIA driver speaks CUDA {driver}, and {needed} or newer is needed{why}")]
    OldDriver {
        /// Newest CUDA of the driver.
        driver: Version,
        /// Oldest that would do.
        needed: Version,
        /// What asks for it, as the end of the sentence.
        why: String,
    },
    /// The driver is there and sees no device.
    #[error("the {api} driver finds no device")]
    NoDevice {
        /// `CUDA` or `Vulkan`.
        api: &'static str,
    },
    /// The index is not that of a device.
    #[error("there is no {api} device {index}: this machine has {count}, {}", numbered(*.count))]
    NoSuchDevice {
        /// `CUDA` or `Vulkan`.
        api: &'static str,
        /// What was asked for.
        index: usize,
        /// Devices there are, at least one.
        count: usize,
    },
    /// A function of the driver failed.
    #[error("the NVIDIA driver failed in {call}: {code}")]
    Driver {
        /// Function of the driver.
        call: &'static str,
        /// Name of its error.
        code: String,
    },
    /// The run-time compiler is not installed.
    #[error("CUDA's run-time compiler is missing: the library libnvrtc was not found")]
    NoNvrtc,
    /// The run-time compiler is from before CUDA 12.
    #[error("CUDA's run-time compiler is version {found}, and {needed} or newer is needed")]
    OldNvrtc {
        /// Version of the library that was found.
        found: Version,
        /// Oldest that would do.
        needed: Version,
    },
    /// The headers that every kernel includes are not where CubeCL looks.
    #[error("the CUDA headers are missing: {looked}")]
    NoHeaders {
        /// Where they were looked for.
        looked: String,
    },
    /// Library and headers are there and a kernel that does nothing cannot be compiled for the device.
    #[error("CUDA's run-time compiler fails on an empty kernel: {message}")]
    BrokenToolkit {
        /// First line that the compiler wrote.
        message: String,
    },
    /// The device cannot multiply in bf16.
    #[error("{name}{} cannot train in bf16", .capability.map(|it| format!(" (compute capability {it})")).unwrap_or_default())]
    NoBf16 {
        /// Name of the device.
        name: String,
        /// Its compute capability; none on Vulkan.
        capability: Option<Version>,
    },
    /// The run does not fit.
    #[error("this run needs {:.1} GiB on the device, and {name} has {:.1} GiB free of {:.1}", gib(*.needed), gib(*.free), gib(*.total))]
    TooLittleMemory {
        /// Name of the device.
        name: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// Bytes in all.
        total: u64,
    },
}

impl DeviceError {
    /// What to try next.
    pub fn hint(&self) -> String {
        match self {
            Self::NoCudaDriver => "install NVIDIA's driver, or use --device cpu".into(),
            Self::OldDriver { .. } => {
                "update NVIDIA's driver, or install an older CUDA toolkit of version 12; `nvidia-smi` prints the driver's".into()
            }
            Self::NoDevice { api: "CUDA" } => "`nvidia-smi` must list a device; in a container, start it with access to the GPUs".into(),
            Self::NoDevice { .. } => {
                "install a Vulkan driver, for the CPU for instance `apt-get install mesa-vulkan-drivers libvulkan1`, or use --device cpu"
                    .into()
            }
            Self::NoSuchDevice { .. } => "devices are counted from 0".into(),
            Self::Driver { .. } => "`nvidia-smi` tells whether the driver works; after an update of the driver, restart the machine".into(),
            Self::NoNvrtc | Self::OldNvrtc { .. } => {
                "install the CUDA toolkit 12 and put the folder of libnvrtc.so.12 into LD_LIBRARY_PATH".into()
            }
            Self::NoHeaders { .. } => {
                "install the CUDA toolkit 12 and set CUDA_PATH to its folder, the one with include/cuda_runtime.h".into()
            }
            Self::BrokenToolkit { .. } => {
                "CUDA_PATH and LD_LIBRARY_PATH must lead to the same CUDA toolkit, and it must be new enough for the device".into()
            }
            Self::NoBf16 { .. } => "use --precision f32, or a CUDA device of compute capability 8.0 or newer".into(),
            Self::TooLittleMemory { .. } => {
                "use a smaller batch, --recompute or --precision bf16, or free the memory that others hold".into()
            }
        }
    }
}

/// How the devices are numbered: `number 0`, `numbers 0 to 3`.
fn numbered(count: usize) -> String {
    match count {
        1 => "number 0".into(),
        count => format!("numbers 0 to {}", count.saturating_sub(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each, so that a new variant is looked at here.
    fn all() -> Vec<DeviceError> {
        let version = |major, minor| Version { major, minor };
        vec![
            DeviceError::NoCudaDriver,
            DeviceError::OldDriver { driver: version(11, 8), needed: version(12, 0), why: String::new() },
            DeviceError::NoDevice { api: "CUDA" },
            DeviceError::NoDevice { api: "Vulkan" },
            DeviceError::NoSuchDevice { api: "CUDA", index: 4, count: 2 },
            DeviceError::Driver { call: "cuInit", code: "CUDA_ERROR_UNKNOWN".into() },
            DeviceError::NoNvrtc,
            DeviceError::OldNvrtc { found: version(11, 8), needed: version(12, 0) },
            DeviceError::NoHeaders { looked: "there is no /usr/local/cuda".into() },
            DeviceError::BrokenToolkit { message: "nvrtc: error: failed to open libnvrtc-builtins".into() },
            DeviceError::NoBf16 { name: "T4".into(), capability: Some(version(7, 5)) },
            DeviceError::TooLittleMemory { name: "T4".into(), needed: 20 << 30, free: 15 << 30, total: 16 << 30 },
        ]
    }

    #[test]
    fn every_error_is_one_sentence_with_a_hint() {
        for error in all() {
            let sentence = error.to_string();
            assert!(!sentence.contains('\n') && !sentence.ends_with('.') && sentence.len() > 20, "{sentence}");
            assert!(error.hint().len() > 10, "{sentence}");
        }
    }

    #[test]
    fn a_wrong_index_says_how_many_there_are() {
        let two = DeviceError::NoSuchDevice { api: "CUDA", index: 4, count: 2 };
        assert_eq!(two.to_string(), "there is no CUDA device 4: this machine has 2, numbers 0 to 1");
        let one = DeviceError::NoSuchDevice { api: "Vulkan", index: 1, count: 1 };
        assert_eq!(one.to_string(), "there is no Vulkan device 1: this machine has 1, number 0");
    }

    #[test]
    fn memory_is_told_in_gib() {
        let error = DeviceError::TooLittleMemory { name: "T4".into(), needed: 20 << 30, free: 15 << 30, total: 16 << 30 };
        assert_eq!(error.to_string(), "this run needs 20.0 GiB on the device, and T4 has 15.0 GiB free of 16.0");
    }
}
