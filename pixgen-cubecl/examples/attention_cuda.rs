//! Launches attention on a CUDA device; under a stub driver, what is compiled.
use burn_backend::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::cuda::{CudaDevice, CudaRuntime};
use cubecl::prelude::*;

fn main() {
    let device = CudaDevice::default();
    let client = CudaRuntime::client(&device);
    let tokens = 258;
    for dtype in [DType::BF16, DType::F32] {
        for head in [64usize, 72, 120, 128] {
            let make = |width: usize| {
                let shape = [1, tokens, width];
                let handle = client.empty(tokens * width * dtype.size());
                CubeTensor::<CudaRuntime>::new_contiguous(client.clone(), device.clone(), shape.to_vec().into(), handle, dtype)
            };
            let (out, lse) = pixgen_cubecl::attention::forward_train(make(3 * head), 1).unwrap();
            let _ = client.read_one(out.handle.clone());
            eprintln!("{dtype:?} {head} forward");
            let dqkv = pixgen_cubecl::attention::backward(make(3 * head), out, lse, 1, make(head)).unwrap();
            let _ = client.read_one(dqkv.handle.clone());
            eprintln!("{dtype:?} {head} backward");
        }
    }
}
