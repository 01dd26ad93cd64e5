//! Tensors on a GPU, random numbers, and the comparison with float64 references.
//!
//! Tests run on a Vulkan device, a software one included; built with feature `cuda` and without `vulkan`, on an NVIDIA GPU, where bf16 takes
//! the matrix units: `cargo test --release -p pixgen-cubecl --features cuda`.

use burn_backend::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use half::bf16;

#[cfg(not(feature = "vulkan"))]
pub use cubecl::cuda::CudaRuntime as TestRuntime;
#[cfg(feature = "vulkan")]
pub use cubecl::wgpu::WgpuRuntime as TestRuntime;

/// Name of the backend in what is printed.
const BACKEND: &str = if cfg!(feature = "vulkan") { "vulkan" } else { "cuda" };

/// A tensor on the test device.
pub type Tensor = CubeTensor<TestRuntime>;

/// The test device.
pub fn device() -> <TestRuntime as Runtime>::Device {
    Default::default()
}

/// The types that activations are stored in.
pub const TYPES: [DType; 2] = [DType::F32, DType::BF16];

/// Largest relative error allowed.
pub fn limit(dtype: DType) -> f64 {
    if dtype == DType::F32 { 1e-4 } else { 2e-2 }
}

/// `count` numbers in [-1, 1), as a device stores them in `dtype`.
pub fn random(count: usize, seed: u64, dtype: DType) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let value = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
        f64::from(if dtype == DType::BF16 {
            bf16::from_f32(value).to_f32()
        } else {
            value
        })
    };
    (0..count).map(next).collect()
}

/// A tensor of these values.
pub fn upload(values: &[f64], shape: &[usize], dtype: DType) -> Tensor {
    assert_eq!(values.len(), shape.iter().product::<usize>());
    let device = device();
    let client = TestRuntime::client(&device);
    let handle = match dtype {
        DType::F32 => client.create_from_slice(f32::as_bytes(&values.iter().map(|&v| v as f32).collect::<Vec<_>>())),
        DType::BF16 => {
            let bits: Vec<u16> = values.iter().map(|&v| bf16::from_f64(v).to_bits()).collect();
            client.create_from_slice(u16::as_bytes(&bits))
        }
        other => panic!("{other:?}"),
    };
    Tensor::new_contiguous(client, device, shape.to_vec().into(), handle, dtype)
}

/// The values of a contiguous tensor.
pub fn download(tensor: &Tensor) -> Vec<f64> {
    let bytes = tensor.client.read_one(tensor.handle.clone()).expect("the device answers");
    let count = tensor.meta.num_elements();
    match tensor.dtype {
        DType::F32 => f32::from_bytes(&bytes)[..count].iter().map(|&v| f64::from(v)).collect(),
        DType::BF16 => u16::from_bytes(&bytes)[..count].iter().map(|&v| bf16::from_bits(v).to_f64()).collect(),
        other => panic!("{other:?}"),
    }
}

/// The largest relative errors of an operation's results, printed by [`Report::end`].
#[derive(Default)]
pub struct Report(Vec<(String, DType, f64)>);

impl Report {
    /// Compares a result with its reference: max |got - want| / max |want|.
    pub fn check(&mut self, name: &str, dtype: DType, got: &Tensor, want: &[f64], case: &str) {
        let got = download(got);
        assert_eq!(got.len(), want.len(), "{name} {case}: elements");
        let scale = want.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
        let (at, error) = got
            .iter()
            .zip(want)
            .map(|(g, w)| (g - w).abs() / scale)
            .enumerate()
            .fold((0, 0.0), |worst, (i, e)| if e > worst.1 || e.is_nan() { (i, e) } else { worst });
        assert!(error < limit(dtype), "{name} {dtype:?} {case}: error {error:e}, at {at} {} instead of {}", got[at], want[at]);
        match self.0.iter_mut().find(|(n, t, _)| n == name && *t == dtype) {
            Some(entry) => entry.2 = entry.2.max(error),
            None => self.0.push((name.to_owned(), dtype, error)),
        }
    }

    /// Prints a line for each result and type; `tests/run.sh` collects them.
    pub fn end(self) {
        for (name, dtype, error) in self.0 {
            println!("max relative error | {BACKEND} | {name} | {dtype:?} | {error:.1e}");
        }
    }
}
