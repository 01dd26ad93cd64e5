//! Where in CubeCL's order a product of another library is computed.
//!
//! CubeCL gives each thread a CUDA stream of its own and shows it to nobody. Streams do not wait for each other, so a product must be
//! submitted to the very stream of its operands. There are two ways, the better first:
//!
//! * **The stream itself**, read out of the server's `Debug` text. It rests on the text of a crate that is pinned exactly, is checked
//!   against the driver (the stream must belong to the device's context), and then by a trial product ([`super::blas`]).
//! * **Events of the context**: a stream of our own waits for all that was submitted to the context, and everything later waits for the
//!   product. It needs CUDA 12.5, and costs four calls a product and any overlap with other streams.

use super::error::{BlasError, driver, memory};
use cubecl::cuda::CudaRuntime;
use cubecl::prelude::Runtime;
use cubecl::server::{Binding, ComputeServer};
use cubecl::stream_id::StreamId;
use cudarc::driver::result::{ctx, event, stream};
use cudarc::driver::sys::{self, CUcontext, CUdeviceptr, CUevent, CUevent_flags, CUevent_wait_flags, CUresult, CUstream};
use std::ffi::c_int;

/// What computes on a device's thread.
pub type Server = <CudaRuntime as Runtime>::Server;

/// What stands before the list of streams in the server's text, and before the handle in an element of the list.
const LIST: &str = "streams: StreamPool { streams: [";
const HANDLE: &str = "Some(StreamWrapper { stream: Stream { sys: 0x";

/// How work is put into CubeCL's order.
#[derive(Debug)]
pub enum Way {
    /// Into CubeCL's own streams.
    Streams(Pool),
    /// Into a stream of our own, between events of the context.
    Events(ContextEvents),
}

impl Way {
    /// Lets `work` submit to a stream, which it is given after the addresses of `memory`: there it waits for all that CubeCL's launches did to
    /// that memory before, and later ones wait for it. `stream` is that of the thread that asks.
    ///
    /// # Errors
    /// CubeCL does not give the memory, the driver fails, or what `work` returns.
    pub fn submit<T>(
        &mut self,
        server: &mut Server,
        bindings: Vec<Binding>,
        stream: StreamId,
        work: impl FnOnce(&[CUdeviceptr], CUstream) -> Result<T, BlasError>,
    ) -> Result<T, BlasError> {
        let origins: Vec<StreamId> = bindings.iter().map(|it| it.stream).filter(|it| *it != stream).collect();
        let resources = bindings.into_iter().map(|it| server.get_resource(it, stream).map_err(memory));
        // Held to the end of the function: then the work that uses them is in the stream.
        let resources = resources.collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<CUdeviceptr> = resources.iter().map(|it| it.resource().ptr).collect();
        let show = || format!("{server:?}");
        match self {
            // All work of our own stream is in one order with that of all others.
            Self::Events(events) => {
                events.before()?;
                let done = work(&addresses, events.stream)?;
                events.after()?;
                Ok(done)
            }
            Self::Streams(pool) => {
                let submitted = pool.stream(stream, show)?;
                let mut readers = origins.iter().map(|it| pool.stream(*it, show)).collect::<Result<Vec<_>, _>>()?;
                readers.sort_unstable();
                readers.dedup();
                readers.retain(|it| *it != submitted);
                let done = work(&addresses, submitted)?;
                // Memory of another stream may be given away there as soon as nobody holds it.
                for reader in readers {
                    wait(reader, submitted)?;
                }
                Ok(done)
            }
        }
    }
}

/// The handles of CubeCL's streams by their number, the last one for its internal use; `None` where none was made yet.
///
/// `None` in all if the text has another form than expected.
pub fn handles(text: &str) -> Option<Vec<Option<usize>>> {
    let list = &text[text.find(LIST)? + LIST.len()..];
    let (mut depth, mut from, mut elements) = (0usize, 0, Vec::new());
    for (at, letter) in list.char_indices() {
        match letter {
            '[' | '{' | '(' => depth += 1,
            ']' if depth == 0 => {
                elements.push(&list[from..at]);
                return elements.into_iter().map(handle).collect();
            }
            ']' | '}' | ')' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                elements.push(&list[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    None
}

/// An element of the list: `None` if it is neither a stream nor an empty place.
fn handle(element: &str) -> Option<Option<usize>> {
    let element = element.trim();
    if element == "None" {
        return Some(None);
    }
    let digits = element.strip_prefix(HANDLE)?.split(',').next()?;
    usize::from_str_radix(digits, 16).ok().filter(|handle| *handle != 0).map(Some)
}

/// CubeCL's streams that were looked for, at their places; empty before the first. Threads share the places in turn.
#[derive(Debug, Default)]
pub struct Pool {
    found: Vec<Option<CUstream>>,
}

impl Pool {
    /// The stream of a thread, for the device whose context is current. `show` gives the text of CubeCL's server.
    ///
    /// # Errors
    /// The text has another form, the stream does not exist or belongs to another context than the current one, which is the device's.
    pub fn stream(&mut self, id: StreamId, show: impl FnOnce() -> String) -> Result<CUstream, BlasError> {
        let place = |places: usize| (id.value as usize).checked_rem(places);
        if let Some(found) = place(self.found.len()).and_then(|at| self.found[at]) {
            return Ok(found);
        }
        let handles = handles(&show()).ok_or(BlasError::NoStream)?;
        // The last place is not given to threads.
        let places = handles.len().saturating_sub(1);
        let at = place(places).ok_or(BlasError::NoStream)?;
        let stream = in_context(handles[at].ok_or(BlasError::NoStream)?)?;
        self.found.resize(places, None);
        self.found[at] = Some(stream);
        Ok(stream)
    }
}

/// A handle that CubeCL's server showed, as a stream of the current context.
fn in_context(handle: usize) -> Result<CUstream, BlasError> {
    let stream = handle as CUstream;
    let mut context: CUcontext = std::ptr::null_mut();
    // SAFETY: the handle stands where the pinned version of CubeCL shows the one that the driver gave it, which it never destroys.
    unsafe { sys::cuStreamGetCtx(stream, &mut context) }
        .result()
        .map_err(driver("cuStreamGetCtx"))?;
    let current = ctx::get_current().map_err(driver("cuCtxGetCurrent"))?;
    if current == Some(context) {
        Ok(stream)
    } else {
        Err(BlasError::NoStream)
    }
}

/// Lets what is submitted to `later` from now on wait for all that was submitted to `earlier`.
///
/// # Errors
/// The driver fails.
fn wait(later: CUstream, earlier: CUstream) -> Result<(), BlasError> {
    let event = event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(driver("cuEventCreate"))?;
    // SAFETY: both streams live as long as CubeCL's server; an event may be destroyed while it is waited for.
    unsafe {
        let recorded = event::record(event, earlier).map_err(driver("cuEventRecord"));
        let waiting = recorded.and_then(|()| {
            stream::wait_event(later, event, CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT).map_err(driver("cuStreamWaitEvent"))
        });
        let destroyed = event::destroy(event).map_err(driver("cuEventDestroy"));
        waiting.and(destroyed)
    }
}

/// A stream between events of the context. It is never destroyed, as CubeCL's are not.
#[derive(Debug, Clone, Copy)]
pub struct ContextEvents {
    /// Where the product goes.
    pub stream: CUstream,
    context: CUcontext,
    event: CUevent,
    record: unsafe extern "C" fn(CUcontext, CUevent) -> c_int,
    wait: unsafe extern "C" fn(CUcontext, CUevent) -> c_int,
}

impl ContextEvents {
    /// For the current context.
    ///
    /// # Errors
    /// The driver lacks the functions, or fails.
    pub fn new() -> Result<Self, BlasError> {
        let context = ctx::get_current().ok().flatten().ok_or(BlasError::NoStream)?;
        let (record, wait) = context_functions().ok_or(BlasError::NoStream)?;
        let stream = stream::create(stream::StreamKind::NonBlocking).map_err(driver("cuStreamCreate"))?;
        let event = event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(driver("cuEventCreate"))?;
        Ok(Self { stream, context, event, record, wait })
    }

    /// Lets the stream wait for all that was submitted to the context.
    ///
    /// # Errors
    /// The driver fails.
    pub fn before(&self) -> Result<(), BlasError> {
        // SAFETY: context, event and stream live as long as the process, and the functions have these types since CUDA 12.5.
        unsafe {
            result((self.record)(self.context, self.event), "cuCtxRecordEvent")?;
            stream::wait_event(self.stream, self.event, CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT).map_err(driver("cuStreamWaitEvent"))
        }
    }

    /// Lets all that is submitted to the context from now on wait for the stream.
    ///
    /// # Errors
    /// The driver fails.
    pub fn after(&self) -> Result<(), BlasError> {
        // SAFETY: as in `before`.
        unsafe {
            event::record(self.event, self.stream).map_err(driver("cuEventRecord"))?;
            result((self.wait)(self.context, self.event), "cuCtxWaitEvent")
        }
    }
}

/// `cuCtxRecordEvent` and `cuCtxWaitEvent`. They are not taken from cudarc, which declares them only where it is built beside CUDA 12.5.
#[allow(clippy::type_complexity)]
fn context_functions() -> Option<(unsafe extern "C" fn(CUcontext, CUevent) -> c_int, unsafe extern "C" fn(CUcontext, CUevent) -> c_int)> {
    let names = ["libcuda.so", "libcuda.so.1"];
    // SAFETY: CubeCL uses the library already, so this only counts its users up; the types are those of cuda.h.
    unsafe {
        let library = names.iter().find_map(|name| libloading::Library::new(*name).ok())?;
        let found = (*library.get("cuCtxRecordEvent").ok()?, *library.get("cuCtxWaitEvent").ok()?);
        std::mem::forget(library);
        Some(found)
    }
}

fn result(code: c_int, call: &'static str) -> Result<(), BlasError> {
    if code == CUresult::CUDA_SUCCESS as c_int {
        return Ok(());
    }
    Err(BlasError::Driver { call, code: format!("error {code}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(elements: &str) -> String {
        format!("CudaServer {{ streams: MultiStream {{ streams: StreamPool {{ streams: [{elements}], factory: F }} }} }}")
    }

    const STREAM: &str =
        "Some(StreamWrapper { stream: Stream { sys: 0x7f10, pools: [(1, 2), (3, 4)], errors: [] }, cursor: 3, last_synced: {} })";

    #[test]
    fn streams_have_their_places() {
        let found = handles(&text(&format!("None, {STREAM}, None")));
        assert_eq!(found, Some(vec![None, Some(0x7f10), None]));
    }

    /// What is not exactly as expected is no stream.
    #[test]
    fn another_text_has_no_streams() {
        for wrong in [
            "",
            "CudaServer { streams: [] }",
            &text("Some(Other { stream: 0x7f10 })"),
            &text("Some(StreamWrapper { stream: Stream { sys: 0x0, pools: [] } })"),
            &text("None, None").replace("], factory", ", factory"),
        ] {
            assert_eq!(handles(wrong), None, "{wrong}");
        }
    }
}
