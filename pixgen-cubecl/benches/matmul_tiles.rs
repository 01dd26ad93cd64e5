//! Times bf16 matrix products of a linear layer on a CUDA device with the algorithms and tiles that cubek offers: what `matmul/plan.rs`
//! chose from.
//!
//! ```text
//! cargo bench -p pixgen-cubecl --features cuda --bench matmul_tiles [-- [--wait] NAME..]
//! ```
//!
//! Prints for each candidate TFLOP/s of `y = x W^T`, `dX = dY W` and `dW = dY^T X` for rows of 64 images of EPG-L/16 and a layer of
//! 1024 to 4096, or why it cannot run. A result that differs from the product of the library is marked. With `--wait` it compiles, says
//! `ready` and waits for a line before it measures, so that a script can compile many candidates at once and time them one by one.

use burn_backend::DType;
use burn_cubecl::tensor::CubeTensor;
use burn_std::Metadata;
use cubecl::Runtime;
use cubecl::cuda::CudaRuntime;
use cubek::matmul::components::global::read::ReaderMode;
use cubek::matmul::components::global::{InputLoadFlow, LoadFlows};
use cubek::matmul::components::stage::PartitionBuffering;
use cubek::matmul::components::tile::TileMatmulKind;
use cubek::matmul::definition::{LoadingPrecomputeStrategy, MatmulElems, MatmulGlobalElems, TilingBlueprint, TilingScheme};
use cubek::matmul::launch::{Strategy, launch_ref};
use cubek::matmul::routines::BlueprintStrategy;
use cubek::std::MatrixLayout::{self, ColMajor, RowMajor};
use cubek::std::cube_count::{CubeCountStrategy, GlobalOrder, HypercubeBlueprint};
use cubek::std::stage::SwizzleMode;
use cubek::std::{GlobalPartitionSize, InputBinding, SwizzleModes};
use pixgen_cubecl::device::cuda;
use std::error::Error;
use std::io::BufRead;
use std::time::Instant;

type Tensor = CubeTensor<CudaRuntime>;

/// Images times tokens, inputs and outputs of the layer.
const LAYER: [usize; 3] = [64 * 258, 1024, 4096];
/// Times, of which the median counts, and products in each.
const REPEATS: (usize, usize) = (9, 8);

/// Planes along m and n, tiles of a plane along m and n, tiles along k.
type Shape = ([u32; 2], [u32; 2], u32);

/// How a kernel loads its operands.
#[derive(Clone, Copy, Debug)]
enum Algorithm {
    Simple,
    SimpleAsync,
    SimpleTma,
    Double,
    DoubleAsync,
    DoubleTma,
    Ordered,
    SpecializedAsync,
    SpecializedTma,
}

struct Candidate {
    name: String,
    algorithm: Algorithm,
    kind: TileMatmulKind,
    /// None leaves the tiles to cubek.
    shape: Option<Shape>,
    buffering: PartitionBuffering,
}

/// All candidates: an algorithm's name, its kind of tile product, its tiles.
fn candidates() -> Vec<Candidate> {
    use Algorithm::*;
    let algorithms = [
        ("simple", Simple),
        ("simple-async", SimpleAsync),
        ("simple-tma", SimpleTma),
        ("double", Double),
        ("double-async", DoubleAsync),
        ("double-tma", DoubleTma),
        ("ordered", Ordered),
        ("specialized-async", SpecializedAsync),
        ("specialized-tma", SpecializedTma),
    ];
    let shapes: [(&str, Shape); 11] = [
        ("64x64x32", ([2, 1], [2, 8], 2)),
        ("128x64x32", ([4, 1], [2, 8], 2)),
        ("128x64x64", ([4, 1], [2, 8], 4)),
        ("128x128x32", ([2, 2], [4, 8], 2)),
        ("128x128x32-8", ([4, 2], [2, 8], 2)),
        ("128x128x64", ([2, 2], [4, 8], 4)),
        ("256x64x32", ([4, 1], [4, 8], 2)),
        ("256x128x32", ([4, 2], [4, 8], 2)),
        ("256x128x64", ([4, 2], [4, 8], 4)),
        ("128x256x32", ([2, 4], [4, 8], 2)),
        ("256x192x32", ([4, 3], [4, 8], 2)),
    ];
    let mut all = Vec::new();
    for (name, algorithm) in algorithms {
        for (kind_name, kind) in [("cmma", TileMatmulKind::Cmma), ("mma", TileMatmulKind::Mma)] {
            let single = PartitionBuffering::Single;
            all.push(Candidate { name: format!("{name}/{kind_name}/auto"), algorithm, kind, shape: None, buffering: single });
        }
        for (shape_name, shape) in shapes {
            for (suffix, buffering) in [("", PartitionBuffering::Single), ("+", PartitionBuffering::Double)] {
                let name = format!("{name}/mma/{shape_name}{suffix}");
                all.push(Candidate { name, algorithm, kind: TileMatmulKind::Mma, shape: Some(shape), buffering });
            }
        }
    }
    all
}

impl Candidate {
    fn strategy(&self, [m, k, n]: [usize; 3], lhs: MatrixLayout, rhs: MatrixLayout) -> Strategy {
        macro_rules! strategy {
            ($cmma:ident, $mma:ident) => {
                match (self.shape, self.kind) {
                    (Some(shape), _) => Strategy::$mma(BlueprintStrategy::Forced(self.blueprint(shape, [m, k, n], lhs, rhs))),
                    (None, TileMatmulKind::Cmma) => Strategy::$cmma(Default::default()),
                    (None, _) => Strategy::$mma(Default::default()),
                }
            };
        }
        match self.algorithm {
            Algorithm::Simple => strategy!(SimpleCyclicCmma, SimpleCyclicMma),
            Algorithm::SimpleAsync => strategy!(SimpleAsyncCyclicCmma, SimpleAsyncCyclicMma),
            Algorithm::SimpleTma => strategy!(SimpleTmaCmma, SimpleTmaMma),
            Algorithm::Double => strategy!(DoubleCyclicCmma, DoubleCyclicMma),
            Algorithm::DoubleAsync => strategy!(DoubleAsyncCyclicCmma, DoubleAsyncCyclicMma),
            Algorithm::DoubleTma => strategy!(DoubleTmaCmma, DoubleTmaMma),
            Algorithm::Ordered => strategy!(OrderedDoubleCmma, OrderedDoubleMma),
            Algorithm::SpecializedAsync => strategy!(SpecializedCyclicCmma, SpecializedCyclicMma),
            Algorithm::SpecializedTma => strategy!(SpecializedTmaCmma, SpecializedTmaMma),
        }
    }

    fn blueprint(&self, shape: Shape, [m, k, n]: [usize; 3], lhs: MatrixLayout, rhs: MatrixLayout) -> TilingBlueprint {
        let ([planes_m, planes_n], [tiles_m, tiles_n], tiles_k) = shape;
        let scheme = TilingScheme {
            tile_size: (16, 8, 16).into(),
            partition_size: (tiles_m, tiles_n, tiles_k).into(),
            stage_size: (planes_m, planes_n, 1).into(),
            global_partition_size: GlobalPartitionSize::new(1, 1, 1),
        };
        let (stage_m, stage_n, stage_k) =
            (scheme.elements_per_stage_along_m(), scheme.elements_per_stage_along_n(), scheme.elements_per_stage_along_k());
        let swizzle = |elements: u32| match 2 * elements {
            32 => SwizzleMode::B32,
            64 => SwizzleMode::B64,
            128 => SwizzleMode::B128,
            _ => SwizzleMode::None,
        };
        let loads = match self.algorithm {
            Algorithm::SpecializedAsync | Algorithm::SpecializedTma => InputLoadFlow::LoadOnly,
            _ => InputLoadFlow::MainOnly,
        };
        TilingBlueprint {
            plane_dim: 32,
            tile_matmul: TileMatmulKind::Mma,
            tiling_scheme: scheme,
            swizzle_modes: SwizzleModes {
                lhs: swizzle(if lhs == RowMajor { stage_k } else { stage_m }),
                rhs: swizzle(if rhs == RowMajor { stage_n } else { stage_k }),
                ..SwizzleModes::default()
            },
            partition_buffering: self.buffering,
            loading_precompute_strategy: LoadingPrecomputeStrategy::Never,
            reader_mode: ReaderMode::Relaxed,
            load_flows: LoadFlows { lhs: loads, rhs: loads },
            hypercube_blueprint: HypercubeBlueprint {
                global_order: GlobalOrder::SwizzleRow(4),
                cube_count_strategy: CubeCountStrategy::Flattened,
            },
            lhs_layout: lhs,
            rhs_layout: rhs,
            check_m_bounds: !(m as u32).is_multiple_of(stage_m),
            check_n_bounds: !(n as u32).is_multiple_of(stage_n),
            check_k_bounds: !(k as u32).is_multiple_of(stage_k),
        }
    }
}

/// A product of the layer: operands, and where the result goes.
struct Product {
    lhs: (Tensor, MatrixLayout),
    rhs: (Tensor, MatrixLayout),
    size: [usize; 3],
    out: Tensor,
}

impl Product {
    fn launch(&self, candidate: &Candidate) -> Result<(), Box<dyn Error>> {
        let strategy = candidate.strategy(self.size, self.lhs.1, self.rhs.1);
        let (input, output) = (DType::BF16.into(), self.out.dtype.into());
        let mut types = MatmulElems::from_globals(&MatmulGlobalElems { lhs: input, rhs: input, out: output });
        let [lhs, rhs] = [&self.lhs.0, &self.rhs.0].map(|it| InputBinding::new(it.clone().binding(), input));
        launch_ref(&strategy, &self.out.client, lhs, rhs, self.out.clone().binding(), &mut types).map_err(|error| format!("{error:?}"))?;
        Ok(())
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>, Box<dyn Error>> {
    let bytes = tensor.client.read_one(tensor.handle.clone()).map_err(|error| format!("{error:?}"))?;
    let wide = |bits: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*bits)) << 16);
    Ok(match tensor.dtype {
        DType::F32 => bytes.as_chunks().0.iter().map(|it| f32::from_le_bytes(*it)).collect(),
        _ => bytes.as_chunks().0.iter().map(wide).collect(),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let (options, names): (Vec<&str>, Vec<&str>) = arguments.iter().map(String::as_str).partition(|it| it.starts_with("--"));
    if options.contains(&"--list") {
        candidates().iter().for_each(|it| println!("{}", it.name));
        return Ok(());
    }
    let (device, report) = cuda::open(0)?;
    eprintln!("{report}");
    let client = CudaRuntime::client(&device);
    let tensor = |shape: [usize; 2], seed: u64| {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Sign and mantissa at random, exponents of 1/16 to 1/2.
            ((state >> 48) as u16 & 0x807f) | ((123 + (state >> 40) as u16 % 4) << 7)
        };
        let bytes: Vec<u8> = (0..shape[0] * shape[1]).flat_map(|_| next().to_le_bytes()).collect();
        Tensor::new_contiguous(client.clone(), device.clone(), shape.into(), client.create_from_slice(&bytes), DType::BF16)
    };
    let transposed = |it: &Tensor| {
        let mut it = it.clone();
        let [rows, columns] = [it.meta.shape()[0], it.meta.shape()[1]];
        *it.meta = Metadata::new([columns, rows], [1, columns]);
        it
    };
    let [rows, inputs, outputs] = LAYER;
    let (x, w, dy) = (tensor([rows, inputs], 1), tensor([outputs, inputs], 2), tensor([rows, outputs], 3));
    let product = |lhs: (Tensor, MatrixLayout), rhs: (Tensor, MatrixLayout), size: [usize; 3], dtype: DType| {
        let out = client.empty(size[0] * size[2] * dtype.size());
        let out = Tensor::new_contiguous(client.clone(), device.clone(), [size[0], size[2]].into(), out, dtype);
        Product { lhs, rhs, size, out }
    };
    let products = [
        product((x.clone(), RowMajor), (transposed(&w), ColMajor), [rows, inputs, outputs], DType::BF16),
        product((dy.clone(), RowMajor), (w, RowMajor), [rows, outputs, inputs], DType::BF16),
        product((transposed(&dy), ColMajor), (x, RowMajor), [outputs, rows, inputs], DType::BF16),
    ];
    let references = products
        .iter()
        .map(|it| numbers(&pixgen_cubecl::matmul(it.lhs.0.clone(), it.rhs.0.clone(), it.out.dtype)?))
        .collect::<Result<Vec<_>, _>>()?;
    for candidate in candidates()
        .into_iter()
        .filter(|it| names.is_empty() || names.contains(&it.name.as_str()))
    {
        // Compiles, and checks.
        let checked: Vec<Result<bool, String>> = products
            .iter()
            .zip(&references)
            .map(|(product, reference)| {
                product.launch(&candidate).map_err(|error| error.to_string())?;
                let got = numbers(&product.out).map_err(|error| error.to_string())?;
                let scale = reference.iter().fold(0.0f32, |a, b| a.max(b.abs()));
                Ok(got.iter().zip(reference).all(|(a, b)| (a - b).abs() <= 0.01 * scale))
            })
            .collect();
        if options.contains(&"--wait") {
            println!("ready");
            std::io::stdin().lock().read_line(&mut String::new())?;
        }
        let cells: Vec<String> = products
            .iter()
            .zip(&checked)
            .map(|(product, checked)| {
                let right = match checked {
                    Err(error) => return error.lines().next().unwrap_or_default().chars().take(60).collect(),
                    Ok(right) => *right,
                };
                let mut times: Vec<f64> = (0..REPEATS.0)
                    .map(|_| {
                        let started = Instant::now();
                        for _ in 0..REPEATS.1 {
                            // It has run before.
                            let _ = product.launch(&candidate);
                        }
                        let _ = cubecl::future::block_on(client.sync());
                        started.elapsed().as_secs_f64() / REPEATS.1 as f64
                    })
                    .collect();
                times.sort_by(f64::total_cmp);
                let flop = 2.0 * product.size.iter().product::<usize>() as f64;
                format!("{:.0}{}", 1e-12 * flop / times[REPEATS.0 / 2], if right { "" } else { " WRONG" })
            })
            .collect();
        println!("{:36} {}", candidate.name, cells.join(" | "));
    }
    Ok(())
}
