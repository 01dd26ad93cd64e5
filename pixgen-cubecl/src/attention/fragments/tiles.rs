//! How attention in fragments is cut: chosen here from head width, tokens and what the device has.

use cubecl::ir::features::MmaConfig;
use cubecl::ir::{DeviceProperties, ElemType, FloatKind};

use crate::attention::plan::{AttentionKernel, PLANE};

/// Rows that a plane owns, and the depth of a product.
pub(super) const STRIP: usize = 16;

/// Numbers of a 16-byte vector of bf16.
pub(super) const LANES: usize = 8;

/// The widest head: its sums fill the registers.
const WIDEST: usize = 128;

/// The tiles of a kernel, constants while it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FragmentTiles {
    /// Planes of a cube, each of which owns 16 tokens.
    pub planes: usize,
    /// Tokens of the other side that are read at a time.
    pub block: usize,
    /// Numbers of a head, a multiple of 8.
    pub head: usize,
}

impl FragmentTiles {
    /// The tiles for heads of `head` numbers and `tokens` tokens in bf16; `None` where the portable kernels must do it.
    pub fn new(kernel: AttentionKernel, head: usize, tokens: usize, device: &DeviceProperties) -> Option<Self> {
        if !head.is_multiple_of(LANES) || head > WIDEST || !has_fragments(device) {
            return None;
        }
        let strips = tokens.div_ceil(STRIP);
        // As many planes as waste the fewest rows, out of 4 to 6: 258 tokens are 288 rows in cubes of 96 and 320 in cubes of 64 or 80.
        let planes = (4..=6)
            .rev()
            .min_by_key(|&planes| strips.next_multiple_of(planes))
            .unwrap_or(4)
            .min(strips);
        // Blocks of 32 or 48 tokens waste the same on 258, and longer ones more; the widths differ in what registers allow: with 32 the
        // forward of 128 spills on sm_80, and with 48 that of 120 leaves room for one cube.
        let longest = match (kernel, head) {
            (AttentionKernel::Forward, ..=80 | 121..) | (AttentionKernel::Backward, ..=64) => 48,
            _ => 32,
        };
        let blocks = [48, 32, 16].into_iter().filter(|&block| block <= longest);
        let best = blocks.min_by_key(|&block| (tokens.next_multiple_of(block).next_multiple_of(32), usize::MAX - block))?;
        let smaller = [best, 32, 16].into_iter().filter(|&block| block <= best);
        smaller
            .flat_map(|block| (1..=planes).rev().map(move |planes| Self { planes, block, head }))
            .find(|tiles| tiles.fit(kernel, device))
    }

    /// All tiles for heads of `head` numbers that the device has room for, whether [`new`](Self::new) would choose them or not: for measuring.
    pub fn all(kernel: AttentionKernel, head: usize, device: &DeviceProperties) -> Vec<Self> {
        if !head.is_multiple_of(LANES) || head > WIDEST || !has_fragments(device) {
            return Vec::new();
        }
        let blocks = [16, 32, 48, 64].into_iter();
        let all = blocks.flat_map(|block| (1..=8).map(move |planes| Self { planes, block, head }));
        all.filter(|tiles| tiles.fit(kernel, device)).collect()
    }

    fn fit(&self, kernel: AttentionKernel, device: &DeviceProperties) -> bool {
        let hardware = &device.hardware;
        self.shared_memory(kernel) <= hardware.max_shared_memory_size && self.units() <= hardware.max_units_per_cube as usize
    }

    /// `head` rounded up to whole products; the rest is zeros.
    pub const fn width(&self) -> usize {
        self.head.next_multiple_of(STRIP)
    }

    /// Vectors from row to row of a tile: odd, so that eight rows lie in different banks.
    pub const fn pitch(&self) -> usize {
        self.width() / LANES + 1
    }

    /// Tokens that a cube owns.
    pub const fn rows(&self) -> usize {
        self.planes * STRIP
    }

    /// Units of a cube.
    pub const fn units(&self) -> usize {
        self.planes * PLANE
    }

    /// Bytes of shared memory of a cube: its own rows once, and two stages of two matrices of the other side.
    pub fn shared_memory(&self, kernel: AttentionKernel) -> usize {
        let own = match kernel {
            AttentionKernel::Forward => self.rows(),
            AttentionKernel::Backward => 2 * self.rows(),
        };
        let statistics = 2 * 2 * self.block * 4;
        let barriers = 64;
        (own + 4 * self.block) * self.pitch() * 16 + statistics + barriers
    }
}

/// Whether the device multiplies bf16 from registers whose layout is known, loads them from shared memory, and copies there by itself.
fn has_fragments(device: &DeviceProperties) -> bool {
    let bf16 = ElemType::Float(FloatKind::BF16).into();
    let product = MmaConfig {
        a_type: bf16,
        b_type: bf16,
        cd_type: ElemType::Float(FloatKind::F32).into(),
        m: 16,
        n: 8,
        k: 16,
    };
    let planes = (device.hardware.plane_size_min as usize, device.hardware.plane_size_max as usize);
    let features = &device.features;
    planes == (PLANE, PLANE) && features.copy_async && features.matmul.mma.contains(&product) && features.matmul.ldmatrix.contains(&bf16)
}
