//! Launches kernels of rows and columns on a CUDA device; under a stub driver, what is compiled.

#![allow(clippy::unwrap_used)] // an error ends the program

use burn_backend::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::cuda::{CudaDevice, CudaRuntime};
use cubecl::prelude::*;
use pixgen_cubecl::rows::Chunks;
use pixgen_cubecl::{columns, epilogue, modulate, norm, skip, tokens};

fn main() {
    let device = CudaDevice::default();
    let client = CudaRuntime::client(&device);
    let (b, t) = (4usize, 258usize);
    let chunks = Chunks { shift: 3, scale: 4 };
    for dtype in [DType::BF16, DType::F32] {
        for d in [256usize, 768, 1024, 1584, 1920, 2688, 63] {
            let make = |shape: &[usize], dtype: DType| {
                let handle = client.empty(shape.iter().product::<usize>() * dtype.size());
                CubeTensor::<CudaRuntime>::new_contiguous(client.clone(), device.clone(), shape.to_vec().into(), handle, dtype)
            };
            let x = || make(&[b, t, d], dtype);
            let v = || make(&[d], DType::F32);
            let m = || make(&[b, 6 * d], dtype);
            norm::layer_norm(x(), v(), v()).unwrap();
            norm::layer_norm_backward(x(), v(), x(), [true; 3]).unwrap();
            norm::layer_norm_backward(x(), v(), x(), [true, false, false]).unwrap();
            modulate::norm_modulate(x(), v(), v(), m(), chunks).unwrap();
            modulate::norm_modulate_backward(x(), v(), v(), m(), chunks, x(), [true; 4]).unwrap();
            modulate::gated_residual(x(), x(), m(), 5).unwrap();
            modulate::gated_residual_backward(x(), m(), 5, x(), [true; 3]).unwrap();
            modulate::gated_residual_backward(x(), m(), 5, x(), [false, false, true]).unwrap();
            epilogue::add_bias(x(), v()).unwrap();
            let shared = x();
            epilogue::add_bias(shared.clone(), v()).unwrap();
            epilogue::bias_gelu(x(), v()).unwrap();
            epilogue::gelu_backward(x(), x(), v()).unwrap();
            columns::column_sum(x()).unwrap();
            let joined = skip::concat_last(x(), make(&[b, t, 768], dtype)).unwrap();
            skip::split_last(joined, d).unwrap();
            tokens::tokens(make(&[b, 2, d], dtype), make(&[b, 256, d], dtype), make(&[258, d], DType::F32)).unwrap();
            let [_, _, last] = tokens::tokens_backward(x(), 2, [true; 3]).unwrap();
            let _ = client.read_one(last.unwrap().handle);
            eprintln!("{dtype:?} {d}");
        }
    }
}
