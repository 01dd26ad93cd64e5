//! NCCL between the GPUs of all ranks, loaded when the program runs. Nothing of it is needed to build.
//!
//! The ranks meet by the engine of the hosts ([`super::collective`]), which carries NCCL's identifier and whatever lies in host memory. Each
//! exchange is submitted in the order of CubeCL's launches and waited for: the host reads results soon after each, and a rank that waits for
//! others must be seen to wait.

use super::exchange::Exchange;
use super::link::LinkError;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use libloading::os::unix::Library;
use pixgen_cubecl::cuda::foreign;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::spawn;
use std::time::Duration;

const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

/// `ncclUint8`, `ncclFloat32` and `ncclSum`.
const BYTES: c_int = 1;
const FLOATS: c_int = 7;
const SUM: c_int = 0;
/// Time for NCCL to give up what it does.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// `ncclUniqueId`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct UniqueId(pub [u8; 128]);

/// `ncclComm_t` and `cudaStream_t`.
type Comm = *mut c_void;
type Stream = *mut c_void;

/// Declares the functions that are looked up.
macro_rules! functions {
    ($($name:ident = $symbol:literal($($argument:ty),*) -> $result:ty;)*) => {
        #[derive(Clone, Copy, Debug)]
        struct Functions {
            $($name: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Functions {
            fn of(library: &Library) -> Result<Self, LinkError> {
                // SAFETY: the types are those of nccl.h; the library is never closed (see `open`).
                Ok(Self { $($name: *unsafe { library.get($symbol) }.map_err(|error| LinkError::NoNccl { details: error.to_string() })?,)* })
            }
        }
    };
}

functions! {
    version = "ncclGetVersion"(*mut c_int) -> c_int;
    unique_id = "ncclGetUniqueId"(*mut UniqueId) -> c_int;
    join = "ncclCommInitRank"(*mut Comm, c_int, UniqueId, c_int) -> c_int;
    all_reduce = "ncclAllReduce"(*const c_void, *mut c_void, usize, c_int, c_int, Comm, Stream) -> c_int;
    all_gather = "ncclAllGather"(*const c_void, *mut c_void, usize, c_int, Comm, Stream) -> c_int;
    reduce = "ncclReduce"(*const c_void, *mut c_void, usize, c_int, c_int, c_int, Comm, Stream) -> c_int;
    begin = "ncclGroupStart"() -> c_int;
    finish = "ncclGroupEnd"() -> c_int;
    broadcast = "ncclBroadcast"(*const c_void, *mut c_void, usize, c_int, c_int, Comm, Stream) -> c_int;
    fault = "ncclCommGetAsyncError"(Comm, *mut c_int) -> c_int;
    abort = "ncclCommAbort"(Comm) -> c_int;
    destroy = "ncclCommDestroy"(Comm) -> c_int;
    text = "ncclGetErrorString"(c_int) -> *const c_char;
    details = "ncclGetLastError"(Comm) -> *const c_char;
}

/// The communicator of all ranks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nccl {
    functions: Functions,
    comm: Comm,
}

// SAFETY: a communicator may be used from any thread, by one at a time; `run` calls on the one thread of the device, and what other
// threads call, `fault` and `abort`, is made for that.
unsafe impl Send for Nccl {}
// SAFETY: as above.
unsafe impl Sync for Nccl {}

/// What is watched, and ended from any thread.
static COMM: Mutex<Option<Nccl>> = Mutex::new(None);

/// Whether the user wants gradients to go through the host's memory.
pub(super) fn is_off() -> bool {
    std::env::var(super::NCCL_VARIABLE).is_ok_and(|value| value == super::NCCL_OFF)
}

/// The communicator, while it is in use.
fn in_use() -> MutexGuard<'static, Option<Nccl>> {
    COMM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends what NCCL does at this rank, before the process ends: a kernel that waits for another GPU would keep it.
pub(super) fn end() {
    // Whoever holds the lock only asks for faults.
    let Some(nccl) = in_use().take() else { return };
    let (tell, told) = channel();
    spawn(move || {
        // SAFETY: the communicator is given up once; abort may come while other threads wait for it.
        unsafe { (nccl.functions.abort)(nccl.comm()) };
        let _ = tell.send(());
    });
    let _ = told.recv_timeout(ENDS_WITHIN);
}

/// What has gone wrong without being asked for, such as a lost connection.
pub(super) fn fault() -> Option<LinkError> {
    in_use().as_ref().and_then(Nccl::fault)
}

/// Asks for faults no more: the ranks are about to leave.
pub(super) fn retire() {
    in_use().take();
}

fn load() -> Result<Library, LinkError> {
    let named = std::env::var(super::NCCL_VARIABLE).ok();
    let names = named.as_deref().map_or_else(|| NAMES.to_vec(), |name| vec![name]);
    let mut failures = Vec::new();
    for name in names {
        // SAFETY: NVIDIA's library does nothing that matters when it is loaded.
        match unsafe { Library::new(name) } {
            Ok(library) => return Ok(library),
            Err(error) => failures.push(error.to_string()),
        }
    }
    Err(LinkError::NoNccl { details: failures.join("; ") })
}

/// The library, ready to make a communicator.
pub(super) struct Opened {
    functions: Functions,
    /// What the ranks find each other by: rank 0's, which the others have to be given.
    pub id: UniqueId,
    /// As `ncclGetVersion` has it.
    pub version: c_int,
}

/// Loads NCCL; `first` makes the identifier.
pub(super) fn open(first: bool) -> Result<Opened, LinkError> {
    // NCCL has threads of its own: its library is never closed.
    let library = Box::leak(Box::new(load()?));
    let functions = Functions::of(library)?;
    let mut version = 0;
    // SAFETY: writes a number.
    functions.check("ncclGetVersion", null_mut(), unsafe { (functions.version)(&raw mut version) })?;
    let mut id = UniqueId([0; 128]);
    if first {
        // SAFETY: writes an identifier.
        functions.check("ncclGetUniqueId", null_mut(), unsafe { (functions.unique_id)(&raw mut id) })?;
    }
    Ok(Opened { functions, id, version })
}

/// The communicator of `size` ranks, for the device on which `any` lies; waits for the others.
pub(super) fn join<R: CubeRuntime>(opened: &Opened, size: usize, rank: usize, any: &CubeTensor<R>) -> Result<Nccl, LinkError> {
    let Opened { functions, id, .. } = *opened;
    let join = move |_: &[u64], _: Stream| {
        let mut comm = null_mut();
        // SAFETY: writes the communicator; every rank calls this with the same identifier and size.
        let code = unsafe { (functions.join)(&raw mut comm, size as c_int, id, rank as c_int) };
        (code, Nccl { functions, comm })
    };
    // SAFETY: nothing is submitted. Memory of the device makes its context current where NCCL looks for it.
    let joined = unsafe { foreign::submit(&[any], join) };
    let (code, nccl) = joined.map_err(|error| LinkError::Device { details: error.to_string() })?;
    functions.check("ncclCommInitRank", null_mut(), code)?;
    *in_use() = Some(nccl);
    Ok(nccl)
}

impl Functions {
    fn check(&self, function: &'static str, comm: Comm, code: c_int) -> Result<(), LinkError> {
        if code == 0 {
            return Ok(());
        }
        let text = |pointer: *const c_char| {
            // SAFETY: NCCL returns text that stays, or nothing.
            (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
        };
        // SAFETY: both take any value and return text.
        let (what, details) = unsafe { (text((self.text)(code)), text((self.details)(comm))) };
        let parts = [what, details].into_iter().flatten().filter(|part| !part.is_empty());
        Err(LinkError::Nccl { function, details: parts.collect::<Vec<_>>().join(": ") })
    }
}

impl Nccl {
    /// As a method, so that closures take the whole, which may go to other threads.
    const fn comm(&self) -> Comm {
        self.comm
    }

    fn fault(&self) -> Option<LinkError> {
        let mut code = 0;
        // SAFETY: the communicator lives until the process ends, and a number is written.
        unsafe { (self.functions.fault)(self.comm, &raw mut code) };
        self.functions.check("a GPU's exchange", self.comm, code).err()
    }

    /// Does it, and waits for it.
    pub fn run<R: CubeRuntime>(&self, exchange: &Exchange<'_, R>) -> Result<(), LinkError> {
        let size = |tensor: &CubeTensor<R>| tensor.meta.num_elements() * tensor.dtype.size();
        let (name, code) = match exchange {
            Exchange::Sum(tensor) => ("ncclAllReduce", {
                let count = tensor.meta.num_elements();
                self.submit(&[*tensor], move |nccl, addresses, stream| {
                    let place = addresses[0] as *mut c_void;
                    // SAFETY: the tensor has `count` floats, as at every rank.
                    unsafe { (nccl.functions.all_reduce)(place, place, count, FLOATS, SUM, nccl.comm, stream) }
                })
            }),
            Exchange::SumParts { buffer, length } => ("ncclReduce", {
                let count = buffer.meta.num_elements();
                self.submit(&[*buffer], move |nccl, addresses, stream| {
                    nccl.for_parts(addresses[0], count, *length, |place, count, rank| {
                        // SAFETY: each rank has `count` floats there.
                        unsafe { (nccl.functions.reduce)(place, place, count, FLOATS, SUM, rank, nccl.comm, stream) }
                    })
                })
            }),
            Exchange::JoinParts { buffer, length } => ("ncclBroadcast", {
                let count = buffer.meta.num_elements();
                self.submit(&[*buffer], move |nccl, addresses, stream| {
                    nccl.for_parts(addresses[0], count, *length, |place, count, rank| {
                        // SAFETY: each rank has `count` floats there.
                        unsafe { (nccl.functions.broadcast)(place, place, count, FLOATS, rank, nccl.comm, stream) }
                    })
                })
            }),
            Exchange::Broadcast(tensor) => ("ncclBroadcast", {
                let bytes = size(tensor);
                self.submit(&[*tensor], move |nccl, addresses, stream| {
                    let place = addresses[0] as *mut c_void;
                    // SAFETY: the tensor has `bytes` bytes, as at every rank.
                    unsafe { (nccl.functions.broadcast)(place, place, bytes, BYTES, 0, nccl.comm, stream) }
                })
            }),
            Exchange::Gather { mine, all } => ("ncclAllGather", {
                let bytes = size(mine);
                self.submit(&[*mine, *all], move |nccl, addresses, stream| {
                    let (from, to) = (addresses[0] as *const c_void, addresses[1] as *mut c_void);
                    // SAFETY: `mine` has `bytes` bytes, as at every rank, and `all` room for those of all.
                    unsafe { (nccl.functions.all_gather)(from, to, bytes, BYTES, nccl.comm, stream) }
                })
            }),
        };
        let code = code?;
        self.functions.check(name, self.comm, code)?;
        self.fault().map_or(Ok(()), Err)
    }

    /// Calls a function for each part of `length` of `count` floats, with its address, length and rank, as one operation. The last part may
    /// be shorter, which NCCL's own functions for parts do not do.
    fn for_parts(&self, address: u64, count: usize, length: usize, call: impl Fn(*mut c_void, usize, c_int) -> c_int) -> c_int {
        // SAFETY: what is begun is finished below.
        let mut code = unsafe { (self.functions.begin)() };
        for (rank, start) in (0..).zip((0..count).step_by(length)) {
            if code == 0 {
                code = call((address + (size_of::<f32>() * start) as u64) as *mut c_void, length.min(count - start), rank);
            }
        }
        // SAFETY: it was begun above.
        let finished = unsafe { (self.functions.finish)() };
        if code == 0 { finished } else { code }
    }

    fn submit<R: CubeRuntime>(
        &self,
        tensors: &[&CubeTensor<R>],
        call: impl FnOnce(&Self, &[u64], Stream) -> c_int + Send,
    ) -> Result<c_int, LinkError> {
        let call = |addresses: &[u64], stream: Stream| call(self, addresses, stream);
        // SAFETY: the calls above submit to this stream, with these tensors.
        unsafe { foreign::submit(tensors, call) }.map_err(|error| LinkError::Device { details: error.to_string() })
    }

    /// Leaves in peace, when all do.
    pub fn leave(&self) {
        // SAFETY: nobody uses the communicator any more.
        unsafe { (self.functions.destroy)(self.comm) };
    }
}
