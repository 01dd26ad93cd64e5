//! Launches what the trainer does beside the network on a CUDA device (buffers of parameters, dropout, images, NT-Xent); under a stub
//! driver, what is compiled.
use burn_backend::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::cuda::{CudaDevice, CudaRuntime};
use cubecl::prelude::*;
use pixgen_cubecl::optimiser::{self, AdamW, Master};
use pixgen_cubecl::{Result, dropout, images, nt_xent};

type Tensor = CubeTensor<CudaRuntime>;

fn tensor(shape: &[usize], dtype: DType) -> Tensor {
    let device = CudaDevice::default();
    let client = CudaRuntime::client(&device);
    let zeros = vec![0u8; shape.iter().product::<usize>() * dtype.size()];
    let handle = client.create_from_slice(&zeros);
    Tensor::new_contiguous(client, device, shape.to_vec().into(), handle, dtype)
}

/// Waits for the launches before it.
fn wait(tensor: &Tensor, what: &str) {
    let bytes = tensor.client.read_one(tensor.handle.clone()).expect("the device answers");
    eprintln!("{what}: {} bytes", bytes.len());
}

fn main() -> Result<()> {
    let f32s = |shape: &[usize]| tensor(shape, DType::F32);
    for len in [4096, 5] {
        let buffer = || f32s(&[len]);
        let p = buffer();
        optimiser::add_all(&p, &buffer())?;
        optimiser::lerp(&Master { values: &p, rounded: None }, &buffer(), 0.5)?;
        optimiser::zero(&p)?;
        eprintln!("norm {}", optimiser::norm(&p)?);
    }
    let buffer = || f32s(&[4096]);
    let settings = AdamW {
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        step_size: 1e-3,
        bias_correction2: 0.5,
        learning_rate: 1e-4,
        gradient_scale: 1.0,
    };
    let p = buffer();
    for count in 0..=4 {
        let copy = (count % 2 == 0).then(|| optimiser::rounded(&p)).transpose()?;
        let averages: Vec<Tensor> = (0..count).map(|_| buffer()).collect();
        let pairs: Vec<(&Tensor, f32)> = averages.iter().map(|average| (average, 0.1)).collect();
        let master = Master { values: &p, rounded: copy.as_ref() };
        optimiser::adamw(&master, &buffer(), &buffer(), &buffer(), &pairs, settings, &f32s(&[16]))?;
    }
    for dtype in [DType::F32, DType::BF16] {
        for width in [64, 6, 5] {
            optimiser::add_into(&p, 256, tensor(&[3, width], dtype))?;
            wait(&dropout::dropout(tensor(&[2, 3, width], dtype), 1, &[1, 2], 0, 1 << 30, 1.5)?, "dropout");
        }
    }
    for width in [12, 6, 5] {
        let batch = || f32s(&[2, 7, width]);
        let factor = || f32s(&[2]);
        wait(&images::weighted_sum(batch(), batch(), factor(), factor())?, "weighted sum");
        let [dx, _] = images::weighted_sum_backward(factor(), factor(), batch(), [true; 2])?;
        wait(&dx.expect("wanted"), "weighted sum backward");
        wait(&images::consistency_loss(batch(), batch(), batch(), factor(), factor(), factor(), 0.1)?.1, "consistency loss");
    }
    for width in [128, 30] {
        let (queries, keys) = (|| f32s(&[100, width]), || f32s(&[200, width]));
        let (_, lse) = nt_xent::nt_xent(queries(), keys(), 100, 0.1)?;
        let [_, dk] = nt_xent::nt_xent_backward(queries(), keys(), lse, 100, 0.1, f32s(&[1]), [true; 2])?;
        wait(&dk.expect("wanted"), "nt-xent");
    }
    Ok(())
}
