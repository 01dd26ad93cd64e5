//! Launches on a CUDA device every kind of matrix product that training EPG-L/16 at 256 x 256 needs, for `tests/cuda/compile.sh`, which
//! shows without a GPU what the kernels take:
//!
//! ```text
//! cargo build --release --workspace --features pixgen-train/cuda --example matmul_kernels
//! tests/cuda/compile.sh -- $CARGO_TARGET_DIR/release/examples/matmul_kernels
//! ```

use burn_backend::DType;
use burn_cubecl::tensor::CubeTensor;
use burn_std::Metadata;
use cubecl::Runtime;
use cubecl::cuda::CudaRuntime;
use pixgen_cubecl::device::cuda;
use pixgen_cubecl::matmul;
use std::error::Error;

type Tensor = CubeTensor<CudaRuntime>;

/// Images times tokens: numbers that tiles divide, for which kernels have no checks of bounds, or do not; for each of them one whose cubes
/// make whole strips, and one whose cubes do not.
const ROWS: [usize; 4] = [4 * 258, 65 * 258, 64 * 258, 256 * 258];

/// Widths of inputs and outputs: fused query, key and value; the MLP; the patches of 16 x 16 x 3; the long skips.
const LAYERS: [[usize; 2]; 5] = [[1024, 3072], [1024, 4096], [4096, 1024], [768, 1024], [2048, 1024]];

fn main() -> Result<(), Box<dyn Error>> {
    let (device, report) = cuda::open(0)?;
    println!("{report}");
    let client = CudaRuntime::client(&device);
    let tensor = |shape: [usize; 2], dtype: DType| {
        let handle = client.empty(shape[0] * shape[1] * dtype.size());
        Tensor::new_contiguous(client.clone(), device.clone(), shape.into(), handle, dtype)
    };
    let transposed = |mut it: Tensor| {
        let [rows, columns] = [it.meta.shape()[0], it.meta.shape()[1]];
        *it.meta = Metadata::new([columns, rows], [1, columns]);
        it
    };
    for dtype in [DType::F32, DType::BF16] {
        for (rows, [inputs, outputs]) in ROWS.iter().flat_map(|rows| LAYERS.map(|layer| (*rows, layer))) {
            let (x, w, dy) = (tensor([rows, inputs], dtype), tensor([inputs, outputs], dtype), tensor([rows, outputs], dtype));
            matmul(x.clone(), w.clone(), dtype)?;
            matmul(dy.clone(), transposed(w), dtype)?;
            // Gradients of weights are summed over batches, so they are kept in f32.
            matmul(transposed(x), dy, DType::F32)?;
        }
    }
    cubecl::future::block_on(client.sync())?;
    Ok(())
}
