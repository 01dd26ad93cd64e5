//! How attention is cut into tiles: chosen here and nowhere else, from head width, tokens and what the device has.

use cubecl::ir::features::MmaConfig;
use cubecl::ir::{DeviceProperties, ElemType, FloatKind};

use crate::error::{KernelError, Result};

/// Name of the operation in errors.
pub(super) const OP: &str = "attention";

/// Rows, columns and depth of one product of a tensor core.
pub const FRAGMENT: usize = 16;

/// Units of a plane of a device with tensor cores.
pub const PLANE: usize = 32;

/// The tiles of a kernel, constants while it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tiles {
    /// Tokens that a cube owns: queries, or keys in the gradient of keys and values.
    pub rows: usize,
    /// Tokens of the other side that it reads at a time.
    pub columns: usize,
    /// Numbers of a head.
    pub head: usize,
    /// `head` rounded up to whole products; the rest is zeros.
    pub width: usize,
    /// Rows of a block of `rows` x `columns` that a unit computes, of four columns each. Not used by tensor cores.
    pub unit_rows: usize,
    /// Planes that share the rows of a tensor core's product. Not used by units.
    pub split: usize,
    /// Units of a cube, `group` for each row.
    pub units: usize,
}

impl Tiles {
    /// Units that share a row in the steps between products.
    pub const fn group(&self) -> usize {
        self.units / self.rows
    }

    /// Elements from row to row of an operand whose vectors hold `lanes`.
    pub const fn operand_pitch(&self, lanes: usize) -> usize {
        self.width + lanes
    }

    /// Elements from row to row of probabilities or score gradients.
    pub const fn weight_pitch(&self, lanes: usize) -> usize {
        self.columns + lanes
    }

    /// Numbers from row to row of scores. Odd multiples of 8 keep four rows of two vectors in different banks.
    pub const fn score_pitch(&self) -> usize {
        // Two planes of 16 rows have 16 columns of scratch each.
        let columns = if self.split == 2 && self.columns == FRAGMENT {
            2 * FRAGMENT
        } else {
            self.columns
        };
        columns + 8
    }
}

/// Which implementation of `Product` a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttentionEngine {
    /// bf16 operands on tensor cores.
    TensorCores,
    /// `f32` operands on scalar units.
    Units,
}

impl AttentionEngine {
    /// Bytes of an operand in shared memory.
    const fn operand_bytes(self) -> usize {
        match self {
            Self::TensorCores => 2,
            Self::Units => 4,
        }
    }

    /// Operands of a 16-byte vector.
    pub(super) const fn lanes(self) -> usize {
        16 / self.operand_bytes()
    }
}

/// Operand tiles that a kernel keeps in shared memory, in units of `rows` and of `columns` tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionKernel {
    /// Queries against keys and values.
    Forward,
    /// Queries and output gradients against keys and values, or the other way round.
    Backward,
}

impl AttentionKernel {
    const fn row_tiles(self) -> usize {
        match self {
            Self::Forward => 1,
            Self::Backward => 2,
        }
    }
}

/// An implementation and its tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttentionPlan {
    /// Which units multiply.
    pub engine: AttentionEngine,
    /// Sizes of the tiles.
    pub tiles: Tiles,
}

impl AttentionPlan {
    /// The plan for heads of `head` numbers and `tokens` tokens, stored as bf16 or `f32`.
    ///
    /// # Errors
    /// [`KernelError::Unavailable`] if no tile fits the device.
    pub fn new(kernel: AttentionKernel, head: usize, tokens: usize, bf16: bool, device: &DeviceProperties) -> Result<Self> {
        let engine = if bf16 && has_tensor_cores(device) {
            AttentionEngine::TensorCores
        } else {
            AttentionEngine::Units
        };
        let memory = device.hardware.max_shared_memory_size;
        let units = device.hardware.max_units_per_cube as usize;
        let candidates = match engine {
            AttentionEngine::TensorCores => tensor_core_tiles(kernel, head, tokens),
            AttentionEngine::Units => unit_tiles(head, tokens),
        };
        let plans = candidates.into_iter().map(|tiles| Self { engine, tiles });
        let least = plans.clone().map(|plan| plan.shared_memory(kernel)).min().unwrap_or(0);
        let mut fitting = plans.filter(|plan| plan.shared_memory(kernel) <= memory && plan.tiles.units <= units);
        fitting.next().ok_or_else(|| {
            KernelError::unavailable(
                OP,
                format!(
                    "heads of {head} numbers need {least} bytes of shared memory or more per cube, and it has {memory}, with {units} units"
                ),
            )
        })
    }

    /// Bytes of shared memory of a cube.
    pub fn shared_memory(&self, kernel: AttentionKernel) -> usize {
        let Tiles { rows, columns, units, .. } = self.tiles;
        let (size, lanes) = (self.engine.operand_bytes(), self.engine.lanes());
        let operands = (kernel.row_tiles() * rows + 2 * columns) * self.tiles.operand_pitch(lanes) * size;
        let weights = rows * self.tiles.weight_pitch(lanes) * size;
        let scores = rows * self.tiles.score_pitch() * 4;
        let per_row = (units + rows) * 4;
        let per_column = 2 * columns * 4;
        operands + weights + scores + per_row + per_column
    }
}

/// Whether the device multiplies bf16 by 16 x 16 x 16 in planes of 32.
fn has_tensor_cores(device: &DeviceProperties) -> bool {
    let bf16 = ElemType::Float(FloatKind::BF16).into();
    let side = FRAGMENT as u32;
    let product = MmaConfig {
        a_type: bf16,
        b_type: bf16,
        cd_type: ElemType::Float(FloatKind::F32).into(),
        m: side,
        n: side,
        k: side,
    };
    let planes = (device.hardware.plane_size_min as usize, device.hardware.plane_size_max as usize);
    planes == (PLANE, PLANE) && device.features.matmul.cmma.contains(&product)
}

/// Tiles for tensor cores, best first: strips of 16 rows, as many as waste the fewest rows on `tokens`, out of 4 to 6.
///
/// Two planes share a strip where one would need more than some 100 registers for sums, which leaves a multiprocessor too few planes to
/// hide latency: in the backward, which has two sums or two more operands, and in the forward of wide heads. The backward of wide heads
/// takes 3 or 4 strips: 384 units may have 168 registers each, and it needs more.
fn tensor_core_tiles(kernel: AttentionKernel, head: usize, tokens: usize) -> Vec<Tiles> {
    let wide = head > 80;
    let backward = kernel == AttentionKernel::Backward;
    let split = if backward || wide { 2 } else { 1 };
    let strips = tokens.div_ceil(FRAGMENT);
    let choice = if backward && wide { 3..=4 } else { 4..=6 };
    let padded = |count: usize| strips.next_multiple_of(count);
    let best = choice.rev().min_by_key(|&count| padded(count)).unwrap_or(4).min(strips);
    let columns = [32, 16].into_iter().filter(|&columns| columns == 16 || strips > 1);
    columns
        .flat_map(|columns| (1..=best).rev().map(move |count| (columns, count)))
        .map(|(columns, count)| Tiles {
            rows: FRAGMENT * count,
            columns,
            head,
            width: head.next_multiple_of(FRAGMENT),
            unit_rows: 0,
            split,
            units: PLANE * split * count,
        })
        .collect()
}

/// Tiles for scalar units, best first.
fn unit_tiles(head: usize, tokens: usize) -> Vec<Tiles> {
    let sizes = [(64, 32), (32, 32), (32, 16), (16, 16), (16, 8), (8, 8), (8, 4), (4, 4)];
    let fits = |&(rows, columns): &(usize, usize)| rows < 2 * tokens.max(4) && columns < 2 * head.max(4);
    sizes
        .into_iter()
        .filter(fits)
        .map(|(rows, columns)| {
            // A unit's rows are at most the vectors of a row, so that every row has a unit of its own between products.
            let unit_rows = (columns / 4).min(4);
            Tiles {
                rows,
                columns,
                head,
                width: head.next_multiple_of(columns),
                unit_rows,
                split: 1,
                units: rows / unit_rows * (columns / 4),
            }
        })
        .collect()
}
