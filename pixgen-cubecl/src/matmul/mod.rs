//! Matrix products of the linear layers: `y = x W`, and its backward `dX = dY W^T` and `dW = X^T dY`, with a kernel that is fixed for each
//! type and layout (docs/reference/method.md section 2).
//!
//! burn tunes products on the device: it compiles and times a few dozen kernels for each shape, some of which spill registers, and none
//! of which is known before the run. Here the tiles are chosen beforehand, so every kernel of a training step can be compiled, looked at
//! and tested without the device (`plan.rs`). The kernels themselves are cubek's.
//!
//! On CUDA, NVIDIA's cuBLASLt computes them where it is installed (`crate::cuda`), and takes the bias and its gradient along. Without
//! it, and on other devices:
//!
//! * **bf16** goes through matrix units with sums in `f32`, on devices that have `m16n8k16` (NVIDIA from Ampere on); from Hopper on the
//!   tensor memory accelerator brings the operands. Where a result has too few tiles for the device, as weight gradients do, its long
//!   sums are cut into slabs, whose products are added by a second launch.
//! * **f32** stays f32: plain fused multiply-adds, not the 10-bit TF32 of the matrix units.
//! * **bf16 elsewhere** is widened to f32, multiplied as f32, and rounded (`convert.rs`): for tests, not for speed.

mod convert;
mod layers;
mod plan;
mod problem;

use burn_backend::{DType, Shape};
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_std::Metadata;
use cubecl::prelude::{ComputeClient, TensorBinding};
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems, MatmulSetupError, TilingBlueprint};
use cubek::matmul::launch::launch_tiling::{launch_ref, launch_ref_tma};
use cubek::matmul::routines::simple::{SimpleAlgorithm, SimpleTmaAlgorithm};
use cubek::matmul::routines::{BlueprintStrategy, Routine, simple_unit::SimpleUnitAlgorithm, specialized::SpecializedAlgorithm};
use cubek::std::{InputBinding, MatrixLayout};
use std::collections::BTreeMap;
use std::fmt;

use crate::columns::column_sum;
use crate::error::{KernelError, Result};
use crate::launch::{dims3, empty};
pub use layers::{linear, weight_gradient};
use problem::{MatmulProblem, OP};

/// The product of two matrices, `[m, k] x [k, n] -> [m, n]`, contiguous.
///
/// Operands are read where they lie when one of their two axes is contiguous, so a transposed view costs nothing. Both have the same
/// type, f32 or bf16; `out_dtype` is either. Sums are f32 in all cases, and bf16 results are rounded once.
///
/// # Errors
/// [`KernelError::Setup`] for other shapes or types, [`KernelError::Unavailable`] when the device's limits are too low for the tiles.
pub fn matmul<R: CubeRuntime>(lhs: CubeTensor<R>, rhs: CubeTensor<R>, out_dtype: DType) -> Result<CubeTensor<R>> {
    let product = Product::new(lhs, rhs, out_dtype)?;
    #[cfg(feature = "cuda")]
    if let Some(out) = product.place()
        && product.by_library(&out, crate::cuda::Beside::Nothing)?
    {
        return Ok(out);
    }
    product.by_kernels()
}

/// A way to compute a product of bf16 matrices, of those that [`matmul()`] chooses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// cuBLASLt.
    Library,
    /// Through the tensor memory accelerator, with a plane that does nothing but load; long sums may be cut.
    Specialised,
    /// Through the tensor memory accelerator, in cubes that share a multiprocessor.
    Sharing,
    /// Planes load for themselves.
    Plain,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Library, Self::Specialised, Self::Sharing, Self::Plain];
}

/// [`matmul()`] in one of its ways: for measuring.
///
/// # Errors
/// As [`matmul()`], and [`KernelError::Unavailable`] on a device without that way.
pub fn matmul_by<R: CubeRuntime>(way: Way, lhs: CubeTensor<R>, rhs: CubeTensor<R>, out_dtype: DType) -> Result<CubeTensor<R>> {
    let product = Product::new(lhs, rhs, out_dtype)?;
    let client = product.lhs.tensor.client.clone();
    let unavailable = || KernelError::unavailable(OP, format!("{way:?}"));
    if way == Way::Library {
        #[cfg(feature = "cuda")]
        if let Some(out) = product.place()
            && product.by_library(&out, crate::cuda::Beside::Nothing)?
        {
            return Ok(out);
        }
        return Err(unavailable());
    }
    let accelerates = plan::has_tensor_memory_accelerator(&client) && product.lhs.is_aligned() && product.rhs.is_aligned();
    let possible = product.lhs.tensor.dtype == DType::BF16 && plan::has_matrix_units(&client) && (accelerates || way == Way::Plain);
    if !possible {
        return Err(unavailable());
    }
    let Product { lhs, rhs, problem, out_dtype } = product;
    match way {
        Way::Specialised => specialised(problem, lhs, rhs, out_dtype),
        Way::Sharing => sharing(problem, lhs, rhs, out_dtype),
        Way::Library | Way::Plain => plain(problem, lhs, rhs, out_dtype),
    }
}

/// The products of pairs of `f32` matrices, `[g, m, k] x [g, k, n] -> [g, m, n]`, contiguous: plain fused multiply-adds, where burn's own
/// products would round their operands to TF32 on tensor cores.
///
/// # Errors
/// As [`matmul`].
pub fn batched<R: CubeRuntime>(lhs: CubeTensor<R>, rhs: CubeTensor<R>) -> Result<CubeTensor<R>> {
    let ([g, m, k], [g_of_rhs, k_of_rhs, n]) = (dims3(OP, "the left operand", &lhs)?, dims3(OP, "the right operand", &rhs)?);
    if (g, k) != (g_of_rhs, k_of_rhs) {
        return Err(KernelError::setup(OP, format!("[{g}, {m}, {k}] x [{g_of_rhs}, {k_of_rhs}, {n}]")));
    }
    if lhs.dtype != DType::F32 || rhs.dtype != DType::F32 {
        return Err(KernelError::setup(OP, format!("the operands hold {:?} and {:?}, not f32", lhs.dtype, rhs.dtype)));
    }
    let (lhs, rhs) = (batch(lhs), batch(rhs));
    let problem = MatmulProblem { m: m as u32, n: n as u32, k: k as u32, lhs: lhs.layout, rhs: rhs.layout };
    let blueprint = plan::units(&lhs.tensor.client, problem)?;
    launch::<R, SimpleUnitAlgorithm>(blueprint, lhs, rhs, [g, m, n].into(), DType::F32)
}

/// An operand of [`batched`], copied if neither axis of its matrices is contiguous.
fn batch<R: CubeRuntime>(tensor: CubeTensor<R>) -> Operand<R> {
    let strides = [0, 1, 2].map(|axis| tensor.meta.strides()[axis]);
    match strides {
        [.., 1] => Operand { tensor, layout: MatrixLayout::RowMajor },
        [_, 1, _] => Operand { tensor, layout: MatrixLayout::ColMajor },
        _ => Operand { tensor: into_contiguous(tensor), layout: MatrixLayout::RowMajor },
    }
}

/// The library that computes products of a device, and the algorithms that it has chosen so far: with the device they decide about the bits.
/// Its `Display` is one line for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryUse {
    /// Name and version.
    pub library: String,
    /// Number of each algorithm, with the kinds of products that it computes.
    pub algorithms: BTreeMap<i32, usize>,
    /// Kinds of products that are left to cubek's kernels.
    pub refused: usize,
}

impl fmt::Display for LibraryUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.library)?;
        for (at, (number, kinds)) in self.algorithms.iter().enumerate() {
            let before = if at == 0 { ": algorithm " } else { ", " };
            write!(f, "{before}{number} for {kinds} kinds of products")?;
        }
        match self.refused {
            0 => Ok(()),
            kinds => write!(f, "; CubeCL's kernels for {kinds}"),
        }
    }
}

/// The use of cuBLASLt by a device; `None` where cubek's kernels compute all products.
pub fn library_use<R: CubeRuntime>(_device: &R::Device) -> Option<LibraryUse> {
    #[cfg(feature = "cuda")]
    {
        let (report, mut kinds) = crate::cuda::choices::<R>(_device)?;
        let [major, minor, patch] = report.version;
        let refused = kinds.remove(&None).unwrap_or(0);
        let algorithms = kinds.into_iter().filter_map(|(number, count)| Some((number?, count))).collect();
        Some(LibraryUse { library: format!("cuBLASLt {major}.{minor}.{patch}"), algorithms, refused })
    }
    #[cfg(not(feature = "cuda"))]
    None
}

/// A product whose operands were checked.
struct Product<R: CubeRuntime> {
    lhs: Operand<R>,
    rhs: Operand<R>,
    problem: MatmulProblem,
    out_dtype: DType,
}

impl<R: CubeRuntime> Product<R> {
    fn new(lhs: CubeTensor<R>, rhs: CubeTensor<R>, out_dtype: DType) -> Result<Self> {
        let (lhs, rhs) = (matrix("the left operand", lhs)?, matrix("the right operand", rhs)?);
        if lhs.tensor.dtype != rhs.tensor.dtype {
            return Err(KernelError::setup(OP, format!("the operands hold {:?} and {:?}", lhs.tensor.dtype, rhs.tensor.dtype)));
        }
        if !matches!(out_dtype, DType::F32 | DType::BF16) {
            return Err(KernelError::setup(OP, format!("the result would be {out_dtype:?}, not f32 or bf16")));
        }
        let ([m, k], [k_of_rhs, n]) = (lhs.shape(), rhs.shape());
        if k != k_of_rhs {
            return Err(KernelError::setup(OP, format!("[{m}, {k}] x [{k_of_rhs}, {n}]")));
        }
        let problem = MatmulProblem { m: m as u32, n: n as u32, k: k as u32, lhs: lhs.layout, rhs: rhs.layout };
        Ok(Self { lhs, rhs, problem, out_dtype })
    }

    /// A place for the result of cuBLASLt; `None` where that is not used.
    #[cfg(feature = "cuda")]
    fn place(&self) -> Option<CubeTensor<R>> {
        let shape = [self.problem.m as usize, self.problem.n as usize];
        crate::cuda::is_used::<R>(&self.lhs.tensor.device).then(|| empty(&self.lhs.tensor, &shape, self.out_dtype))
    }

    /// Lets cuBLASLt write the product to `out`. `false` if it does not; see [`crate::cuda::product`].
    #[cfg(feature = "cuda")]
    fn by_library(&self, out: &CubeTensor<R>, beside: crate::cuda::Beside<'_, R>) -> Result<bool> {
        crate::cuda::product(self.lhs.for_library(), self.rhs.for_library(), out, beside)
    }

    /// The product by cubek's kernels.
    fn by_kernels(self) -> Result<CubeTensor<R>> {
        let Self { lhs, rhs, problem, out_dtype } = self;
        let client = lhs.tensor.client.clone();
        if lhs.tensor.dtype == DType::BF16 && plan::has_matrix_units(&client) {
            return match plan::has_tensor_memory_accelerator(&client) && lhs.is_aligned() && rhs.is_aligned() {
                true if plan::is_long(problem) => specialised(problem, lhs, rhs, out_dtype),
                true => sharing(problem, lhs, rhs, out_dtype),
                false => plain(problem, lhs, rhs, out_dtype),
            };
        }
        let shape = problem.shape();
        let widen = |it: Operand<R>| Ok(Operand { tensor: convert::convert(it.tensor, it.layout, DType::F32)?, ..it });
        let product = launch::<R, SimpleUnitAlgorithm>(plan::units(&client, problem)?, widen(lhs)?, widen(rhs)?, shape, DType::F32)?;
        convert::convert(product, MatrixLayout::RowMajor, out_dtype)
    }
}

/// An operand that a kernel can read.
struct Operand<R: CubeRuntime> {
    tensor: CubeTensor<R>,
    /// Which axis is contiguous.
    layout: MatrixLayout,
}

impl<R: CubeRuntime> Operand<R> {
    fn shape(&self) -> [usize; 2] {
        [self.tensor.meta.shape()[0], self.tensor.meta.shape()[1]]
    }

    /// As cuBLASLt takes it.
    #[cfg(feature = "cuda")]
    fn for_library(&self) -> crate::cuda::Operand<'_, R> {
        crate::cuda::Operand { tensor: &self.tensor, are_columns: self.layout == MatrixLayout::ColMajor }
    }

    /// Whether lines of memory begin at multiples of 16 bytes, as the tensor memory accelerator wants them. Buffers do.
    fn is_aligned(&self) -> bool {
        let pitch = self.tensor.meta.strides()[if self.layout == MatrixLayout::RowMajor { 0 } else { 1 }];
        (pitch * self.tensor.dtype.size()).is_multiple_of(16)
    }

    /// The matrix as `slabs` matrices, cut along axis `axis`, whose length they divide.
    fn cut(self, axis: usize, slabs: usize) -> Self {
        let (mut shape, strides) = (self.shape(), [self.tensor.meta.strides()[0], self.tensor.meta.strides()[1]]);
        shape[axis] /= slabs;
        let mut tensor = self.tensor;
        *tensor.meta = Metadata::new([slabs, shape[0], shape[1]], [shape[axis] * strides[axis], strides[0], strides[1]]);
        Self { tensor, ..self }
    }
}

/// [`Way::Plain`].
fn plain<R: CubeRuntime>(problem: MatmulProblem, lhs: Operand<R>, rhs: Operand<R>, out_dtype: DType) -> Result<CubeTensor<R>> {
    launch::<R, SimpleAlgorithm>(plan::plain(problem), lhs, rhs, problem.shape(), out_dtype)
}

/// [`Way::Sharing`].
fn sharing<R: CubeRuntime>(problem: MatmulProblem, lhs: Operand<R>, rhs: Operand<R>, out_dtype: DType) -> Result<CubeTensor<R>> {
    launch_with(plan::sharing(problem), lhs, rhs, problem.shape(), out_dtype, launch_ref_tma::<R, SimpleTmaAlgorithm>)
}

/// [`Way::Specialised`].
fn specialised<R: CubeRuntime>(problem: MatmulProblem, lhs: Operand<R>, rhs: Operand<R>, out_dtype: DType) -> Result<CubeTensor<R>> {
    let launched = |problem, lhs, rhs, shape, dtype| {
        launch_with(plan::specialised(problem), lhs, rhs, shape, dtype, launch_ref_tma::<R, SpecializedAlgorithm>)
    };
    let slabs = plan::slabs(&lhs.tensor.client, problem);
    if slabs == 1 {
        return launched(problem, lhs, rhs, problem.shape(), out_dtype);
    }
    let (m, n) = (problem.m as usize, problem.n as usize);
    let slab = MatmulProblem { k: problem.k / slabs as u32, ..problem };
    let mut parts = launched(slab, lhs.cut(1, slabs), rhs.cut(0, slabs), [slabs, m, n].into(), DType::F32)?;
    *parts.meta = Metadata::new([slabs, m * n], [m * n, 1]);
    let mut sum = column_sum(parts)?;
    *sum.meta = Metadata::new([m, n], [n, 1]);
    convert::convert(sum, MatrixLayout::RowMajor, out_dtype)
}

/// Checks an operand, and copies it if neither of its axes is contiguous.
fn matrix<R: CubeRuntime>(name: &str, tensor: CubeTensor<R>) -> Result<Operand<R>> {
    let [rows, columns] = *tensor.meta.shape().as_slice() else {
        return Err(KernelError::setup(OP, format!("{name} is {:?}, not a matrix", tensor.meta.shape().as_slice())));
    };
    if rows == 0 || columns == 0 || rows.max(columns) > i32::MAX as usize {
        return Err(KernelError::setup(OP, format!("{name} is [{rows}, {columns}]")));
    }
    if !matches!(tensor.dtype, DType::F32 | DType::BF16) {
        return Err(KernelError::setup(OP, format!("{name} holds {:?}, not f32 or bf16", tensor.dtype)));
    }
    let layout = |tensor: &CubeTensor<R>| MatrixLayout::from_shape_and_strides(tensor.meta.shape(), tensor.meta.strides(), None);
    match layout(&tensor) {
        Ok(layout) => Ok(Operand { tensor, layout }),
        Err(_) => Ok(Operand { tensor: copied(tensor), layout: MatrixLayout::RowMajor }),
    }
}

/// A copy without gaps. bf16 is copied by its bits, since not every device has the type.
fn copied<R: CubeRuntime>(mut tensor: CubeTensor<R>) -> CubeTensor<R> {
    let dtype = tensor.dtype;
    if dtype == DType::BF16 {
        tensor.dtype = DType::U16;
    }
    CubeTensor { dtype, ..into_contiguous(tensor) }
}

/// Launches the kernel of `blueprint` for a new tensor of this shape.
fn launch<R: CubeRuntime, A: Routine<(), Blueprint = TilingBlueprint>>(
    blueprint: TilingBlueprint,
    lhs: Operand<R>,
    rhs: Operand<R>,
    shape: Shape,
    out_dtype: DType,
) -> Result<CubeTensor<R>> {
    launch_with(blueprint, lhs, rhs, shape, out_dtype, launch_ref::<R, A>)
}

/// As [`launch`], by one of cubek's functions.
fn launch_with<R: CubeRuntime, A: Routine<(), Blueprint = TilingBlueprint>>(
    blueprint: TilingBlueprint,
    lhs: Operand<R>,
    rhs: Operand<R>,
    shape: Shape,
    out_dtype: DType,
    launch: impl FnOnce(
        &ComputeClient<R>,
        InputBinding<R>,
        InputBinding<R>,
        TensorBinding<R>,
        &BlueprintStrategy<(), A>,
        &mut MatmulElems,
    ) -> std::result::Result<(), MatmulSetupError>,
) -> Result<CubeTensor<R>> {
    let out = empty(&lhs.tensor, shape.as_slice(), out_dtype);
    let client = out.client.clone();
    let input = lhs.tensor.dtype.into();
    let mut types = MatmulElems::from_globals(&MatmulGlobalElems { lhs: input, rhs: input, out: out_dtype.into() });
    let (lhs, rhs) = (InputBinding::new(lhs.tensor.binding(), input), InputBinding::new(rhs.tensor.binding(), input));
    let strategy = BlueprintStrategy::<(), A>::Forced(blueprint);
    launch(&client, lhs, rhs, out.clone().binding(), &strategy, &mut types).map_err(|error| match error {
        MatmulSetupError::Unavailable(_) | MatmulSetupError::Launch(_) => KernelError::unavailable(OP, error.to_string().trim()),
        _ => KernelError::setup(OP, error.to_string().trim()),
    })?;
    Ok(out)
}
