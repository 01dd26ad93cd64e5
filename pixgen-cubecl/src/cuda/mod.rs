//! Matrix products by cuBLASLt, NVIDIA's library, on CubeCL's own buffers and in the order of its launches.
//!
//! The library is not needed to build and not needed to run: `library` looks for it when a device computes its first product, and
//! without it [`mod@crate::matmul`] takes the kernels of cubek. `stream` finds the place in CubeCL's order, `blas` makes and keeps the
//! plans, and this file decides on the calling thread who computes a product.
//!
//! The first product of a kind is waited for, so that a kind that the library refuses is known before anything relies on it: only those
//! are left to cubek. If it fails for another reason, the call is an error, since the result may have been written already. All later
//! ones are only submitted. Should one of them fail, every later call is an error, since its result is missing.

mod blas;
pub mod error;
pub mod foreign;
mod library;
mod stream;

use crate::error::{KernelError, Result};
use blas::{Element, Extra, Job, Kind, Lines};
use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::cuda::{CudaDevice, CudaRuntime};
use cubecl::device::{Device, DeviceId};
use cubecl::device_handle::DeviceHandle;
use cubecl::prelude::*;
use cubecl::stream_id::StreamId;
use error::BlasError;
use library::Library;
use std::any::TypeId;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use stream::Server;

/// The alignment of CubeCL's buffers that is relied on, in bytes.
const BUFFER_ALIGNMENT: u64 = 256;

/// What is known of the devices of this process.
struct Known {
    /// Whether each device that computed a product has cuBLASLt.
    devices: Option<HashMap<DeviceId, std::result::Result<BlasReport, BlasError>>>,
    /// The algorithm of each kind of product, `None` for one that the library refuses.
    kinds: Option<HashMap<(DeviceId, Kind), Option<i32>>>,
    /// The failure of a product whose caller is gone.
    failure: Option<BlasError>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known { devices: None, kinds: None, failure: None });

/// Whether f32 products may round their operands to TF32.
static TF32: AtomicBool = AtomicBool::new(false);

fn known() -> MutexGuard<'static, Known> {
    // Nothing panics while it holds the lock.
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The library that computes the products of a device. Its `Display` is one line for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlasReport {
    /// Version: major, minor, patch.
    pub version: [usize; 3],
    /// Its file, or its name where the system's loader found it.
    pub path: std::path::PathBuf,
    /// Products go into CubeCL's own streams, and not between events of the context.
    pub in_order: bool,
}

impl fmt::Display for BlasReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.version;
        write!(f, "products by cuBLASLt {major}.{minor}.{patch} ({})", self.path.display())?;
        if !self.in_order {
            f.write_str(", each between events of the context, since CubeCL's stream was not found")?;
        }
        Ok(())
    }
}

/// Allows f32 products of this process to round their operands to the 10 bits of TF32, or forbids it, as it is at first.
pub fn allow_tf32(allowed: bool) {
    TF32.store(allowed, Ordering::Relaxed);
}

/// The library that computes the products of a device. The first call looks for it and tries a product.
///
/// # Errors
/// Why the kernels of cubek compute them.
pub fn open(device: &CudaDevice) -> std::result::Result<BlasReport, BlasError> {
    // Held to the end, so that threads which come at once wait for one trial.
    static OPENING: Mutex<()> = Mutex::new(());
    let id = device.to_id();
    let found = || known().devices.get_or_insert_default().get(&id).cloned();
    if let Some(found) = found() {
        return found;
    }
    let _one = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = found() {
        return found;
    }
    let opened = trial(device, false).or_else(|error| match error {
        BlasError::Device(_) | BlasError::NotFound | BlasError::Unusable { .. } => Err(error),
        // The first reason tells more, unless there is another way and it fails otherwise.
        error => trial(device, true).map_err(|second| if second == BlasError::NoStream { error } else { second }),
    });
    known().devices.get_or_insert_default().insert(id, opened.clone());
    opened
}

/// The library of a device that has one, and how many kinds of products each of its algorithms computes, by number; `None` are those that
/// are left to cubek's kernels.
pub(crate) fn choices<R: CubeRuntime>(device: &R::Device) -> Option<(BlasReport, BTreeMap<Option<i32>, usize>)> {
    if !is_cuda::<R>() {
        return None;
    }
    let (id, mut known, mut found) = (device.to_id(), known(), BTreeMap::new());
    let report = known.devices.get_or_insert_default().get(&id)?.clone().ok()?;
    for ((device, _), algorithm) in known.kinds.iter().flatten() {
        *found.entry(*algorithm).or_default() += usize::from(*device == id);
    }
    Some((report, found))
}

/// Opens a device in one of the two ways of [`stream`] and compares a product with what it must be.
fn trial(device: &CudaDevice, with_events: bool) -> std::result::Result<BlasReport, BlasError> {
    // CubeCL and the search for the library call the driver, and would panic without one.
    let driver = crate::device::cuda::find(device.index)?;
    let library = Library::get(driver)?;
    let client = CudaRuntime::client(device);
    const SIDE: usize = 64;
    let numbers = |factor: usize| -> Vec<f32> { (0..SIDE * SIDE).map(|at| (at * factor % 7) as f32).collect() };
    let (a, b) = (numbers(3), numbers(5));
    // The operands come after this, so a product that does not wait for them is wrong.
    let _late = client.create_from_slice(&vec![0; 32 << 20]);
    let memory = [
        client.create_from_slice(f32::as_bytes(&a)),
        client.create_from_slice(f32::as_bytes(&b)),
        client.empty(SIDE * SIDE * 4),
    ];
    let stream = StreamId::current();
    let any = memory[0].clone().binding();
    on_device(device.to_id(), move |server| blas::open(library, server, any, stream, with_events))?;
    let lines = Lines { are_columns: false, pitch: SIDE as u32, alignment: BUFFER_ALIGNMENT as u32 };
    let kind = Kind {
        sizes: [SIDE as u32; 3],
        lhs: lines,
        rhs: lines,
        out_alignment: lines.alignment,
        input: Element::F32,
        output: Element::F32,
        extra: Extra::None,
        tf32: false,
    };
    let job = Job { kind, memory: memory.iter().map(|it| it.clone().binding()).collect(), stream };
    on_device(device.to_id(), move |server| blas::run(server, job))?;
    let [_, _, out] = memory;
    let bytes = client.read_one(out).map_err(error::memory)?;
    for (at, found) in f32::from_bytes(&bytes).iter().enumerate() {
        let wanted: f32 = (0..SIDE).map(|k| a[at / SIDE * SIDE + k] * b[k * SIDE + at % SIDE]).sum();
        if *found != wanted {
            return Err(BlasError::WrongProduct { found: *found as i64, wanted: wanted as i64 });
        }
    }
    let version = [library.version / 10000, library.version / 100 % 100, library.version % 100];
    Ok(BlasReport { version, path: library.path.clone(), in_order: !with_events })
}

/// Does something on a device's thread, after all that was submitted to it before.
fn on_device<T: Send>(
    device: DeviceId,
    work: impl FnOnce(&mut Server) -> std::result::Result<T, BlasError> + Send,
) -> std::result::Result<T, BlasError> {
    let done = DeviceHandle::<Server>::new(device).submit_blocking(work);
    done.unwrap_or_else(|error| Err(error::memory(error)))
}

/// An operand of [`product`].
pub(crate) struct Operand<'a, R: CubeRuntime> {
    /// A matrix, one axis of which is contiguous.
    pub tensor: &'a CubeTensor<R>,
    /// Which one: lines of memory are columns.
    pub are_columns: bool,
}

/// What [`product`] does beside the product.
pub(crate) enum Beside<'a, R: CubeRuntime> {
    /// Nothing.
    Nothing,
    /// Adds the vector, which has the type of the result, to each row.
    Bias(&'a CubeTensor<R>),
    /// Writes the sums of the left operand's rows to the vector, which has the type of the result.
    RowSums(&'a CubeTensor<R>),
}

/// Whether a runtime's tensors are CUDA's.
pub fn is_cuda<R: CubeRuntime>() -> bool {
    TypeId::of::<R>() == TypeId::of::<CudaRuntime>()
}

/// Whether cuBLASLt computes the products of a device.
pub(crate) fn is_used<R: CubeRuntime>(device: &R::Device) -> bool {
    is_cuda::<R>() && open(&CudaDevice::from_id(device.to_id())).is_ok()
}

/// Computes `lhs rhs` into `out`, which is row-major without gaps. `false` if cuBLASLt refuses its kind: then nothing was done. That the
/// device [uses](is_used) it, and shapes and types, are the caller's to check.
///
/// # Errors
/// This product failed, or one before it. What is in `out` is then unknown.
pub(crate) fn product<R: CubeRuntime>(
    lhs: Operand<'_, R>,
    rhs: Operand<'_, R>,
    out: &CubeTensor<R>,
    beside: Beside<'_, R>,
) -> Result<bool> {
    let Some(kind) = kind(&lhs, &rhs, out, &beside) else {
        return Ok(false);
    };
    let vector = match beside {
        Beside::Nothing => None,
        Beside::Bias(vector) | Beside::RowSums(vector) => Some(vector),
    };
    let tensors = [lhs.tensor, rhs.tensor, out].into_iter().chain(vector);
    let memory = tensors.map(|it| it.handle.clone().binding()).collect();
    submit(out.device.to_id(), Job { kind, memory, stream: StreamId::current() })
}

fn submit(device: DeviceId, job: Job) -> Result<bool> {
    let key = (device, job.kind);
    let found = {
        let mut known = known();
        if let Some(error) = &known.failure {
            return Err(KernelError::Submitted(error.clone()));
        }
        known.kinds.get_or_insert_default().get(&key).copied()
    };
    match found {
        Some(None) => Ok(false),
        Some(Some(_)) => {
            // It must not panic: CubeCL would only log that.
            DeviceHandle::<Server>::new(device).submit(move |server| {
                if let Err(error) = blas::run(server, job) {
                    known().failure.get_or_insert(error);
                }
            });
            Ok(true)
        }
        None => {
            let algorithm = match on_device(device, move |server| blas::run(server, job)) {
                Ok(algorithm) => Some(algorithm),
                Err(error) if error.is_refusal() => None,
                Err(error) => return Err(KernelError::Submitted(error)),
            };
            known().kinds.get_or_insert_default().insert(key, algorithm);
            Ok(algorithm.is_some())
        }
    }
}

/// What a plan depends on; `None` for types or sizes that cuBLASLt is not asked for.
fn kind<R: CubeRuntime>(lhs: &Operand<'_, R>, rhs: &Operand<'_, R>, out: &CubeTensor<R>, beside: &Beside<'_, R>) -> Option<Kind> {
    let element = |tensor: &CubeTensor<R>| match tensor.dtype {
        DType::F32 => Some(Element::F32),
        DType::BF16 => Some(Element::Bf16),
        _ => None,
    };
    let alignment = |tensor: &CubeTensor<R>| {
        let start = tensor.handle.offset_start.unwrap_or(0) | BUFFER_ALIGNMENT;
        1u32 << start.trailing_zeros()
    };
    let lines = |Operand { tensor, are_columns }: &Operand<'_, R>| {
        let (across, along) = if *are_columns { (1, 0) } else { (0, 1) };
        let (count, width) = (tensor.meta.shape()[across], tensor.meta.shape()[along]);
        // The distance of a single line to the next says nothing.
        let pitch = if count == 1 { width } else { tensor.meta.strides()[across] };
        let pitch = u32::try_from(pitch).ok().filter(|_| pitch >= width)?;
        Some(Lines { are_columns: *are_columns, pitch, alignment: alignment(tensor) })
    };
    let size = |tensor: &CubeTensor<R>, axis: usize| u32::try_from(tensor.meta.shape()[axis]).ok();
    let (m, k, n) = (size(lhs.tensor, 0)?, size(lhs.tensor, 1)?, size(rhs.tensor, 1)?);
    Some(Kind {
        sizes: [m, n, k],
        lhs: lines(lhs)?,
        rhs: lines(rhs)?,
        out_alignment: alignment(out),
        input: element(lhs.tensor)?,
        output: element(out)?,
        extra: match beside {
            Beside::Nothing => Extra::None,
            Beside::Bias(_) => Extra::Bias,
            Beside::RowSums(_) => Extra::RowSums,
        },
        tf32: TF32.load(Ordering::Relaxed),
    })
}
