//! Safe Rust for any core.

use super::{Kernel, Rows, Sink};

/// Dot products one after another; the compiler vectorises them where it can.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Kernel for Portable {
    const NAME: &'static str = "portable";

    fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, _scratch: &mut [u32], sink: &mut S) {
        for o in 0..w.count() {
            let weights = w.row(o);
            let [start] = sink.start(o);
            for t in 0..x.count() {
                sink.put_one(t, o, dot(start, x.row(t), weights));
            }
        }
    }
}

fn dot(start: i32, a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).fold(start, |sum, (&x, &y)| sum.wrapping_add(i32::from(x) * i32::from(y)))
}
