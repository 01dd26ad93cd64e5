//! Work of other libraries of CUDA on CubeCL's memory, in the order of its launches: the way of cuBLASLt ([`super`]) for whoever is not in
//! this crate.

use super::error::{BlasError, memory};
use super::stream::{ContextEvents, Pool, Server, Way};
use super::{is_cuda, on_device};
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::device::Device;
use cubecl::server::{Binding, ComputeServer};
use cubecl::stream_id::StreamId;
use cudarc::driver::result::stream::synchronize;
use cudarc::driver::sys::CUdeviceptr;
use std::cell::RefCell;
use std::ffi::c_void;

thread_local! {
    /// Of the device whose thread this is.
    static WAY: RefCell<Option<Way>> = const { RefCell::new(None) };
}

/// Calls `work` with the addresses of contiguous tensors of one device and a `CUstream`, on the thread of the device, whose context is
/// current there. Then waits until the stream has done what was submitted to it.
///
/// What `work` submits comes after all that CubeCL's launches do to these tensors so far, and before all that they will do.
///
/// # Errors
/// The tensors are not CUDA's or there are none, CubeCL does not give their memory, or the driver fails.
///
/// # Safety
/// `work` submits to this stream only, and what it submits reads and writes nothing but these tensors.
pub unsafe fn submit<R: CubeRuntime, T: Send>(
    tensors: &[&CubeTensor<R>],
    work: impl FnOnce(&[CUdeviceptr], *mut c_void) -> T + Send,
) -> Result<T, BlasError> {
    let Some(first) = tensors.first().filter(|_| is_cuda::<R>()) else {
        return Err(BlasError::Memory { message: "no tensors of CUDA".to_owned() });
    };
    let (id, stream) = (first.device.to_id(), StreamId::current());
    let bindings: Vec<Binding> = tensors.iter().map(|it| it.handle.clone().binding()).collect();
    on_device(id, move |server| {
        WAY.with(|it| {
            let mut it = it.try_borrow_mut().map_err(memory)?;
            let way = match &mut *it {
                Some(way) => way,
                None => it.insert(find(server, bindings[0].clone(), stream)?),
            };
            way.submit(server, bindings, stream, |addresses, stream| {
                let done = work(addresses, stream.cast());
                // SAFETY: the stream was found or made for the current context and is never destroyed.
                unsafe { synchronize(stream) }.map_err(super::error::driver("cuStreamSynchronize"))?;
                Ok(done)
            })
        })
    })
}

/// CubeCL's own streams if they can be found, and otherwise one between events of the context. `any` is memory of the device.
fn find(server: &mut Server, any: Binding, stream: StreamId) -> Result<Way, BlasError> {
    // Makes the device's context current, and a stream for the thread.
    server.get_resource(any, stream).map_err(memory)?;
    let mut pool = Pool::default();
    match pool.stream(stream, || format!("{server:?}")) {
        Ok(_) => Ok(Way::Streams(pool)),
        Err(BlasError::NoStream) => Ok(Way::Events(ContextEvents::new()?)),
        Err(error) => Err(error),
    }
}
