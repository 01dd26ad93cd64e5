//! Launches attention, forward and backward, on a CUDA device, for `tests/cuda/interpret.sh`, which shows without a GPU what the kernels
//! compute:
//!
//! ```text
//! cargo build --release --workspace --features pixgen-train/cuda --example attention_kernels
//! tests/cuda/interpret.sh
//! ```
//!
//! Arguments are cases, `TOKENSxHEAD`; each is one image with two heads in bf16, except that 258 tokens have one head.

use burn_backend::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::Runtime;
use cubecl::cuda::CudaRuntime;
use pixgen_cubecl::attention;
use pixgen_cubecl::device::cuda;
use std::error::Error;

type Tensor = CubeTensor<CudaRuntime>;

fn main() -> Result<(), Box<dyn Error>> {
    let (device, report) = cuda::open(0)?;
    println!("{report}");
    let client = CudaRuntime::client(&device);
    for case in std::env::args().skip(1) {
        let (tokens, head) = case.split_once('x').ok_or_else(|| format!("{case} is not TOKENSxHEAD"))?;
        let (tokens, head): (usize, usize) = (tokens.parse()?, head.parse()?);
        let heads = if tokens == 258 { 1 } else { 2 };
        let tensor = |parts: usize| {
            let shape = [1, tokens, parts * heads * head];
            let handle = client.empty(shape.iter().product::<usize>() * DType::BF16.size());
            Tensor::new_contiguous(client.clone(), device.clone(), shape.into(), handle, DType::BF16)
        };
        let qkv = tensor(3);
        let (out, lse) = attention::forward_train(qkv.clone(), heads)?;
        attention::backward(qkv, out, lse, heads, tensor(1))?;
        cubecl::future::block_on(client.sync())?;
    }
    Ok(())
}
