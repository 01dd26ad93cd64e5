//! What the GPUs of all ranks do together without the host's memory, if something joins them: NCCL, for CUDA.

use super::Collective;
use super::exchange::Exchange;
use burn_cubecl::CubeRuntime;
#[cfg(all(unix, feature = "cuda"))]
use {
    super::link::LinkError, super::nccl, burn_cubecl::ops::numeric::empty_device_dtype, burn_cubecl::tensor::CubeTensor,
    burn_tensor::DType, pixgen_edge::terminal::note,
};

/// Joins the GPUs of all ranks, each of which computes on `device`. Where that is not possible and should be, the process ends as
/// [`Collective::fail`] says.
#[cfg(all(unix, feature = "cuda"))]
pub fn connect<R: CubeRuntime>(ranks: &Collective, device: &R::Device) {
    if ranks.is_alone() || !pixgen_cubecl::cuda::is_cuda::<R>() || nccl::is_off() {
        return;
    }
    let version = join::<R>(ranks, device).unwrap_or_else(|error| ranks.fail(&error, error.hint()));
    trial::<R>(ranks, device).unwrap_or_else(|error| ranks.fail(&error, error.hint()));
    if ranks.is_first() {
        let [major, minor, patch] = [version / 10_000, version / 100 % 100, version % 100];
        note(&format!("{} GPUs joined by NCCL {major}.{minor}.{patch}", ranks.size()));
    }
}

/// Joins them, and returns the library's version.
#[cfg(all(unix, feature = "cuda"))]
fn join<R: CubeRuntime>(ranks: &Collective, device: &R::Device) -> Result<i32, LinkError> {
    let mut opened = nccl::open(ranks.is_first())?;
    ranks.broadcast(&mut opened.id.0);
    let any = floats::<R>(device, 1);
    let nccl = ranks.waiting(|| nccl::join(&opened, ranks.size(), ranks.rank(), &any))?;
    ranks.join_devices(nccl);
    Ok(opened.version)
}

/// Numbers on the device, not set.
#[cfg(all(unix, feature = "cuda"))]
fn floats<R: CubeRuntime>(device: &R::Device, len: usize) -> CubeTensor<R> {
    empty_device_dtype(R::client(device), device.clone(), [len].into(), DType::F32)
}

/// Adds up numbers that tell the ranks apart. Where work does not wait for what comes before it, or a library is not what it says, the sum
/// is wrong.
#[cfg(all(unix, feature = "cuda"))]
fn trial<R: CubeRuntime>(ranks: &Collective, device: &R::Device) -> Result<(), LinkError> {
    const COUNT: usize = 1000;
    let client = R::client(device);
    let mine: Vec<f32> = (0..COUNT).map(|at| (at * (ranks.rank() + 1)) as f32).collect();
    let mut tensor = floats::<R>(device, COUNT);
    tensor.handle = client.create_from_slice(bytemuck::cast_slice(&mine));
    together(ranks, &Exchange::Sum(&tensor));
    let bytes = client
        .read_one(tensor.handle)
        .map_err(|error| LinkError::Device { details: format!("{error:?}") })?;
    let times = ranks.size() * (ranks.size() + 1) / 2;
    let found = bytes
        .chunks_exact(4)
        .map(|bytes| f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    for (at, found) in found.enumerate() {
        let wanted = (at * times) as f32;
        if found != wanted {
            return Err(LinkError::Device { details: format!("a trial sum of NCCL is {found} instead of {wanted}") });
        }
    }
    Ok(())
}

/// Does it, and waits for it. `false` if nothing joins the GPUs: then nothing was done.
#[cfg(all(unix, feature = "cuda"))]
pub fn together<R: CubeRuntime>(ranks: &Collective, exchange: &Exchange<'_, R>) -> bool {
    let done = ranks.on_devices(|nccl| nccl.run(exchange));
    if done {
        let (rounds, tensor) = exchange.around();
        ranks.count(rounds, tensor.meta.num_elements() * tensor.dtype.size());
    }
    done
}

/// Nothing joins other GPUs.
#[cfg(not(all(unix, feature = "cuda")))]
pub const fn connect<R: CubeRuntime>(_: &Collective, _: &R::Device) {}

/// Nothing joins other GPUs.
#[cfg(not(all(unix, feature = "cuda")))]
pub const fn together<R: CubeRuntime>(_: &Collective, _: &Exchange<'_, R>) -> bool {
    false
}
