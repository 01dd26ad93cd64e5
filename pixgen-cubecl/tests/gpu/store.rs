//! bf16 by integer operations, on a GPU, against the `half` crate bit by bit.

use crate::common::TestRuntime;
use cubecl::prelude::*;
use half::bf16;
use pixgen_cubecl::store::Store;

#[cube(launch)]
fn narrow<E: Store, N: Size>(values: &Array<Vector<f32, N>>, stored: &mut Array<Vector<E, N>>) {
    if ABSOLUTE_POS < stored.len() {
        stored[ABSOLUTE_POS] = E::narrow::<N>(values[ABSOLUTE_POS]);
    }
}

#[cube(launch)]
fn widen<E: Store, N: Size>(stored: &Array<Vector<E, N>>, values: &mut Array<Vector<f32, N>>) {
    if ABSOLUTE_POS < stored.len() {
        values[ABSOLUTE_POS] = E::widen::<N>(stored[ABSOLUTE_POS]);
    }
}

/// Values whose bits cover signs, subnormals, ties, overflow to infinity and every kind of NaN.
fn values() -> Vec<f32> {
    let mut bits: Vec<u32> = (0..=u16::MAX)
        .step_by(7)
        .flat_map(|high| [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| u32::from(high) << 16 | low))
        .collect();
    bits.truncate(bits.len() / 4 * 4);
    bits.into_iter().map(f32::from_bits).collect()
}

#[test]
fn bf16_bits_are_those_of_half() {
    let client = TestRuntime::client(&crate::common::device());
    let values = values();
    let count = values.len();
    let words = client.create_from_slice(f32::as_bytes(&values));
    for size in [1, 2, 4] {
        let stored = client.empty(2 * count);
        let (cubes, dim) = (CubeCount::Static(count.div_ceil(64 * size) as u32, 1, 1), CubeDim::new_1d(64));
        // SAFETY: the buffers hold `count` numbers and the kernels compare the position with the length.
        unsafe {
            narrow::launch::<u16, TestRuntime>(
                &client,
                cubes.clone(),
                dim,
                size,
                ArrayArg::from_raw_parts(words.clone(), count),
                ArrayArg::from_raw_parts(stored.clone(), count),
            );
        }
        let back = client.empty(4 * count);
        // SAFETY: as above.
        unsafe {
            widen::launch::<u16, TestRuntime>(
                &client,
                cubes,
                dim,
                size,
                ArrayArg::from_raw_parts(stored.clone(), count),
                ArrayArg::from_raw_parts(back.clone(), count),
            );
        }
        let stored = client.read_one(stored).expect("the device answers");
        let back = client.read_one(back).expect("the device answers");
        for ((value, got), wide) in values.iter().zip(u16::from_bytes(&stored)).zip(f32::from_bytes(&back)) {
            let want = bf16::from_f32(*value);
            let got = bf16::from_bits(*got);
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{value:e}: {got} instead of {want}");
            assert!(wide.to_bits() == got.to_f32().to_bits() || wide.is_nan() && got.is_nan(), "{got} widened to {wide}");
        }
    }
}
