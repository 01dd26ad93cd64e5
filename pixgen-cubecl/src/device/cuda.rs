//! Opening a CUDA device.
//!
//! `cudarc` panics when it calls into a library that is not there, so each library is looked for before its first call. All of this runs
//! on the calling thread and leaves no CUDA context behind.

use super::{DeviceError, DeviceMemory, DeviceReport, Version};
use cubecl::cuda::{CudaDevice, install};
use cudarc::driver::result::{self as driver, DriverError};
use cudarc::driver::sys::{self, CUdevice, CUdevice_attribute, CUresult};
use cudarc::nvrtc;
use std::ffi::CStr;
use std::path::PathBuf;

/// The oldest CUDA that can run the kernels: below it NVRTC does not know Hopper's `sm_90a`.
const OLDEST_CUDA: Version = Version { major: 12, minor: 0 };

/// The header that every kernel of CubeCL includes.
const HEADER: &str = "cuda_runtime.h";

/// What every kernel with matrix units includes, and a kernel.
const TRIAL_KERNEL: &CStr =
    c"#include <cuda_runtime.h>\n#include <cuda_bf16.h>\n#include <mma.h>\nextern \"C\" __global__ void trial() {}\n";

/// Looks at everything that CubeCL needs to use CUDA device `index`, and at the device.
///
/// The trial compilation takes most of the time, some tenths of a second; without a driver the answer is immediate.
///
/// # Errors
/// The first thing that is missing or too old, or [`DeviceError::NoSuchDevice`].
pub fn open(index: usize) -> Result<(CudaDevice, DeviceReport), DeviceError> {
    let driver_version = driver_version()?;
    let device = device(index)?;
    let compute_capability = compute_capability(device)?;
    let report = DeviceReport {
        name: driver::device::get_name(device).map_err(failed("cuDeviceGetName"))?,
        driver: driver_version.to_string(),
        compute_capability: Some(compute_capability),
        memory: Some(memory(device)?),
    };
    check_compiler(driver_version, compute_capability)?;
    Ok((CudaDevice::new(index), report))
}

/// The name that the driver gives to CUDA device `index`.
///
/// # Errors
/// As [`open`], which looks at more.
pub fn name(index: usize) -> Result<String, DeviceError> {
    driver_version()?;
    driver::device::get_name(device(index)?).map_err(failed("cuDeviceGetName"))
}

/// That CUDA device `index` is there, which CubeCL does not ask; returns the CUDA version of the driver.
pub(crate) fn find(index: usize) -> Result<Version, DeviceError> {
    let version = driver_version()?;
    device(index)?;
    Ok(version)
}

/// The CUDA version of the driver, at least [`OLDEST_CUDA`].
fn driver_version() -> Result<Version, DeviceError> {
    // SAFETY: loads and unloads the driver's library, whose constructors expect nothing of the process.
    if !unsafe { sys::is_culib_present() } {
        return Err(DeviceError::NoCudaDriver);
    }
    let mut version = 0;
    // SAFETY: the library is there, and the call writes one integer to a valid pointer.
    unsafe { sys::cuDriverGetVersion(&mut version) }
        .result()
        .map_err(failed("cuDriverGetVersion"))?;
    let version = version_of(version);
    if version < OLDEST_CUDA {
        return Err(DeviceError::OldDriver { driver: version, needed: OLDEST_CUDA, why: String::new() });
    }
    Ok(version)
}

/// CUDA packs versions as 1000 x major + 10 x minor.
fn version_of(packed: i32) -> Version {
    let packed = packed.unsigned_abs();
    Version { major: packed / 1000, minor: packed % 1000 / 10 }
}

fn device(index: usize) -> Result<CUdevice, DeviceError> {
    let none = DeviceError::NoDevice { api: "CUDA" };
    match driver::init() {
        Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => return Err(none),
        other => other.map_err(failed("cuInit"))?,
    }
    match driver::device::get_count().map_err(failed("cuDeviceGetCount"))?.max(0) as usize {
        0 => Err(none),
        count if index >= count => Err(DeviceError::NoSuchDevice { api: "CUDA", index, count }),
        _ => driver::device::get(index as i32).map_err(failed("cuDeviceGet")),
    }
}

fn compute_capability(device: CUdevice) -> Result<Version, DeviceError> {
    let number = |attribute| {
        // SAFETY: `device` comes from `cuDeviceGet`.
        let value = unsafe { driver::device::get_attribute(device, attribute) };
        value.map(i32::unsigned_abs).map_err(failed("cuDeviceGetAttribute"))
    };
    Ok(Version {
        major: number(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        minor: number(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    })
}

/// Free and total bytes. The free ones can be asked for only inside a context, so one is made current for the question.
fn memory(device: CUdevice) -> Result<DeviceMemory, DeviceError> {
    // SAFETY: `device` comes from `cuDeviceGet`; the context is current only while it is retained.
    unsafe {
        let context = driver::primary_ctx::retain(device).map_err(failed("cuDevicePrimaryCtxRetain"))?;
        let before = driver::ctx::get_current().ok().flatten().unwrap_or(std::ptr::null_mut());
        let info = driver::ctx::set_current(context).and_then(|()| driver::mem_get_info());
        let restored = driver::ctx::set_current(before).and_then(|()| driver::primary_ctx::release(device));
        let (free, total) = info.map_err(failed("cuMemGetInfo"))?;
        restored.map_err(failed("cuDevicePrimaryCtxRelease"))?;
        Ok(DeviceMemory { total: total as u64, free: free as u64 })
    }
}

/// The run-time compiler: its library, its headers, and that the two make code which the driver takes.
fn check_compiler(driver: Version, capability: Version) -> Result<(), DeviceError> {
    let compiler = compiler_version()?;
    if compiler < OLDEST_CUDA {
        return Err(DeviceError::OldNvrtc { found: compiler, needed: OLDEST_CUDA });
    }
    // The assembly of a newer compiler is refused by an older driver.
    if compiler > driver {
        let why = format!(", because CUDA's run-time compiler is version {compiler}");
        return Err(DeviceError::OldDriver { driver, needed: compiler, why });
    }
    compile_trial(capability, include_folder()?)
}

fn compiler_version() -> Result<Version, DeviceError> {
    // SAFETY: loads and unloads the compiler's library, whose constructors expect nothing of the process.
    if !unsafe { nvrtc::sys::is_culib_present() } {
        return Err(DeviceError::NoNvrtc);
    }
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is there, and the call writes two integers to valid pointers.
    let status = unsafe { nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
    status
        .result()
        .map_err(|error| DeviceError::BrokenToolkit { message: error.to_string() })?;
    Ok(Version { major: major.unsigned_abs(), minor: minor.unsigned_abs() })
}

/// The folder that CubeCL gives to the compiler.
fn include_folder() -> Result<PathBuf, DeviceError> {
    let Some(root) = install::cuda_path() else {
        return Err(DeviceError::NoHeaders { looked: "CUDA_PATH is not set, and neither /usr/local/cuda nor /opt/cuda is there".into() });
    };
    let folder = root.join("include");
    // CubeCL hands the path on as UTF-8, and unwraps.
    match folder.join(HEADER).is_file() && folder.to_str().is_some() {
        true => Ok(folder),
        false => Err(DeviceError::NoHeaders { looked: format!("there is no {HEADER} in {}", folder.display()) }),
    }
}

/// Compiles a kernel that does nothing with the options that CubeCL uses.
fn compile_trial(capability: Version, include: PathBuf) -> Result<(), DeviceError> {
    let broken = |message: String| DeviceError::BrokenToolkit { message };
    // `a`: CubeCL asks for the features of exactly this architecture from Hopper on.
    let suffix = if capability.major >= 9 { "a" } else { "" };
    let options = [
        format!("--gpu-architecture=sm_{}{}{suffix}", capability.major, capability.minor),
        format!("--include-path={}", include.display()),
    ];
    let program = nvrtc::result::create_program(TRIAL_KERNEL, None).map_err(|error| broken(error.to_string()))?;
    // SAFETY: `program` was made above and is destroyed once, after its log was read.
    unsafe {
        let compiled = nvrtc::result::compile_program(program, &options);
        let log = nvrtc::result::get_program_log(program).unwrap_or_default();
        // Nothing can be done about a program that cannot be freed.
        let _ = nvrtc::result::destroy_program(program);
        compiled.map_err(|error| {
            let log: Vec<u8> = log.into_iter().map(|it| it as u8).take_while(|it| *it != 0).collect();
            let log = String::from_utf8_lossy(&log);
            broken(
                log.lines()
                    .find(|it| !it.trim().is_empty())
                    .map_or_else(|| error.to_string(), |it| it.trim().to_owned()),
            )
        })
    }
}

/// Turns an error of the driver's function `call` into ours.
fn failed(call: &'static str) -> impl Fn(DriverError) -> DeviceError {
    move |error| DeviceError::Driver { call, code: format!("{:?}", error.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_versions() {
        assert_eq!(version_of(12090), Version { major: 12, minor: 9 });
        assert_eq!(version_of(13000), Version { major: 13, minor: 0 });
    }

    /// Whatever this machine lacks, opening says so and does not panic.
    #[test]
    fn opening_never_panics() {
        // SAFETY: as in `driver_version`.
        let has_driver = unsafe { sys::is_culib_present() };
        match open(0) {
            Ok((device, report)) => assert!(has_driver && device.index == 0 && !report.name.is_empty()),
            Err(DeviceError::NoCudaDriver) => assert!(!has_driver),
            Err(other) => assert!(has_driver, "{other}"),
        }
    }
}
