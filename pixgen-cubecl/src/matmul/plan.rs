//! The tiles of a product: fixed for each kind of kernel, so that what is compiled does not depend on a measurement.
//!
//! They were chosen by measuring cubek's kernels on an H100 (`benches/matmul_tiles.rs`; docs/results/performance.md has the numbers).
//!
//! **Matrix units with the tensor memory accelerator**, in steps of 64 along k. Long sums: a cube computes 256 x 128 of the result; 8
//! planes hold 64 x 64 of it each, in 128 registers a unit, and one more plane does nothing but ask for the operands of the step after
//! the next. Short sums, where loads before the first step and the write after the last weigh more: a cube of 4 planes computes 128 x 64,
//! and several share a multiprocessor, one writing while another multiplies.
//!
//! **Matrix units alone.** A cube of 4 planes computes 128 x 128, each 64 x 64 of it.
//!
//! **Units.** A cube of 256 units computes 128 x 128 in steps of 16 along k; each unit holds 8 x 8 of it.

use cubecl::features::{MmaConfig, Tma};
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::{ComputeClient, Runtime};
use cubek::matmul::components::global::read::ReaderMode;
use cubek::matmul::components::global::{InputLoadFlow, LoadFlows};
use cubek::matmul::components::stage::PartitionBuffering;
use cubek::matmul::components::tile::TileMatmulKind;
use cubek::matmul::definition::{LoadingPrecomputeStrategy, TilingBlueprint, TilingScheme};
use cubek::std::MatrixLayout::RowMajor;
use cubek::std::cube_count::{CubeCountStrategy, GlobalOrder, HypercubeBlueprint};
use cubek::std::stage::SwizzleMode;
use cubek::std::{GlobalPartitionSize, SwizzleModes};

use super::problem::{MatmulProblem, OP};
use crate::error::{KernelError, Result};

/// A tile of the matrix units: `m16n8k16`.
const MATRIX_TILE: (u32, u32, u32) = (16, 8, 16);

/// Units of a plane on every device that has [`MATRIX_TILE`].
const WARP: u32 = 32;

/// How a cube lies on its part of the result: planes along m and n, tiles of a plane along m and n, tiles along k.
type CubeShape = ((u32, u32), (u32, u32), u32);

/// Of a cube with a plane that loads.
const SPECIALISED: CubeShape = ((4, 2), (4, 8), 4);

/// Of cubes that share a multiprocessor.
const SHARING: CubeShape = ((4, 1), (2, 8), 4);

/// Without the tensor memory accelerator.
const PLAIN: CubeShape = ((2, 2), (4, 8), 2);

/// The shortest sum that [`SPECIALISED`] is faster at, and the fewest rows, those of its tile.
const LONG_SUM: (u32, u32) = (2048, 256);

/// The fewest terms of a sum worth a cube.
const SHORTEST_SLAB: u32 = 1024;

/// Sums are cut into two to this power at most.
const LARGEST_CUT: u32 = 4;

/// Cubes walk over the result in strips of so many cubes along m, so that neighbours share operands in the cache.
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

/// Whether the device copies tiles on its own.
pub fn has_tensor_memory_accelerator<R: Runtime>(client: &ComputeClient<R>) -> bool {
    client.properties().features.tma.contains(Tma::Base)
}

/// Whether [`specialised`] is faster than [`sharing`].
pub fn is_long(problem: MatmulProblem) -> bool {
    let (sum, rows) = LONG_SUM;
    problem.k >= sum && problem.m >= rows
}

/// The tiles for bf16 operands that a plane asks the tensor memory accelerator for.
pub fn specialised(problem: MatmulProblem) -> TilingBlueprint {
    let load_flows = LoadFlows { lhs: InputLoadFlow::LoadOnly, rhs: InputLoadFlow::LoadOnly };
    TilingBlueprint { load_flows, ..planes(problem, SPECIALISED) }
}

/// The tiles for bf16 operands of the tensor memory accelerator where several cubes share a multiprocessor.
pub fn sharing(problem: MatmulProblem) -> TilingBlueprint {
    planes(problem, SHARING)
}

/// The tiles for bf16 operands that planes load themselves.
pub fn plain(problem: MatmulProblem) -> TilingBlueprint {
    planes(problem, PLAIN)
}

/// Parts to cut long sums into, so that its cubes keep all multiprocessors busy to the end: as many as divide them, leave
/// [`SHORTEST_SLAB`] of them in each, and shorten the work by a tenth against fewer.
pub fn slabs<R: Runtime>(client: &ComputeClient<R>, problem: MatmulProblem) -> usize {
    let processors = client.properties().hardware.num_streaming_multiprocessors.unwrap_or(1);
    let MatmulProblem { m, n, k, .. } = problem;
    let (cube_m, cube_n) = (LONG_SUM.1, 128);
    let cubes = m.div_ceil(cube_m) * n.div_ceil(cube_n);
    let idle = |slabs: u32| f64::from((cubes * slabs).div_ceil(processors) * processors) / f64::from(cubes * slabs);
    let possible = (1..=LARGEST_CUT)
        .map(|power| 1 << power)
        .filter(|slabs| k.is_multiple_of(*slabs) && k / slabs >= SHORTEST_SLAB);
    possible.fold(1, |best, slabs| if idle(slabs) < 0.9 * idle(best) { slabs } else { best }) as usize
}

/// bf16 tiles of this shape.
fn planes(problem: MatmulProblem, ((planes_m, planes_n), (tiles_m, tiles_n), tiles_k): CubeShape) -> TilingBlueprint {
    let scheme = TilingScheme {
        tile_size: MATRIX_TILE.into(),
        partition_size: (tiles_m, tiles_n, tiles_k).into(),
        stage_size: (planes_m, planes_n, 1).into(),
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
pub fn units<R: Runtime>(client: &ComputeClient<R>, problem: MatmulProblem) -> Result<TilingBlueprint> {
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
    problem: MatmulProblem,
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
