//! The sum over the units of a cube, in a fixed order on every device.

use burn_cubecl::CubeRuntime;
use cubecl::prelude::*;

use crate::launch::cube_units;

/// Units of a cube that sums: a power of two.
pub(crate) fn tree_units<R: CubeRuntime>(client: &ComputeClient<R>) -> u32 {
    1 << cube_units(client).ilog2()
}

/// Sum of `value` over a cube of `units`, a power of two, in every unit: a tree in shared memory, so the order is the same whatever the
/// width of planes. `scratch` holds `units` numbers and may be used again at once.
#[cube]
pub(crate) fn cube_sum(value: f32, scratch: &mut SharedMemory<f32>, #[comptime] units: u32) -> f32 {
    // What is still being read of the last sum.
    sync_cube();
    scratch[UNIT_POS as usize] = value;
    sync_cube();
    #[unroll]
    for level in 1..comptime!(units.trailing_zeros() + 1) {
        let half = comptime!(units >> level);
        if UNIT_POS < half {
            let other = scratch[(UNIT_POS + half) as usize];
            scratch[UNIT_POS as usize] += other;
        }
        sync_cube();
    }
    scratch[0]
}
