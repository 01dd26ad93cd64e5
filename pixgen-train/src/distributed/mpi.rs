//! MPI, loaded when the program runs: Open MPI and MPICH, whose handles differ. Nothing of it is needed to build.

use super::link::{EndAll, Link, LinkError};
use super::placement::{Launcher, Placement};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::ffi::{c_int, c_void};
use std::ptr::{null_mut, without_provenance};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

const OPEN_MPI: [&str; 2] = ["libmpi.so.40", "libmpi.so"];
const MPICH: [&str; 2] = ["libmpich.so.12", "libmpi.so.12"];
/// The most elements of a call, whose count is a C `int`.
const MOST: usize = 1 << 28;
/// Threads beside the one that communicates may end everything.
const THREAD_MULTIPLE: c_int = 3;

/// An object of MPI: an address in Open MPI, a number in MPICH, which fits and is passed in the same register.
type Handle = *mut c_void;
type Init = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int, *mut c_int) -> c_int;
type Ask = unsafe extern "C" fn(Handle, *mut c_int) -> c_int;
type Allreduce = unsafe extern "C" fn(*const c_void, *mut c_void, c_int, Handle, Handle, Handle) -> c_int;
type Reduce = unsafe extern "C" fn(*const c_void, *mut c_void, c_int, Handle, Handle, c_int, Handle) -> c_int;
type Allgather = unsafe extern "C" fn(*const c_void, c_int, Handle, *mut c_void, c_int, Handle, Handle) -> c_int;
type Broadcast = unsafe extern "C" fn(*mut c_void, c_int, Handle, c_int, Handle) -> c_int;
type Abort = unsafe extern "C" fn(Handle, c_int) -> c_int;
type Finalize = unsafe extern "C" fn() -> c_int;

/// What the functions are called with.
#[derive(Clone, Copy, Debug)]
struct Handles {
    world: Handle,
    float: Handle,
    byte: Handle,
    sum: Handle,
    in_place: *const c_void,
}

/// The communicator of all ranks.
#[derive(Debug)]
pub(super) struct Mpi {
    handles: Handles,
    allreduce: Allreduce,
    reduce: Reduce,
    allgather: Allgather,
    broadcast: Broadcast,
    finalize: Finalize,
}

// SAFETY: handles are addresses of objects that live as long as the process, or numbers; MPI_THREAD_MULTIPLE was asked for, and without
// it one thread at a time calls, behind the lock of the group.
unsafe impl Send for Mpi {}

/// What [`end_all`] needs, which is called without the group's lock.
static ABORT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static WORLD: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// MPI_Abort, once MPI has begun.
fn end_all(code: i32) {
    let function = ABORT.load(Ordering::Acquire);
    if !function.is_null() {
        // SAFETY: the pointer was made of a function of this type in `begin`, from a library that is never closed.
        let abort = unsafe { std::mem::transmute::<*mut c_void, Abort>(function) };
        // SAFETY: MPI may be aborted from any thread while it runs; the handle is that of MPI_COMM_WORLD.
        unsafe { abort(WORLD.load(Ordering::Acquire), code) };
    }
}

/// A function of the library, which stays loaded.
fn function<T: Copy>(library: &Library, name: &'static str) -> Result<T, LinkError> {
    // SAFETY: T is the function's type in mpi.h, as the callers below write it.
    let found = unsafe { library.get::<T>(name.as_bytes()) };
    Ok(*found.map_err(|error| LinkError::NoMpi { details: format!("{name}: {error}") })?)
}

impl Handles {
    fn of(library: &Library) -> Self {
        let symbol = |name: &str| {
            // SAFETY: only the address is taken.
            let found = unsafe { library.get::<Handle>(name.as_bytes()) };
            found.ok().map(|symbol| symbol.as_raw_ptr())
        };
        let [world, float, byte, sum] = ["comm_world", "float", "byte", "op_sum"].map(|name| symbol(&format!("ompi_mpi_{name}")));
        match (world, float, byte, sum) {
            (Some(world), Some(float), Some(byte), Some(sum)) => Self { world, float, byte, sum, in_place: without_provenance(1) },
            // mpi.h of MPICH and of the libraries that keep to its binary interface.
            _ => Self {
                world: 0x4400_0000 as Handle,
                float: 0x4c00_040a as Handle,
                byte: 0x4c00_010d as Handle,
                sum: 0x5800_0003 as Handle,
                in_place: without_provenance(usize::MAX),
            },
        }
    }
}

fn load(launcher: &Launcher) -> Result<Library, LinkError> {
    let named = std::env::var(super::MPI_VARIABLE).ok();
    let usual = match launcher {
        Launcher::Mpich => [MPICH, OPEN_MPI],
        _ => [OPEN_MPI, MPICH],
    };
    let names = named.as_deref().map_or_else(|| usual.concat(), |name| vec![name]);
    let mut failures = Vec::new();
    for name in names {
        // SAFETY: a library of MPI does nothing that matters when it is loaded. Its own modules look for its symbols among all of the process.
        match unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(library) => return Ok(library),
            Err(error) => failures.push(error.to_string()),
        }
    }
    Err(LinkError::NoMpi { details: failures.join("; ") })
}

impl Mpi {
    /// Starts MPI, which must agree with the launcher's variables.
    pub fn begin(placement: &Placement) -> Result<Self, LinkError> {
        // MPI has threads of its own: its library is never closed.
        let library = Box::leak(Box::new(load(&placement.launcher)?));
        let handles = Handles::of(library);
        let init: Init = function(library, "MPI_Init_thread")?;
        let [rank, size]: [Ask; 2] = [function(library, "MPI_Comm_rank")?, function(library, "MPI_Comm_size")?];
        let abort: Abort = function(library, "MPI_Abort")?;
        let this = Self {
            handles,
            allreduce: function(library, "MPI_Allreduce")?,
            reduce: function(library, "MPI_Reduce")?,
            allgather: function(library, "MPI_Allgather")?,
            broadcast: function(library, "MPI_Bcast")?,
            finalize: function(library, "MPI_Finalize")?,
        };
        let mut provided = 0;
        // SAFETY: no arguments are passed on, which MPI allows, and it is called once: a process joins once.
        check("MPI_Init_thread", unsafe { init(null_mut(), null_mut(), THREAD_MULTIPLE, &raw mut provided) })?;
        WORLD.store(handles.world, Ordering::Release);
        ABORT.store(abort as *mut c_void, Ordering::Release);
        let ask = |name, function: Ask| {
            let mut number = 0;
            // SAFETY: MPI has begun; the number is written to.
            check(name, unsafe { function(handles.world, &raw mut number) })?;
            Ok::<usize, LinkError>(number as usize)
        };
        let library = (ask("MPI_Comm_rank", rank)?, ask("MPI_Comm_size", size)?);
        let launcher = (placement.rank, placement.size);
        if library == launcher {
            Ok(this)
        } else {
            Err(LinkError::OtherMpi { launcher, library })
        }
    }
}

fn check(function: &'static str, code: c_int) -> Result<(), LinkError> {
    if code == 0 {
        Ok(())
    } else {
        Err(LinkError::Mpi { function, code })
    }
}

impl Link for Mpi {
    fn sum(&mut self, values: &mut [f32]) -> Result<(), LinkError> {
        let Handles { world, float, sum, in_place, .. } = self.handles;
        values.chunks_mut(MOST).try_for_each(|chunk| {
            // SAFETY: `chunk` is valid for as many floats as are told, and MPI is told that they are input and output.
            let code = unsafe { (self.allreduce)(in_place, chunk.as_mut_ptr().cast(), chunk.len() as c_int, float, sum, world) };
            check("MPI_Allreduce", code)
        })
    }

    fn sum_parts(&mut self, values: &mut [f32], length: usize, rank: usize) -> Result<(), LinkError> {
        let Handles { world, float, sum, .. } = self.handles;
        // What the rank of a part sends is a copy: MPICH 4.0.2 crashed here with MPI_IN_PLACE, which it took for an address.
        let mut own = Vec::new();
        for (of, part) in values.chunks_mut(length.max(1)).enumerate() {
            for chunk in part.chunks_mut(MOST) {
                let (place, count) = (chunk.as_mut_ptr(), chunk.len() as c_int);
                let (from, to): (*const f32, *mut c_void) = if of == rank {
                    own.clear();
                    own.extend_from_slice(chunk);
                    (own.as_ptr(), place.cast())
                } else {
                    (place.cast_const(), null_mut())
                };
                // SAFETY: `from` holds as many floats as are told, and at the rank of the part `to` has room for them; they do not overlap.
                check("MPI_Reduce", unsafe { (self.reduce)(from.cast(), to, count, float, sum, of as c_int, world) })?;
            }
        }
        Ok(())
    }

    fn all_gather(&mut self, mine: &[u8], all: &mut [u8]) -> Result<(), LinkError> {
        let Handles { world, byte, .. } = self.handles;
        let ranks = all.len() / mine.len().max(1);
        let mut received = Vec::new();
        for (number, part) in mine.chunks(MOST).enumerate() {
            received.resize(part.len() * ranks, 0u8);
            let count = part.len() as c_int;
            // SAFETY: `part` holds the bytes that are sent, and `received` has room for as many of each rank.
            let code = unsafe { (self.allgather)(part.as_ptr().cast(), count, byte, received.as_mut_ptr().cast(), count, byte, world) };
            check("MPI_Allgather", code)?;
            for (of_rank, received) in all.chunks_exact_mut(mine.len()).zip(received.chunks_exact(part.len())) {
                of_rank[number * MOST..][..part.len()].copy_from_slice(received);
            }
        }
        Ok(())
    }

    fn broadcast(&mut self, bytes: &mut [u8]) -> Result<(), LinkError> {
        let Handles { world, byte, .. } = self.handles;
        bytes.chunks_mut(MOST).try_for_each(|chunk| {
            // SAFETY: `chunk` is valid for as many bytes as are told, to be read at rank 0 and written elsewhere.
            check("MPI_Bcast", unsafe { (self.broadcast)(chunk.as_mut_ptr().cast(), chunk.len() as c_int, byte, 0, world) })
        })
    }

    fn leave(&mut self) {
        ABORT.store(null_mut(), Ordering::Release);
        // SAFETY: MPI has begun, and nothing calls it any more: the group is gone after this.
        let _ = unsafe { (self.finalize)() };
    }

    fn abort(&self) -> EndAll {
        EndAll(Arc::new(end_all))
    }
}
