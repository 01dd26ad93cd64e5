//! The tiles of a product: fixed for each kind of kernel, so that what is compiled does not depend on a measurement.
//!
//! **Matrix units.** A cube of 4 planes computes 128 x 64 of the result in steps of 32 along k; each plane holds 32 x 64 of it in 64
//! registers a unit, the rest of the registers being operands and addresses, so that several cubes share a multiprocessor and hide each
//! other's loads. Where the left operand is transposed (`X^T dY`) the cube is 64 x 64: rows of shared memory are then 128 bytes at most,
//! the longest that are spread over all banks.
//!
//! **Units.** A cube of 256 units computes 128 x 128 in steps of 16 along k; each unit holds 8 x 8 of it.

use cubecl::features::MmaConfig;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::{ComputeClient, Runtime};
use cubek::matmul::components::global::LoadFlows;
use cubek::matmul::components::global::read::ReaderMode;
use cubek::matmul::components::stage::PartitionBuffering;
use cubek::matmul::components::tile::TileMatmulKind;
use cubek::matmul::definition::{LoadingPrecomputeStrategy, TilingBlueprint, TilingScheme};
use cubek::std::MatrixLayout::{self, RowMajor};
use cubek::std::cube_count::{CubeCountStrategy, GlobalOrder, HypercubeBlueprint};
use cubek::std::stage::SwizzleMode;
use cubek::std::{GlobalPartitionSize, SwizzleModes};

use super::OP;
use crate::error::{KernelError, Result};

/// `[m, k] x [k, n]`, and how the operands lie in memory.
#[derive(Debug, Clone, Copy)]
pub struct Problem {
    /// Rows of the result.
    pub m: u32,
    /// Columns of the result.
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
    /// Of the left operand.
    pub lhs: MatrixLayout,
    /// Of the right operand.
    pub rhs: MatrixLayout,
}

/// A tile of the matrix units: `m16n8k16`.
const MATRIX_TILE: (u32, u32, u32) = (16, 8, 16);

/// Units of a plane on every device that has [`MATRIX_TILE`].
const WARP: u32 = 32;

/// Planes or units of a cube are spread over the result in strips of so many cubes, so that neighbours share operands in the cache.
const STRIP: u32 = 4;

/// Whether the device multiplies bf16 tiles of [`MATRIX_TILE`] with sums in `f32`.
pub fn has_matrix_units<R: Runtime>(client: &ComputeClient<R>) -> bool {
    let (m, n, k) = MATRIX_TILE;
    let (bf16, f32) = (ElemType::Float(FloatKind::BF16).into(), ElemType::Float(FloatKind::F32).into());
    let properties = client.properties();
    properties
        .features
        .matmul
        .mma
        .contains(&MmaConfig { a_type: bf16, b_type: bf16, cd_type: f32, m, n, k })
        && properties.hardware.plane_size_max == WARP
}

/// The tiles for bf16 operands.
pub fn matrix_units(problem: Problem) -> TilingBlueprint {
    let rows_per_plane = if problem.lhs == RowMajor { 2 } else { 1 };
    let scheme = TilingScheme {
        tile_size: MATRIX_TILE.into(),
        partition_size: (rows_per_plane, 8, 2).into(),
        stage_size: (4, 1, 1).into(),
        global_partition_size: GlobalPartitionSize::new(1, 1, 1),
    };
    let (m, n, k) = (scheme.elements_per_stage_along_m(), scheme.elements_per_stage_along_n(), scheme.elements_per_stage_along_k());
    let swizzle_modes = SwizzleModes {
        lhs: swizzle(if problem.lhs == RowMajor { k } else { m }),
        rhs: swizzle(if problem.rhs == RowMajor { n } else { k }),
        ..SwizzleModes::default()
    };
    blueprint(problem, TileMatmulKind::Mma, scheme, swizzle_modes, WARP)
}

/// How a row of so many bf16 numbers in shared memory is spread over the banks.
fn swizzle(elements: u32) -> SwizzleMode {
    match 2 * elements {
        32 => SwizzleMode::B32,
        64 => SwizzleMode::B64,
        128 => SwizzleMode::B128,
        _ => SwizzleMode::None,
    }
}

/// The tiles for f32 operands.
///
/// # Errors
/// [`KernelError::Unavailable`] on a device whose cubes have fewer than 256 units or too little shared memory.
pub fn units<R: Runtime>(client: &ComputeClient<R>, problem: Problem) -> Result<TilingBlueprint> {
    let hardware = &client.properties().hardware;
    let scheme = TilingScheme {
        tile_size: (4, 4, 4).into(),
        partition_size: (2, 2, 4).into(),
        stage_size: (16, 16, 1).into(),
        global_partition_size: GlobalPartitionSize::new(1, 1, 1),
    };
    if hardware.max_units_per_cube < 256 {
        return Err(KernelError::unavailable(OP, format!("cubes of 256 units; it has {}", hardware.max_units_per_cube)));
    }
    let shared = (scheme.elements_per_stage_along_m() + scheme.elements_per_stage_along_n()) * scheme.elements_per_stage_along_k() * 4;
    if hardware.max_shared_memory_size < shared as usize {
        return Err(KernelError::unavailable(
            OP,
            format!("{shared} bytes of shared memory; it has {}", hardware.max_shared_memory_size),
        ));
    }
    Ok(blueprint(problem, TileMatmulKind::Register, scheme, SwizzleModes::default(), hardware.plane_size_min))
}

fn blueprint(
    problem: Problem,
    tile_matmul: TileMatmulKind,
    scheme: TilingScheme,
    swizzle_modes: SwizzleModes,
    plane: u32,
) -> TilingBlueprint {
    TilingBlueprint {
        plane_dim: plane,
        tile_matmul,
        tiling_scheme: scheme,
        swizzle_modes,
        partition_buffering: PartitionBuffering::Single,
        loading_precompute_strategy: LoadingPrecomputeStrategy::Never,
        reader_mode: ReaderMode::Relaxed,
        load_flows: LoadFlows::default(),
        hypercube_blueprint: HypercubeBlueprint {
            global_order: GlobalOrder::SwizzleRow(STRIP),
            cube_count_strategy: CubeCountStrategy::Flattened,
        },
        lhs_layout: problem.lhs,
        rhs_layout: problem.rhs,
        check_m_bounds: !problem.m.is_multiple_of(scheme.elements_per_stage_along_m()),
        check_n_bounds: !problem.n.is_multiple_of(scheme.elements_per_stage_along_n()),
        check_k_bounds: !problem.k.is_multiple_of(scheme.elements_per_stage_along_k()),
    }
}
