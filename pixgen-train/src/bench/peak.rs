//! The fastest that this machine multiplies matrices: what the speed of a step is compared with.

use pixgen_edge::matmul::{Into, Matrix, MatrixMut, Threads, matmul};
use std::time::Instant;

/// Rows and columns of the matrices.
const SIDE: usize = 1536;
/// Products, of which the fastest counts.
const REPEATS: usize = 7;

/// GFLOP/s of a square f32 product on the threads of the current pool.
pub fn measure() -> f64 {
    let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 50.0;
    let a: Vec<f32> = (0..SIDE * SIDE).map(value).collect();
    let b: Vec<f32> = (0..SIDE * SIDE).map(|i| value(i + 7)).collect();
    let mut c = vec![0.0; SIDE * SIDE];
    let mut fastest = f64::INFINITY;
    for _ in 0..REPEATS {
        let started = Instant::now();
        let (a, b) = (Matrix::new(&a, SIDE, SIDE), Matrix::new(&b, SIDE, SIDE));
        matmul(MatrixMut::new(&mut c, SIDE, SIDE), Into::Overwrite, 1.0, a, b, Threads::Pool);
        fastest = fastest.min(started.elapsed().as_secs_f64());
    }
    2e-9 * (SIDE * SIDE * SIDE) as f64 / fastest
}
