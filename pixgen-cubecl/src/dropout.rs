//! Inverted dropout whose mask is a pure function of seed, stream and place, so nothing is kept for the backward pass, which is the
//! same call on the gradient.
//!
//! The random words are those of pixgen-core's generator, Philox4x32-10 (docs/reference/numerics.md section 1): a block of four words for
//! four elements, counted from the start of each picture, so the mask is the same bits as the host's. A unit makes the blocks of the
//! vector it loads; ten rounds of two wide products for four elements stay below what the memory takes.

use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::error::{KernelError, Result};
use crate::launch::{array, contiguous, elementwise, empty, stored, vector_size};
use crate::store::Store;
use crate::with_store;

/// Words of a block.
const BLOCK: usize = 4;

/// Block number `block`, low half first, of a stream: ten rounds of Philox4x32.
#[cube]
fn philox(block_low: u32, block_high: u32, stream_low: u32, stream_high: u32, seed_low: u32, seed_high: u32) -> Array<u32> {
    let mut words = Array::<u32>::new(4usize);
    words[0] = block_low;
    words[1] = block_high;
    words[2] = stream_low;
    words[3] = stream_high;
    let mut key0 = seed_low;
    let mut key1 = seed_high;
    #[unroll]
    for _ in 0..10u32 {
        let (a, b) = (words[0], words[2]);
        let (odd0, odd1) = (words[1] ^ key0, words[3] ^ key1);
        words[0] = b.mul_hi(0xCD9E_8D57u32) ^ odd0;
        words[1] = b * 0xCD9E_8D57u32;
        words[2] = a.mul_hi(0xD251_1F53u32) ^ odd1;
        words[3] = a * 0xD251_1F53u32;
        key0 += 0x9E37_79B9u32;
        key1 += 0xBB67_AE85u32;
    }
    words
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn dropout_kernel<E: Store, N: Size>(
    x: &Array<Vector<E, N>>,
    streams: &Array<u32>,
    y: &mut Array<Vector<E, N>>,
    picture: u32,
    seed_low: u32,
    seed_high: u32,
    first_low: u32,
    first_high: u32,
    threshold: u32,
    factor: f32,
    #[comptime] size: usize,
) {
    if ABSOLUTE_POS >= x.len() {
        terminate!();
    }
    let number = ABSOLUTE_POS / picture as usize;
    let place = (ABSOLUTE_POS % picture as usize * size) as u32;
    let stream_low = streams[2 * number];
    let stream_high = streams[2 * number + 1];
    let values = E::widen::<N>(x[ABSOLUTE_POS]);
    let mut kept = Vector::<f32, N>::new(0.0);
    #[unroll]
    for i in 0..comptime!(size.div_ceil(BLOCK)) {
        let block_low = first_low + place / 4 + i as u32;
        let block_high = first_high + u32::cast_from(block_low < first_low);
        let words = philox(block_low, block_high, stream_low, stream_high, seed_low, seed_high);
        if comptime!(size >= BLOCK) {
            #[unroll]
            for lane in 0..4usize {
                let at = comptime!(i * BLOCK + lane);
                kept[at] = select(words[lane] >= threshold, values[at] * factor, 0.0f32);
            }
        } else {
            let word = words[(place % 4) as usize];
            kept = select_many(
                Vector::<u32, N>::new(word).greater_equal(Vector::new(threshold)),
                values * Vector::new(factor),
                Vector::new(0.0f32),
            );
        }
    }
    y[ABSOLUTE_POS] = E::narrow::<N>(kept);
}

/// Drops elements of `x` `[B, ..]`, in `f32` or bf16: zero where the element's random word is below `threshold`, elsewhere times
/// `factor`. Picture i takes its words from stream `streams[i]` of `seed`, from block `first_block` of four words on.
///
/// # Errors
/// Not a stream for each picture, elements of another type, or more than the device can launch.
pub fn dropout<R: CubeRuntime>(
    x: CubeTensor<R>,
    seed: u64,
    streams: &[u64],
    first_block: u64,
    threshold: u32,
    factor: f32,
) -> Result<CubeTensor<R>> {
    const OP: &str = "dropout";
    let dtype = stored(OP, "x", &x)?;
    let shape = x.meta.shape().to_vec();
    let elements: usize = shape.iter().product();
    if elements == 0 || shape.first() != Some(&streams.len()) {
        return Err(KernelError::setup(OP, format!("x is {shape:?}, for {} pictures", streams.len())));
    }
    let picture = elements / streams.len();
    let x = contiguous(OP, x)?;
    let client = &x.client;
    // Whole blocks of words, or a block for each element.
    let size = Some(vector_size(client, dtype, picture))
        .filter(|size| size.is_multiple_of(BLOCK))
        .unwrap_or(1);
    let y = empty(&x, &shape, dtype);
    let halves: Vec<u32> = streams.iter().flat_map(|&stream| [stream as u32, (stream >> 32) as u32]).collect();
    let handle = client.create_from_slice(u32::as_bytes(&halves));
    let (count, dim) = elementwise(OP, client, elements / size)?;
    with_store!(OP, dtype, E => {
        // SAFETY: x and y hold a picture for each of the streams, whose two halves are in the array; units compare their position with
        // the length.
        unsafe {
            dropout_kernel::launch_unchecked::<E, R>(
                client,
                count,
                dim,
                size,
                array(&x),
                ArrayArg::from_raw_parts(handle, halves.len()),
                array(&y),
                (picture / size) as u32,
                seed as u32,
                (seed >> 32) as u32,
                first_block as u32,
                (first_block >> 32) as u32,
                threshold,
                factor,
                size,
            );
        }
        Ok(())
    })?;
    Ok(y)
}
