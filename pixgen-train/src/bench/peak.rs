//! The fastest that this machine multiplies matrices: what the speed of a step is compared with.

use super::median;
use crate::ops::FusedOps;
use crate::precision::Precision;
use burn_tensor::{Distribution, Tensor, TensorPrimitive};
use pixgen_edge::matmul::{Into, Matrix, MatrixMut, Threads, matmul};
use std::time::Instant;

/// Rows and columns of the matrices on the CPU.
const CPU_SIDE: usize = 1536;
/// Rows and columns of the matrices on a GPU, the fewest and the most. The most are 44 TFLOP together, too many for a software device.
const GPU_SIDES: [usize; 2] = [256, 8192];
/// Seconds that all products on a GPU may take by the smaller ones before them.
const GPU_SECONDS: f64 = 5.0;
/// Products, of which the fastest counts, and on a GPU the median, since one that starts cool is faster than any later one.
const REPEATS: usize = 7;
/// Products between two looks at the clock on a GPU, so that the way there and back does not count.
const IN_A_ROW: usize = 5;

/// GFLOP/s of a square product: on the CPU in f32 on the threads of the current pool, on a GPU in the precision of the run with the
/// kernel that training takes.
pub fn measure<B: FusedOps>(precision: Precision, device: &B::Device) -> f64 {
    let (side, seconds) = if B::MICRO_BATCH_TOKENS.is_some() {
        (CPU_SIDE, on_cpu(CPU_SIDE))
    } else {
        on_gpu::<B>(precision, device)
    };
    2e-9 * (side * side * side) as f64 / seconds
}

fn on_cpu(side: usize) -> f64 {
    let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 50.0;
    let a: Vec<f32> = (0..side * side).map(value).collect();
    let b: Vec<f32> = (0..side * side).map(|i| value(i + 7)).collect();
    let mut c = vec![0.0; side * side];
    let times = (0..REPEATS).map(|_| {
        let started = Instant::now();
        let (a, b) = (Matrix::new(&a, side, side), Matrix::new(&b, side, side));
        matmul(MatrixMut::new(&mut c, side, side), Into::Overwrite, 1.0, a, b, Threads::Pool);
        started.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

/// The side of the largest matrices that there is time for, and the seconds of their product.
fn on_gpu<B: FusedOps>(precision: Precision, device: &B::Device) -> (usize, f64) {
    let [mut side, most] = GPU_SIDES;
    loop {
        let once = products::<B>(side, precision, device);
        once();
        let next = (4 * side).min(most);
        let growth = (next as f64 / side as f64).powi(3);
        if side == most || once() * growth * ((REPEATS + 1) * IN_A_ROW) as f64 > GPU_SECONDS {
            return (side, median((0..REPEATS).map(|_| once()).collect()));
        }
        side = next;
    }
}

/// Makes matrices; what it returns multiplies them, and says the seconds of a product. The first call compiles.
fn products<B: FusedOps>(side: usize, precision: Precision, device: &B::Device) -> impl Fn() -> f64 {
    let random = || {
        let values = Tensor::<B, 2>::random([side, side], Distribution::Normal(0.0, 1.0), device).cast(precision.dtype());
        values.into_primitive().tensor()
    };
    let (a, b) = (random(), random());
    move || {
        let started = Instant::now();
        for _ in 0..IN_A_ROW {
            drop(Tensor::<B, 2>::from_primitive(TensorPrimitive::Float(B::fused_linear(a.clone(), b.clone(), None))));
        }
        // A failed device fails again in the first step.
        let _ = B::sync(device);
        started.elapsed().as_secs_f64() / IN_A_ROW as f64
    }
}
