//! Products by cuBLASLt on the thread of a device, in the order of CubeCL's launches.
//!
//! cuBLASLt counts in columns: a row-major matrix is its transpose, so `C = A B` is computed as `C^T = B^T A^T`, with the operands in the
//! other order and nothing moved.
//!
//! What cuBLASLt needs to know of a product, how it lies in memory and the algorithm that it chose, is a plan, made once for each
//! [`Kind`] of product. Algorithms that would add parts of a sum in the order in which they are ready are not allowed: the same library
//! on the same device repeats its bits.

use super::error::{BlasError, driver, memory};
use super::library::{Algorithm, Heuristic, Library, Opaque};
use super::stream::{ContextEvents, Pool, Server, Way};
use cubecl::server::{Binding, ComputeServer};
use cubecl::stream_id::StreamId;
use cudarc::driver::result::{free_async, malloc_async};
use cudarc::driver::sys::{CUdeviceptr, CUstream};
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::ptr::{from_mut, from_ref, null_mut};

/// Bytes that a product may use for parts of sums: NVIDIA's advice for Hopper.
const WORKSPACE: usize = 32 << 20;

/// Parts of a sum are added in a fixed order, in f32 (`CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE`), or a sum has no parts.
const FIXED_ORDER: u32 = 2;

/// `CUBLAS_COMPUTE_32F` and `CUBLAS_COMPUTE_32F_FAST_TF32`.
const COMPUTE_F32: c_int = 68;
const COMPUTE_TF32: c_int = 77;

/// Attributes of `cublasLtMatmulDesc_t`.
const TRANSPOSE_FIRST: c_int = 3;
const TRANSPOSE_SECOND: c_int = 4;
const EPILOGUE: c_int = 7;
const BIAS_POINTER: c_int = 8;

/// Attributes of `cublasLtMatmulPreference_t`; the alignments are those of the operands, of what is added to, and of the result.
const MOST_WORKSPACE: c_int = 1;
const REDUCTION_SCHEMES: c_int = 3;
const ALIGNMENTS: [c_int; 4] = [5, 6, 7, 8];

/// `CUBLASLT_ALGO_CONFIG_ID`.
const ALGORITHM_ID: c_int = 0;

/// The type of a matrix's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// Single precision.
    F32,
    /// bfloat16.
    Bf16,
}

impl Element {
    /// `cudaDataType_t`.
    fn code(self) -> c_int {
        match self {
            Self::F32 => 0,
            Self::Bf16 => 14,
        }
    }
}

/// What is done beside the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extra {
    /// Nothing.
    None,
    /// A vector is added to each row of the result.
    Bias,
    /// The sums of the rows of the left operand are written to a vector.
    RowSums,
}

impl Extra {
    /// `cublasLtEpilogue_t`: `DEFAULT`, `BIAS` and `BGRADB`, since the left operand is cuBLASLt's second.
    fn code(self) -> c_int {
        match self {
            Self::None => 1,
            Self::Bias => 4,
            Self::RowSums => 512,
        }
    }
}

/// How an operand lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lines {
    /// A line of memory is a column.
    pub are_columns: bool,
    /// Elements from the start of a line to that of the next.
    pub pitch: u32,
    /// The address is a multiple of so many bytes.
    pub alignment: u32,
}

/// All that a plan depends on: `[m, k] x [k, n] -> [m, n]`, the result row-major and without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    /// m, n and k.
    pub sizes: [u32; 3],
    /// The left operand.
    pub lhs: Lines,
    /// The right operand.
    pub rhs: Lines,
    /// The address of the result is a multiple of so many bytes.
    pub out_alignment: u32,
    /// Type of the operands.
    pub input: Element,
    /// Type of the result, and of the vector of `extra`.
    pub output: Element,
    /// What is done beside it.
    pub extra: Extra,
    /// f32 operands may be rounded to TF32.
    pub tf32: bool,
}

/// A product to compute.
#[derive(Debug)]
pub struct Job {
    /// What it is.
    pub kind: Kind,
    /// Left operand, right operand, result and, unless [`Extra::None`], the vector.
    pub memory: Vec<Binding>,
    /// The stream of the thread that asks.
    pub stream: StreamId,
}

/// A kind of product as cuBLASLt knows it.
#[derive(Debug)]
struct Plan {
    description: Opaque,
    /// Of cuBLASLt's first operand, its second one, and the result.
    layouts: [Opaque; 3],
    algorithm: Algorithm,
    /// Its number, for logs.
    number: c_int,
}

/// cuBLASLt on one device. It lives on the device's thread.
struct Blas {
    library: &'static Library,
    handle: Opaque,
    way: Way,
    plans: HashMap<Kind, Plan>,
    /// A workspace for each stream that products were submitted to: several threads share one.
    workspaces: HashMap<CUstream, CUdeviceptr>,
}

thread_local! {
    /// Of the device whose thread this is.
    static BLAS: RefCell<Option<Blas>> = const { RefCell::new(None) };
}

/// Turns a status of cuBLASLt into a result.
fn status(call: &'static str, status: c_int) -> Result<(), BlasError> {
    if status == 0 {
        Ok(())
    } else {
        Err(BlasError::Status { call, status })
    }
}

/// Opens the device, or goes another way there: `with_events` chooses the one of [`stream`]. `any` is memory of the device.
///
/// # Errors
/// Whatever keeps cuBLASLt from working.
pub fn open(library: &'static Library, server: &mut Server, any: Binding, stream: StreamId, with_events: bool) -> Result<(), BlasError> {
    // Makes the device's context current.
    server.get_resource(any, stream).map_err(memory)?;
    let way = if with_events {
        Way::Events(ContextEvents::new()?)
    } else {
        Way::Streams(Pool::default())
    };
    BLAS.with_borrow_mut(|it| {
        if let Some(blas) = it {
            // Handle and plans are the same for every stream.
            blas.way = way;
            return blas.give_back();
        }
        let mut handle = null_mut();
        // SAFETY: writes a handle to a valid place.
        status("cublasLtCreate", unsafe { (library.functions.create)(&mut handle) })?;
        *it = Some(Blas { library, handle, way, plans: HashMap::new(), workspaces: HashMap::new() });
        Ok(())
    })
}

/// Submits a product; returns the number of its algorithm. After a [refusal](BlasError::is_refusal) nothing was computed; after another
/// error the result may have been written all the same.
///
/// # Errors
/// The device was not [opened](open), cuBLASLt has no algorithm for it or fails, CubeCL does not give the memory.
pub fn run(server: &mut Server, job: Job) -> Result<c_int, BlasError> {
    BLAS.with(|it| match it.try_borrow_mut().as_deref_mut() {
        Ok(Some(blas)) => blas.run(server, job),
        _ => Err(BlasError::NotFound),
    })
}

impl Blas {
    fn run(&mut self, server: &mut Server, Job { kind, memory: bindings, stream }: Job) -> Result<c_int, BlasError> {
        let (library, handle) = (self.library, self.handle);
        let Self { way, plans, workspaces, .. } = self;
        way.submit(server, bindings, stream, |addresses, submitted| {
            let alignments = [kind.lhs.alignment, kind.rhs.alignment, kind.out_alignment];
            if let Some(at) = (0..3).find(|at| !addresses[*at].is_multiple_of(alignments[*at].into())) {
                return Err(BlasError::Memory { message: format!("operand {at} lies at {:#x}", addresses[at]) });
            }
            let workspace = workspace(workspaces, submitted)?;
            let plan = match plans.entry(kind) {
                Entry::Occupied(plan) => plan.into_mut(),
                Entry::Vacant(place) => place.insert(Plan::new(library, handle, kind)?),
            };
            plan.multiply(library, handle, addresses, workspace, submitted)?;
            Ok(plan.number)
        })
    }

    /// Gives all workspaces back.
    fn give_back(&mut self) -> Result<(), BlasError> {
        for (stream, workspace) in self.workspaces.drain() {
            // SAFETY: it was allocated in this stream, whose products use it before it is free, and nobody else knows of it.
            unsafe { free_async(workspace, stream) }.map_err(driver("cuMemFreeAsync"))?;
        }
        Ok(())
    }
}

/// The workspace of a stream, which [`stream`](super::stream) found or made. It is kept, as streams are.
fn workspace(workspaces: &mut HashMap<CUstream, CUdeviceptr>, stream: CUstream) -> Result<CUdeviceptr, BlasError> {
    if let Some(found) = workspaces.get(&stream) {
        return Ok(*found);
    }
    // SAFETY: the stream belongs to the current context and is never destroyed.
    let workspace = unsafe { malloc_async(stream, WORKSPACE) }.map_err(driver("cuMemAllocAsync"))?;
    workspaces.insert(stream, workspace);
    Ok(workspace)
}

/// Objects of cuBLASLt that belong to a plan in the making, destroyed if it is not finished.
struct Parts {
    library: &'static Library,
    description: Opaque,
    layouts: [Opaque; 3],
    preference: Opaque,
}

impl Drop for Parts {
    fn drop(&mut self) {
        let functions = &self.library.functions;
        // SAFETY: each is null or was made by the library and is destroyed once.
        unsafe {
            if !self.preference.is_null() {
                (functions.forget_preference)(self.preference);
            }
            if !self.description.is_null() {
                (functions.forget_description)(self.description);
            }
            for layout in self.layouts.into_iter().filter(|it| !it.is_null()) {
                (functions.forget_layout)(layout);
            }
        }
    }
}

impl Plan {
    /// Describes a kind of product and asks for an algorithm.
    fn new(library: &'static Library, handle: Opaque, kind: Kind) -> Result<Self, BlasError> {
        let mut parts = Parts { library, description: null_mut(), layouts: [null_mut(); 3], preference: null_mut() };
        parts.describe(kind)?;
        parts.lay_out(kind)?;
        parts.prefer(kind)?;
        let (mut found, mut count) = (Heuristic::default(), 0);
        let [first, second, out] = parts.layouts;
        // SAFETY: all objects are the library's, and there is room for the one result that is asked for.
        let chosen = unsafe {
            (library.functions.choose)(handle, parts.description, first, second, out, out, parts.preference, 1, &mut found, &mut count)
        };
        const CALL: &str = "cublasLtMatmulAlgoGetHeuristic";
        status(CALL, chosen)?;
        // NOT_SUPPORTED
        status(CALL, if count > 0 { found.state } else { 15 })?;
        if found.workspace > WORKSPACE {
            return Err(BlasError::Status { call: CALL, status: 15 });
        }
        let plan = Self {
            description: std::mem::replace(&mut parts.description, null_mut()),
            layouts: std::mem::replace(&mut parts.layouts, [null_mut(); 3]),
            algorithm: found.algorithm,
            number: algorithm_number(library, &found.algorithm),
        };
        Ok(plan)
    }

    /// Submits a product with these addresses: left operand, right operand, result, vector.
    fn multiply(
        &self,
        library: &Library,
        handle: Opaque,
        addresses: &[CUdeviceptr],
        workspace: CUdeviceptr,
        stream: CUstream,
    ) -> Result<(), BlasError> {
        let functions = &library.functions;
        if let Some(vector) = addresses.get(3) {
            // SAFETY: the attribute is an address of the device.
            let set = unsafe { (functions.set_description)(self.description, BIAS_POINTER, from_ref(vector).cast(), size_of_val(vector)) };
            status("cublasLtMatmulDescSetAttribute", set)?;
        }
        let (alpha, beta) = (1.0f32, 0.0f32);
        let [first, second, out] = self.layouts;
        let address = |at: usize| addresses[at] as *mut c_void;
        // SAFETY: the layouts are those of the memory, which CubeCL gave for this stream; the factors are read before the call returns.
        let submitted = unsafe {
            (functions.multiply)(
                handle,
                self.description,
                from_ref(&alpha).cast(),
                address(1),
                first,
                address(0),
                second,
                from_ref(&beta).cast(),
                address(2),
                out,
                address(2),
                out,
                &self.algorithm,
                workspace as *mut c_void,
                WORKSPACE,
                stream.cast(),
            )
        };
        status("cublasLtMatmul", submitted)
    }
}

impl Parts {
    /// The operation: types, which operands are transposed, what is done beside it.
    fn describe(&mut self, kind: Kind) -> Result<(), BlasError> {
        let functions = &self.library.functions;
        let compute = if kind.tf32 && kind.input == Element::F32 {
            COMPUTE_TF32
        } else {
            COMPUTE_F32
        };
        // SAFETY: writes a handle to a valid place.
        status("cublasLtMatmulDescCreate", unsafe {
            (functions.describe)(&mut self.description, compute, Element::F32.code())
        })?;
        let attributes = [
            (TRANSPOSE_FIRST, c_int::from(kind.rhs.are_columns)),
            (TRANSPOSE_SECOND, c_int::from(kind.lhs.are_columns)),
            (EPILOGUE, kind.extra.code()),
        ];
        for (attribute, value) in attributes {
            // SAFETY: these attributes are integers of 32 bits.
            let set = unsafe { (functions.set_description)(self.description, attribute, from_ref(&value).cast(), size_of_val(&value)) };
            status("cublasLtMatmulDescSetAttribute", set)?;
        }
        Ok(())
    }

    /// The operands and the result in columns.
    fn lay_out(&mut self, kind: Kind) -> Result<(), BlasError> {
        let [m, n, k] = kind.sizes.map(u64::from);
        let stored = |lines: Lines, rows: u64, columns: u64| if lines.are_columns { [columns, rows] } else { [rows, columns] };
        let matrices = [
            (kind.input, stored(kind.rhs, n, k), kind.rhs.pitch),
            (kind.input, stored(kind.lhs, k, m), kind.lhs.pitch),
            (kind.output, [n, m], kind.sizes[1]),
        ];
        for (layout, (element, [rows, columns], pitch)) in self.layouts.iter_mut().zip(matrices) {
            // SAFETY: writes a handle to a valid place.
            let made = unsafe { (self.library.functions.lay_out)(layout, element.code(), rows, columns, pitch.into()) };
            status("cublasLtMatrixLayoutCreate", made)?;
        }
        Ok(())
    }

    /// What an algorithm may use, and what it may rely on.
    fn prefer(&mut self, kind: Kind) -> Result<(), BlasError> {
        let functions = &self.library.functions;
        // SAFETY: writes a handle to a valid place.
        status("cublasLtMatmulPreferenceCreate", unsafe { (functions.prefer)(&mut self.preference) })?;
        let set = |attribute, value: *const c_void, bytes| {
            // SAFETY: the attributes have the sizes that are given.
            status("cublasLtMatmulPreferenceSetAttribute", unsafe {
                (functions.set_preference)(self.preference, attribute, value, bytes)
            })
        };
        set(MOST_WORKSPACE, from_ref(&WORKSPACE).cast(), size_of::<usize>())?;
        set(REDUCTION_SCHEMES, from_ref(&FIXED_ORDER).cast(), size_of::<u32>())?;
        let alignments = [kind.rhs.alignment, kind.lhs.alignment, kind.out_alignment, kind.out_alignment];
        for (attribute, alignment) in ALIGNMENTS.into_iter().zip(&alignments) {
            set(attribute, from_ref(alignment).cast(), size_of::<u32>())?;
        }
        Ok(())
    }
}

/// The number of an algorithm; -1 if the library does not tell.
fn algorithm_number(library: &Library, algorithm: &Algorithm) -> c_int {
    let (mut number, mut written): (c_int, usize) = (-1, 0);
    // SAFETY: the attribute is an integer of 32 bits.
    let told = unsafe {
        (library.functions.algorithm_number)(algorithm, ALGORITHM_ID, from_mut(&mut number).cast(), size_of::<c_int>(), &mut written)
    };
    if told == 0 { number } else { -1 }
}
