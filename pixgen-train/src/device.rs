//! Where work is done: the names of `--device`, and whether this program and this machine have such a device.
//!
//! [`DeviceChoice::run`] looks before burn or CubeCL is touched, because those panic in threads of their own when something is missing.
//! Then it hands work over to the backend of the device ([`OnDevice`]).

use crate::training::Engine;
use burn_flex::{Flex, FlexDevice};
use std::fmt;
use std::str::FromStr;

/// The CPU.
pub type Cpu = Flex;
/// Its device.
pub type CpuDevice = FlexDevice;
/// An NVIDIA GPU.
#[cfg(feature = "cuda")]
pub type Cuda = burn_cubecl::CubeBackend<pixgen_cubecl::CudaRuntime, f32, i32, u32>;
/// A Vulkan device.
#[cfg(feature = "vulkan")]
pub type Vulkan = burn_cubecl::CubeBackend<pixgen_cubecl::VulkanRuntime, f32, i32, u32>;

/// The GPU back ends of this build, by the names of their cargo features.
pub fn gpu_features() -> impl Iterator<Item = &'static str> {
    let built = [("cuda", cfg!(feature = "cuda")), ("vulkan", cfg!(feature = "vulkan"))];
    built.into_iter().filter(|(_, built)| *built).map(|(name, _)| name)
}

/// Work for whichever backend a device has.
pub trait OnDevice {
    /// What comes of it.
    type Output;

    /// Does it.
    fn run<B: Engine>(self, device: &B::Device) -> Self::Output;
}

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

/// What work asks of its device.
#[derive(Debug, Clone, Copy, Default)]
pub struct Requirements {
    /// Bytes of device memory, where they are known.
    pub memory: Option<u64>,
    /// How memory depends on the micro-batch, for work that trains.
    pub training: Option<TrainingMemory>,
    /// Whether matrix products run in bf16.
    pub bf16: bool,
    /// Whether f32 products may round their operands to TF32.
    pub tf32: bool,
}

/// Memory of a training step on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainingMemory {
    /// Images that go through the network at once.
    pub micro_batch: usize,
    /// Bytes that do not depend on them.
    pub fixed: u64,
    /// Bytes of each.
    pub per_image: u64,
}

impl TrainingMemory {
    /// Images, at most as many as now, that go through the network at once in `free` bytes.
    #[cfg(any(feature = "cuda", feature = "vulkan"))]
    const fn fitting(&self, free: u64) -> usize {
        match usable(free).saturating_sub(self.fixed).checked_div(self.per_image) {
            Some(images) if images < self.micro_batch as u64 => images as usize,
            _ => self.micro_batch,
        }
    }
}

/// The part of `free` bytes that a training step may be estimated to take. Estimates do not hold workspaces and the gaps of the allocator: on
/// an H100 a step took 1.3 times its estimate (docs/results/performance.md).
pub const fn usable(free: u64) -> u64 {
    free / 4 * 3
}

impl Requirements {
    /// Those of a network that only draws or reads, with so many parameters: they are in f32.
    pub const fn inference(parameters: usize) -> Self {
        Self { memory: Some(4 * parameters as u64), training: None, bf16: false, tf32: false }
    }
}

/// Why a device cannot do the work.
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
    /// The CPU's kernels compute in f32.
    #[error("the CPU computes in f32 only")]
    Bf16OnCpu,
    /// TF32 is of NVIDIA's tensor cores.
    #[error("only CUDA has TF32")]
    Tf32WithoutCuda,
    /// More memory is needed than is free.
    #[cfg(any(feature = "cuda", feature = "vulkan"))]
    #[error("{error}")]
    TooLittleMemory {
        /// What is missing.
        error: pixgen_cubecl::device::DeviceError,
        /// For work that trains: images that fit at once.
        fitting: Option<usize>,
    },
    /// The device ran out of memory while it worked.
    #[error("the device ran out of memory: {what}")]
    OutOfMemory {
        /// What was asked for.
        what: String,
        /// For work that trains: images that may fit at once, half of those that did not.
        fitting: Option<usize>,
    },
    /// The device failed while it worked.
    #[error("the device failed: {what}")]
    Failed {
        /// The first thing that went wrong.
        what: String,
        /// Whether the work was training, which saves what it has reached.
        training: bool,
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
            Self::Failed { training: true, .. } => Some("the last checkpoint is intact, and the same command resumes from it".into()),
            Self::Failed { training: false, .. } => Some("run the same command again, or leave --device out to compute on the CPU".into()),
            Self::OutOfMemory { fitting, .. } => Some(match fitting {
                Some(images @ 1..) => format!("try --micro-batch {images}, or --recompute; the last checkpoint is whole"),
                Some(0) => "--recompute or --precision bf16 need less; the last checkpoint is whole".into(),
                None => "free the memory that others hold, or take a smaller model".into(),
            }),
            #[cfg(any(feature = "cuda", feature = "vulkan"))]
            Self::TooLittleMemory { error, fitting } => Some(match fitting {
                Some(images @ 1..) => format!("--micro-batch {images} fits, which `--micro-batch auto` takes; --recompute needs less too"),
                Some(0) => "not even one image fits; --recompute or --precision bf16 need less".into(),
                None => error.hint(),
            }),
            Self::Tf32WithoutCuda => Some("leave --tf32 out, or add --device cuda".into()),
            Self::Bf16OnCpu => Some("leave --precision out, or add --device cuda".into()),
            Self::NotBuilt { feature, .. } => Some(format!("build it with `cargo build --release --features {feature}`")),
            #[cfg(any(feature = "cuda", feature = "vulkan"))]
            Self::Device(error) => Some(error.hint()),
        }
    }
}

impl DeviceChoice {
    /// Opens the device, asks of it what the work needs, and does the work there.
    ///
    /// # Errors
    /// The first thing that is missing, see [`DeviceProblem`].
    pub fn run<W: OnDevice>(self, requirements: Requirements, work: W) -> Result<W::Output, DeviceProblem> {
        match self {
            Self::Cpu | Self::Vulkan(_) if requirements.tf32 => Err(DeviceProblem::Tf32WithoutCuda),
            Self::Cpu if requirements.bf16 => Err(DeviceProblem::Bf16OnCpu),
            Self::Cpu => Ok(work.run::<Cpu>(&FlexDevice)),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => {
                let (device, report) = pixgen_cubecl::device::cuda::open(index)?;
                requirements.ask(&report)?;
                guarded(requirements, || {
                    let other = |error| format!("products by CubeCL's kernels, without cuBLASLt: {error}");
                    let products = pixgen_cubecl::cuda::open(&device);
                    pixgen_edge::terminal::note(&products.map_or_else(other, |report| report.to_string()));
                    pixgen_cubecl::cuda::allow_tf32(requirements.tf32);
                    let output = work.run::<Cuda>(&device);
                    if let Some(used) = Cuda::products(&device) {
                        pixgen_edge::terminal::note(&used);
                    }
                    output
                })
            }
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => Err(DeviceProblem::NotBuilt { api: "CUDA", feature: "cuda" }),
            #[cfg(feature = "vulkan")]
            Self::Vulkan(index) => {
                let (device, report) = pixgen_cubecl::device::vulkan::open(index)?;
                requirements.ask(&report)?;
                guarded(requirements, || work.run::<Vulkan>(&device))
            }
            #[cfg(not(feature = "vulkan"))]
            Self::Vulkan(_) => Err(DeviceProblem::NotBuilt { api: "Vulkan", feature: "vulkan" }),
        }
    }

    /// What the driver of an NVIDIA GPU calls it, if it answers.
    pub fn product(self) -> Option<String> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => pixgen_cubecl::device::cuda::name(index).ok(),
            _ => None,
        }
    }

    /// Free bytes of its memory: of this machine's for the CPU. `None` for a device that does not tell.
    ///
    /// # Errors
    /// A device that is not there.
    pub fn free_memory(self) -> Result<Option<u64>, DeviceProblem> {
        match self {
            Self::Cpu => Ok(available_memory()),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => Ok(pixgen_cubecl::device::cuda::open(index)?.1.memory.map(|memory| memory.free)),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => Err(DeviceProblem::NotBuilt { api: "CUDA", feature: "cuda" }),
            #[cfg(feature = "vulkan")]
            Self::Vulkan(index) => Ok(pixgen_cubecl::device::vulkan::open(index)?.1.memory.map(|memory| memory.free)),
            #[cfg(not(feature = "vulkan"))]
            Self::Vulkan(_) => Err(DeviceProblem::NotBuilt { api: "Vulkan", feature: "vulkan" }),
        }
    }

    /// Whether it is a GPU.
    pub const fn is_gpu(self) -> bool {
        !matches!(self, Self::Cpu)
    }
}

/// Free memory of this machine, where the system says.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Work on a GPU, whose failures burn and CubeCL report as panics, some in threads of their own after which the caller continues with whatever
/// lies in memory: each of them is an error here, and nothing is printed but that.
#[cfg(any(feature = "cuda", feature = "vulkan"))]
fn guarded<T>(requirements: Requirements, work: impl FnOnce() -> T) -> Result<T, DeviceProblem> {
    use std::panic;
    use std::sync::{Arc, Mutex, PoisonError};
    let failures = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&failures);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| noted.lock().unwrap_or_else(PoisonError::into_inner).push(describe(info))));
    let done = panic::catch_unwind(panic::AssertUnwindSafe(work));
    panic::set_hook(before);
    let first = failures.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
    match (done, first) {
        (Ok(done), None) => Ok(done),
        (_, what) => {
            let what = what.unwrap_or_else(|| "it says nothing".to_owned());
            if !is_about_memory(&what) {
                return Err(DeviceProblem::Failed { what, training: requirements.training.is_some() });
            }
            let fitting = requirements.training.map(|training| training.micro_batch / 2);
            Err(DeviceProblem::OutOfMemory { what, fitting })
        }
    }
}

/// Whether a failure of CubeCL, wgpu or CUDA says that an allocation failed.
#[cfg(any(feature = "cuda", feature = "vulkan"))]
fn is_about_memory(what: &str) -> bool {
    let what = what.to_lowercase();
    [
        "out of memory",
        "out-of-memory",
        "out_of_memory",
        "outofmemory",
        "can't allocate",
        "buffertoobig",
    ]
    .iter()
    .any(|sign| what.contains(sign))
}

/// What a panic says, with its causes on one line and without a backtrace, and where.
#[cfg(any(feature = "cuda", feature = "vulkan"))]
fn describe(info: &std::panic::PanicHookInfo<'_>) -> String {
    let lines = info.payload_as_str().unwrap_or("unknown").lines().map(str::trim);
    let lines = lines.take_while(|line| !line.starts_with("Backtrace") && !line.starts_with("BACKTRACE"));
    let what = lines
        .filter(|line| !line.is_empty() && *line != "Caused by:")
        .take(4)
        .collect::<Vec<_>>()
        .join(": ");
    match info.location() {
        Some(place) => format!("{what} ({place})"),
        None => what.to_owned(),
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan"))]
impl Requirements {
    /// Whether a device meets them; says on stderr which device it is.
    fn ask(&self, report: &pixgen_cubecl::device::DeviceReport) -> Result<(), DeviceProblem> {
        if self.bf16 {
            report.require_bf16()?;
        }
        if let Some(Err(error)) = self.memory.map(|needed| report.require_memory(needed)) {
            let fitting = self.training.zip(report.memory).map(|(training, memory)| training.fitting(memory.free));
            return Err(DeviceProblem::TooLittleMemory { error, fitting });
        }
        pixgen_edge::terminal::note(&report.to_string());
        Ok(())
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

    /// Work that only says that it was done.
    struct Nothing;

    impl OnDevice for Nothing {
        type Output = ();

        fn run<B: Engine>(self, _: &B::Device) {}
    }

    #[test]
    fn the_cpu_computes_in_f32() {
        assert!(
            DeviceChoice::Cpu
                .run(Requirements { memory: Some(u64::MAX), ..Requirements::default() }, Nothing)
                .is_ok()
        );
        let error = DeviceChoice::Cpu
            .run(Requirements { bf16: true, ..Requirements::default() }, Nothing)
            .unwrap_err();
        assert!(error.hint().unwrap().contains("--precision"));
        let error = DeviceChoice::Cpu
            .run(Requirements { tf32: true, ..Requirements::default() }, Nothing)
            .unwrap_err();
        assert!(matches!(error, DeviceProblem::Tf32WithoutCuda) && error.hint().unwrap().contains("--tf32"));
    }

    /// Held by a test that watches panics: the hook for them is the whole process's.
    #[cfg(any(feature = "cuda", feature = "vulkan"))]
    static HOOK: std::sync::Mutex<()> = std::sync::Mutex::new(());

    /// In the thread itself and in another one, after which the work ends well.
    #[cfg(any(feature = "cuda", feature = "vulkan"))]
    #[test]
    fn panics_on_a_device_are_errors() {
        let _alone = HOOK.lock();
        let none = Requirements::default();
        let error = guarded(none, || panic!("wrong shape")).map(|(): ()| ()).unwrap_err();
        assert!(matches!(&error, DeviceProblem::Failed { what, .. } if what.contains("wrong shape")), "{error}");
        // Only training has checkpoints.
        assert!(!error.hint().unwrap().contains("checkpoint"), "{:?}", error.hint());
        let error = guarded(none, || {
            let _ = std::thread::spawn(|| panic!("expansion")).join();
        });
        assert!(error.unwrap_err().to_string().contains("expansion"));
        assert_eq!(guarded(none, || 7).unwrap(), 7);
    }

    #[cfg(any(feature = "cuda", feature = "vulkan"))]
    #[test]
    fn too_little_memory_names_a_micro_batch() {
        let _alone = HOOK.lock();
        let training = TrainingMemory { micro_batch: 64, fixed: 20 << 30, per_image: 1 << 30 };
        let requirements = Requirements { memory: Some(84 << 30), training: Some(training), ..Requirements::default() };
        for message in [
            "can't allocate buffer of size: 4294967296",
            "CUDA_ERROR_OUT_OF_MEMORY",
            "Out of Memory",
        ] {
            let error = guarded(requirements, || panic!("{message}")).map(|(): ()| ()).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert!(error.hint().unwrap().contains("--micro-batch 32"), "{:?}", error.hint());
        }
        let report = |free| pixgen_cubecl::device::DeviceReport {
            name: "Test GPU".into(),
            driver: "12.9".into(),
            compute_capability: None,
            memory: Some(pixgen_cubecl::device::DeviceMemory { total: 80 << 30, free }),
        };
        // 48 of 64 GiB may be planned with: 20 and 28 images.
        let hint = requirements.ask(&report(64 << 30)).unwrap_err().hint().unwrap();
        assert!(hint.contains("--micro-batch 28 fits"), "{hint}");
        let hint = requirements.ask(&report(20 << 30)).unwrap_err().hint().unwrap();
        assert!(hint.contains("not even one image"), "{hint}");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_program_without_cuda_says_how_to_build_it() {
        let error = DeviceChoice::Cuda(0).run(Requirements::default(), Nothing).unwrap_err();
        assert!(error.to_string().contains("built without CUDA"));
        assert!(error.hint().unwrap().contains("--features cuda"));
    }

    /// Far more devices than a machine can have: a sentence, whatever is or is not installed.
    #[cfg(feature = "cuda")]
    #[test]
    fn a_cuda_device_that_cannot_be_opened_is_an_error_with_a_hint() {
        let error = DeviceChoice::Cuda(4096).run(Requirements::default(), Nothing).unwrap_err();
        assert!(matches!(error, DeviceProblem::Device(_)), "{error}");
        assert!(error.hint().is_some());
    }
}
