//! Where training runs: the names of `--device`, and whether this program and this machine can do it.
//!
//! [`DeviceChoice::check`] answers before burn or CubeCL is touched, because those panic in threads of their own when something is
//! missing.

use std::fmt;
use std::str::FromStr;

/// What `--device` names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// NVIDIA GPU with this number.
    Cuda(usize),
    /// Vulkan device with this number, counted over all Vulkan devices.
    Vulkan(usize),
}

/// What a run asks of its device.
#[derive(Debug, Clone, Copy, Default)]
pub struct Requirements {
    /// Bytes of device memory, where they are known.
    pub memory: Option<u64>,
    /// Whether matrix products run in bf16.
    pub bf16: bool,
}

/// Why training cannot run on a device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceProblem {
    /// `--device` is not the name of a device.
    #[error("`{name}` is not a device")]
    Name {
        /// What was typed.
        name: String,
    },
    /// This program was built without the device.
    #[error("this pixgen-train was built without {api}")]
    NotBuilt {
        /// `CUDA` or `Vulkan`.
        api: &'static str,
        /// Feature of the package that builds it.
        feature: &'static str,
    },
    /// This machine lacks something.
    #[cfg(any(feature = "cuda", feature = "vulkan"))]
    #[error(transparent)]
    Device(#[from] pixgen_cubecl::device::DeviceError),
}

impl DeviceProblem {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name { .. } => Some("devices are `cpu`, `cuda`, `cuda:1`, `vulkan`, `vulkan:1`".into()),
            Self::NotBuilt { feature, .. } => Some(format!("build it with `cargo build --release --features {feature}`")),
            #[cfg(any(feature = "cuda", feature = "vulkan"))]
            Self::Device(error) => Some(error.hint()),
        }
    }
}

impl DeviceChoice {
    /// Opens the device, asks of it what the run needs, and returns one line that describes it.
    ///
    /// The processor passes always: its memory is the operating system's concern, and bf16 on it is only slow.
    ///
    /// # Errors
    /// The first thing that is missing, see [`DeviceProblem`].
    #[cfg_attr(not(any(feature = "cuda", feature = "vulkan")), expect(unused_variables, reason = "no GPU to ask"))]
    pub fn check(self, requirements: Requirements) -> Result<String, DeviceProblem> {
        #[cfg(any(feature = "cuda", feature = "vulkan"))]
        let ask = |report: pixgen_cubecl::device::DeviceReport| {
            if requirements.bf16 {
                report.require_bf16()?;
            }
            requirements.memory.map_or(Ok(()), |needed| report.require_memory(needed))?;
            Ok(report.to_string())
        };
        match self {
            Self::Cpu => Ok("the processor".into()),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => ask(pixgen_cubecl::device::cuda::open(index)?.1),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => Err(DeviceProblem::NotBuilt { api: "CUDA", feature: "cuda" }),
            #[cfg(feature = "vulkan")]
            Self::Vulkan(index) => ask(pixgen_cubecl::device::vulkan::open(index)?.1),
            #[cfg(not(feature = "vulkan"))]
            Self::Vulkan(_) => Err(DeviceProblem::NotBuilt { api: "Vulkan", feature: "vulkan" }),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = DeviceProblem;

    fn from_str(name: &str) -> Result<Self, DeviceProblem> {
        let wrong = || DeviceProblem::Name { name: name.to_owned() };
        let (api, index) = match name.split_once(':') {
            // `parse` would take a sign too.
            Some((api, digits)) if digits.bytes().all(|it| it.is_ascii_digit()) => (api, Some(digits.parse().map_err(|_| wrong())?)),
            Some(_) => return Err(wrong()),
            None => (name, None),
        };
        match (api, index) {
            ("cpu", None) => Ok(Self::Cpu),
            ("cuda", index) => Ok(Self::Cuda(index.unwrap_or(0))),
            ("vulkan", index) => Ok(Self::Vulkan(index.unwrap_or(0))),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Vulkan(index) => write!(f, "vulkan:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (name, choice) in [
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(0)),
            ("cuda:3", DeviceChoice::Cuda(3)),
            ("vulkan", DeviceChoice::Vulkan(0)),
            ("vulkan:1", DeviceChoice::Vulkan(1)),
        ] {
            let read: DeviceChoice = name.parse().unwrap();
            assert_eq!(read, choice);
            assert_eq!(read.to_string().parse::<DeviceChoice>().unwrap(), choice);
        }
    }

    #[test]
    fn other_names_are_refused_with_a_list() {
        for name in [
            "",
            "gpu",
            "CUDA",
            "cpu:0",
            "cuda:",
            "cuda:+1",
            "cuda:-1",
            "cuda:1:2",
            "cuda:99999999999999999999",
        ] {
            let error = name.parse::<DeviceChoice>().unwrap_err();
            assert_eq!(error.to_string(), format!("`{name}` is not a device"));
            assert!(error.hint().unwrap().contains("cuda:1"));
        }
    }

    #[test]
    fn the_processor_always_passes() {
        assert!(DeviceChoice::Cpu.check(Requirements { memory: Some(u64::MAX), bf16: true }).is_ok());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_program_without_cuda_says_how_to_build_it() {
        let error = DeviceChoice::Cuda(0).check(Requirements::default()).unwrap_err();
        assert!(error.to_string().contains("built without CUDA"));
        assert!(error.hint().unwrap().contains("--features cuda"));
    }

    /// Far more devices than a machine can have: a sentence, whatever is or is not installed.
    #[cfg(feature = "cuda")]
    #[test]
    fn a_cuda_device_that_cannot_be_opened_is_an_error_with_a_hint() {
        let error = DeviceChoice::Cuda(4096).check(Requirements::default()).unwrap_err();
        assert!(matches!(error, DeviceProblem::Device(_)), "{error}");
        assert!(error.hint().is_some());
    }
}
