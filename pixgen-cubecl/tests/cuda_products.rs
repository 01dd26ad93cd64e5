//! Products through cuBLASLt without a GPU, against float64: the stub driver of `tests/cuda` with its copies, and a stub cuBLASLt that
//! computes on the host. No kernel is launched, so nothing of CUDA is needed but a C compiler.
//!
//! A process loads a driver once, so each case runs in a process of its own: this test program again, with [`child`] as its only test.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod stubs;

use burn_backend::DType;
use burn_cubecl::tensor::CubeTensor;
use burn_std::Metadata;
use cubecl::cuda::{CudaDevice, CudaRuntime};
use cubecl::prelude::*;
use cubecl::stream_id::StreamId;
use half::bf16;
use pixgen_cubecl::cuda::{self, error::BlasError};
use pixgen_cubecl::matmul::{LibraryUse, library_use, linear, matmul, weight_gradient};
use pixgen_cubecl::{KernelError, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

type Tensor = CubeTensor<CudaRuntime>;

// --- Each case in a process of its own --------------------------------------------------------------------------------------------------

/// Runs `case` of [`child`] under the stubs with these variables, in the folder `PIXGEN_FOLDER` if that is among them; `library` names the stub's cuBLASLt, if it is to be found.
fn run(case: &str, library: Option<&str>, variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    stubs::compile("stub_driver.c", &folder.path().join("libcuda.so"));
    if let Some(name) = library {
        stubs::compile("stub_cublaslt.c", &folder.path().join(name));
    }
    Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("LD_LIBRARY_PATH", folder.path())
        .env("CUDA_STUB_RESULTS", "1")
        .env("PIXGEN_CASE", case)
        // No cuBLASLt of this machine's Python, and no toolkit.
        .env("PATH", "")
        .env("HOME", "/nonexistent")
        .envs(["VIRTUAL_ENV", "CONDA_PREFIX", "CUDA_PATH"].map(|name| (name, "/nonexistent")))
        .envs(variables.iter().copied())
        .output()
        .expect("the test starts")
}

/// What [`child`] printed, which must have ended well.
fn found(case: &str, library: Option<&str>, variables: &[(&str, &str)]) -> String {
    let output = run(case, library, variables);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !stderr.contains("panicked at"), "{case}: {stdout}{stderr}");
    let lines: Vec<&str> = stdout.lines().filter_map(|line| line.split_once("found: ")).map(|it| it.1).collect();
    lines.join("\n")
}

const LIBRARY: Option<&str> = Some("libcublasLt.so.12");

#[test]
#[ignore = "runs in a process of its own, started by the other tests"]
fn child() {
    if let Some(folder) = std::env::var_os("PIXGEN_FOLDER") {
        std::env::set_current_dir(folder).expect("a folder");
    }
    match std::env::var("PIXGEN_CASE").expect("set by the test").as_str() {
        "open" => match cuda::open(&CudaDevice::new(0)) {
            Ok(report) => println!("found: {report}"),
            Err(error) => println!("found: {error}"),
        },
        "layers" => layers(),
        "views" => views(),
        "threads" => threads(),
        "tf32" => tf32(),
        "later" => later(),
        "workspaces" => workspaces(),
        "repeated" => repeated(),
        other => panic!("{other}"),
    }
}

// --- What is found on a machine ----------------------------------------------------------------------------------------------------------

#[test]
fn the_library_and_the_stream_are_found() {
    let found = found("open", LIBRARY, &[]);
    assert_eq!(found, "products by cuBLASLt 12.9.3 (libcublasLt.so.12)");
}

/// Puts the stub's cuBLASLt where a wheel would, and returns its path.
fn python_environment(root: &Path) -> PathBuf {
    let folder = root.join("lib/python3.12/site-packages/nvidia/cublas/lib");
    std::fs::create_dir_all(&folder).expect("a folder");
    let library = folder.join("libcublasLt.so.12");
    stubs::compile("stub_cublaslt.c", &library);
    library
}

#[test]
fn the_library_of_a_python_environment_is_found() {
    let environment = tempfile::tempdir().expect("a folder");
    let library = python_environment(environment.path());
    let found = found("open", None, &[("VIRTUAL_ENV", &environment.path().to_string_lossy())]);
    assert_eq!(found, format!("products by cuBLASLt 12.9.3 ({})", library.display()));
}

#[test]
fn without_a_library_the_reason_is_told() {
    assert_eq!(found("open", None, &[]), "the library libcublasLt was not found");
    // The driver is of CUDA 12.
    assert_eq!(found("open", Some("libcublasLt.so.13"), &[]), "the library libcublasLt was not found");
}

/// Opened alone, before anything asked for the device.
#[test]
fn without_a_driver_the_reason_is_told() {
    // SAFETY: loads and unloads the driver's library, whose constructors expect nothing of the process.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        let none = found("open", LIBRARY, &[("LD_LIBRARY_PATH", "/nonexistent")]);
        assert_eq!(none, "this machine has no NVIDIA driver: the library libcuda was not found");
    }
    let old = found("open", LIBRARY, &[("CUDA_STUB_DRIVER", "11080")]);
    assert_eq!(old, "the NVIDIA driver speaks CUDA 11.8, and 12.0 or newer is needed");
    assert_eq!(found("open", LIBRARY, &[("CUDA_STUB_DEVICES", "0")]), "the CUDA driver finds no device");
}

/// Whoever fills the current folder must not choose the library.
#[test]
fn the_current_folder_is_not_searched() {
    let environment = tempfile::tempdir().expect("a folder");
    python_environment(environment.path());
    std::fs::write(environment.path().join("python3"), "").expect("a file");
    for name in ["PATH", "VIRTUAL_ENV", "CONDA_PREFIX"] {
        let variables = [("PIXGEN_FOLDER", environment.path().to_str().expect("UTF-8")), (name, ".")];
        assert_eq!(found("open", None, &variables), "the library libcublasLt was not found", "{name}");
    }
}

#[test]
fn a_failing_library_is_not_used() {
    for (fail, wanted) in [
        ("cublasLtCreate:1", "cublasLtCreate failed with status 1 (NOT_INITIALIZED)"),
        ("cublasLtMatmulAlgoGetHeuristic:15", "cublasLtMatmulAlgoGetHeuristic failed with status 15 (NOT_SUPPORTED)"),
        ("cublasLtMatmul:13", "cublasLtMatmul failed with status 13 (EXECUTION_FAILED)"),
    ] {
        assert_eq!(found("open", LIBRARY, &[("CUBLAS_STUB_FAIL", fail)]), wanted);
    }
    let wrong = found("open", LIBRARY, &[("CUBLAS_STUB_WRONG", "1")]);
    assert!(wrong.starts_with("a trial product is wrong: "), "{wrong}");
}

/// A stream of another context is not taken; then a stream of our own waits, and is waited for, by events of the context.
#[test]
fn without_the_stream_events_order_the_products() {
    let found_by_events = found("open", LIBRARY, &[("CUDA_STUB_CONTEXT", "1")]);
    assert!(
        found_by_events.ends_with("each between events of the context, since CubeCL's stream was not found"),
        "{found_by_events}"
    );
    found("views", LIBRARY, &[("CUDA_STUB_CONTEXT", "1")]);
    found("threads", LIBRARY, &[("CUDA_STUB_CONTEXT", "1")]);
}

/// Products that land in another stream do not wait for their operands, which the trial finds.
#[test]
fn a_wrong_stream_is_found() {
    let wrong = found("open", LIBRARY, &[("CUDA_STUB_MIX_UP", "1")]);
    assert_eq!(wrong, "cublasLtMatmul failed with status 13 (EXECUTION_FAILED)");
}

// --- What it computes --------------------------------------------------------------------------------------------------------------------

#[test]
fn products_of_every_layer_of_the_large_models() {
    println!("{}", found("layers", LIBRARY, &[]));
}

#[test]
fn products_of_odd_views() {
    found("views", LIBRARY, &[]);
}

#[test]
fn operands_of_other_threads_are_waited_for() {
    found("threads", LIBRARY, &[]);
}

#[test]
fn f32_is_rounded_to_tf32_only_when_asked() {
    found("tf32", LIBRARY, &[]);
}

/// A product fails after the first of its kind was fine: nobody waits for it, and the next call is an error.
#[test]
fn a_later_failure_is_not_lost() {
    // The trial and the first product pass.
    found("later", LIBRARY, &[("CUBLAS_STUB_FAIL", "cublasLtMatmul:14:2")]);
}

/// Threads share CubeCL's streams, and streams have one workspace each.
#[test]
fn streams_have_one_workspace_each() {
    assert_eq!(found("workspaces", LIBRARY, &[]), "1 in the first stream, 128 in all");
    assert_eq!(found("workspaces", LIBRARY, &[("CUDA_STUB_CONTEXT", "1")]), "1 in the first stream, 1 in all");
}

/// The first product of a kind fails for a moment: an error says why, and the library computes the next one.
#[test]
fn a_passing_failure_is_told_and_forgotten() {
    // The trial has its workspace, then the gradient's thread has none.
    let memory = found("repeated", LIBRARY, &[("CUDA_STUB_FAIL", "cuMemAllocAsync:2")]);
    assert_eq!(memory, "the driver failed in cuMemAllocAsync: CUDA_ERROR_OUT_OF_MEMORY; then 4");
    // After the product was submitted.
    let order = found("repeated", LIBRARY, &[("CUDA_STUB_CONTEXT", "1"), ("CUDA_STUB_FAIL", "cuCtxWaitEvent:2")]);
    assert_eq!(order, "the driver failed in cuCtxWaitEvent: error 999; then 4");
}

/// `count` numbers in [-1, 1), as a device stores them in `dtype`.
fn random(count: usize, seed: u64, dtype: DType) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let value = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
        if dtype == DType::BF16 {
            bf16::from_f32(value).to_f32()
        } else {
            value
        }
    };
    (0..count).map(next).collect()
}

/// A matrix whose lines lie `pitch` apart from element `start` of a buffer on, each line a row, or a column if it is `turned`.
fn tensor(values: &[f32], [rows, columns]: [usize; 2], dtype: DType, turned: bool, gap: usize, start: usize) -> Tensor {
    let (lines, width) = if turned { (columns, rows) } else { (rows, columns) };
    let pitch = width + gap;
    let mut stored = vec![7e7f32; start + lines * pitch];
    for line in 0..lines {
        for at in 0..width {
            let value = if turned {
                values[at * columns + line]
            } else {
                values[line * columns + at]
            };
            stored[start + line * pitch + at] = value;
        }
    }
    let device = CudaDevice::new(0);
    let client = CudaRuntime::client(&device);
    let handle = if dtype == DType::F32 {
        client.create_from_slice(f32::as_bytes(&stored))
    } else {
        let bits: Vec<u16> = stored.iter().map(|value| bf16::from_f32(*value).to_bits()).collect();
        client.create_from_slice(u16::as_bytes(&bits))
    };
    let handle = handle.offset_start((start * dtype.size()) as u64);
    let mut tensor = Tensor::new_contiguous(client, device, [rows, columns].into(), handle, dtype);
    *tensor.meta = Metadata::new([rows, columns], if turned { [1, pitch] } else { [pitch, 1] });
    tensor
}

fn plain(values: &[f32], shape: [usize; 2], dtype: DType) -> Tensor {
    tensor(values, shape, dtype, false, 0, 0)
}

fn vector(values: &[f32], dtype: DType) -> Tensor {
    let mut row = plain(values, [1, values.len()], dtype);
    *row.meta = Metadata::new([values.len()], [1]);
    row
}

fn download(tensor: &Tensor) -> Vec<f32> {
    let bytes = tensor.client.read_one(tensor.handle.clone()).expect("the device answers");
    let count = tensor.meta.num_elements();
    match tensor.dtype {
        DType::F32 => f32::from_bytes(&bytes)[..count].to_vec(),
        _ => u16::from_bytes(&bytes)[..count]
            .iter()
            .map(|bits| bf16::from_bits(*bits).to_f32())
            .collect(),
    }
}

/// Places of a result of `count` numbers that are compared: all of a small one, else the ends and some hundred between.
fn places(count: usize) -> impl Iterator<Item = usize> {
    let step = if count < 5000 { 1 } else { (count / 400) | 1 };
    (0..count).step_by(step).chain([count - 1])
}

/// Compares a result with what it must be, within the rounding of its type and of `terms` sums in f32.
fn check(name: &str, got: &[f32], dtype: DType, terms: usize, want: impl Fn(usize) -> f64) -> f64 {
    // Terms are below 1 in size, and added one after another.
    let sums = 6e-8 * terms as f64;
    let mut worst = 0.0f64;
    for at in places(got.len()) {
        let (got, want) = (f64::from(got[at]), want(at));
        let rounding = if dtype == DType::BF16 {
            want.abs() / 256.0
        } else {
            want.abs() * 1e-6
        };
        let error = (got - want).abs();
        assert!(error <= rounding + sums, "{name}, place {at}: {got} instead of {want}");
        worst = worst.max(error / (want.abs() + 1.0));
    }
    worst
}

/// `sum_k a(k) b(k)` in float64.
fn dot(terms: usize, a: impl Fn(usize) -> f32, b: impl Fn(usize) -> f32) -> f64 {
    (0..terms).map(|k| f64::from(a(k)) * f64::from(b(k))).sum()
}

/// The forward and both backward products of a layer, with bias and bias gradient.
fn layer(rows: usize, [inputs, outputs]: [usize; 2], dtype: DType) -> Result<f64> {
    let name = format!("{rows} rows, {inputs} to {outputs}, {dtype:?}");
    let (x, w, dy) = (random(rows * inputs, 1, dtype), random(outputs * inputs, 2, dtype), random(rows * outputs, 3, dtype));
    let b = random(outputs, 4, dtype);
    let of = |values: &[f32], columns| plain(values, [values.len() / columns, columns], dtype);
    let (tx, tw, tdy) = (of(&x, inputs), of(&w, inputs), of(&dy, outputs));

    let y = download(&linear(tx.clone(), tw.clone(), vector(&b, dtype))?);
    let mut worst = check(&format!("{name}: y"), &y, dtype, inputs, |at| {
        let (row, column) = (at / outputs, at % outputs);
        dot(inputs, |k| x[row * inputs + k], |k| w[column * inputs + k]) + f64::from(b[column])
    });
    let dx = download(&matmul(tdy.clone(), tw, dtype)?);
    worst = worst.max(check(&format!("{name}: dx"), &dx, dtype, outputs, |at| {
        let (row, column) = (at / inputs, at % inputs);
        dot(outputs, |k| dy[row * outputs + k], |k| w[k * inputs + column])
    }));
    // Elsewhere a kernel adds the rows, which nothing here can run.
    let comes_along = dtype == DType::F32 || rows > 2 * inputs;
    let (dw, db) = weight_gradient(tdy, tx, comes_along)?;
    assert_eq!((db.is_some(), dw.dtype == DType::F32), (comes_along, comes_along), "{name}");
    worst = worst.max(check(&format!("{name}: dw"), &download(&dw), dw.dtype, rows, |at| {
        let (row, column) = (at / inputs, at % inputs);
        dot(rows, |k| dy[k * outputs + row], |k| x[k * inputs + column])
    }));
    if let Some(db) = db {
        worst = worst.max(check(&format!("{name}: db"), &download(&db), DType::F32, rows, |at| {
            dot(rows, |k| dy[k * outputs + at], |_| 1.0)
        }));
    }
    Ok(worst)
}

/// Every linear layer of EPG-L, XL, XXL and G, with few rows; one of EPG-S with the tokens of an image and of a small batch.
fn layers() {
    let mut shapes = Vec::new();
    for name in ["EPG-L-16-256", "EPG-XL-16-256", "EPG-XXL-16-256", "EPG-G-16-256"] {
        let model = pixgen_core::presets::preset(name).expect("a preset").model;
        let patch = model.patch * model.patch * model.channels;
        let (encoder, decoder) = (model.encoder.width, model.decoder.width);
        shapes.extend([[patch, encoder], [encoder, decoder], [decoder, patch]]);
        for (width, is_decoder) in [(encoder, false), (decoder, true)] {
            shapes.extend([
                [width, 3 * width],
                [width, width],
                [width, 4 * width],
                [4 * width, width],
                [width, 6 * width],
            ]);
            shapes.extend(is_decoder.then_some([2 * width, width]));
        }
    }
    shapes.sort_unstable();
    shapes.dedup();
    let mut worst = 0.0f64;
    for shape in &shapes {
        worst = worst.max(layer(10, *shape, DType::BF16).expect("shapes fit"));
    }
    for (rows, dtype) in [(258, DType::BF16), (2 * 66, DType::BF16), (66, DType::F32)] {
        worst = worst.max(layer(rows, [768, 768], dtype).expect("shapes fit"));
    }
    worst = worst.max(layer(10, [1024, 4096], DType::F32).expect("shapes fit"));
    // So many rows that the bias's gradient comes along with the weight's in bf16 too.
    worst = worst.max(layer(200, [64, 96], DType::BF16).expect("shapes fit"));
    let LibraryUse { library, algorithms, refused } = library_use::<CudaRuntime>(&CudaDevice::new(0)).expect("it was used");
    // The stub has one, and computes every kind.
    let kinds = algorithms.get(&66).copied().unwrap_or(0);
    assert!(
        library == "cuBLASLt 12.9.3" && algorithms.len() == 1 && refused == 0 && kinds > 2 * shapes.len(),
        "{algorithms:?}"
    );
    println!("found: {} layers, {kinds} kinds of products, error at most {worst:.1e}", shapes.len());
}

/// Every layout and type, lines with gaps, views that begin anywhere, sizes of one.
fn views() {
    let run = |[m, k, n]: [usize; 3], dtype, out, [turned_left, turned_right]: [bool; 2], gap, start| {
        let (a, b) = (random(m * k, 1, dtype), random(k * n, 2, dtype));
        let left = tensor(&a, [m, k], dtype, turned_left, gap, start);
        let right = tensor(&b, [k, n], dtype, turned_right, gap, start);
        let got = download(&matmul(left, right, out).expect("shapes fit"));
        let name = format!("[{m}, {k}] x [{k}, {n}] {dtype:?} {turned_left} {turned_right} gap {gap} start {start}");
        check(&name, &got, out, k, |at| dot(k, |i| a[at / n * k + i], |i| b[i * n + at % n]));
    };
    for (dtype, out) in [(DType::F32, DType::F32), (DType::BF16, DType::F32), (DType::BF16, DType::BF16)] {
        for turned in [[false, false], [false, true], [true, false], [true, true]] {
            for size in [[1, 1, 1], [5, 7, 3], [64, 258, 24], [1, 40, 9], [9, 40, 1], [33, 1, 17]] {
                run(size, dtype, out, turned, 0, 0);
            }
            for (gap, start) in [(8, 64), (5, 3), (1, 0), (0, 1)] {
                run([12, 20, 28], dtype, out, turned, gap, start);
            }
        }
    }
    println!("found: all");
}

/// Operands that other threads made, whose streams use the memory again at once.
fn threads() {
    let side = 96;
    for seed in 0..20 {
        let a = random(side * side, seed, DType::F32);
        let other = a.clone();
        let left = std::thread::spawn(move || plain(&other, [side, side], DType::F32))
            .join()
            .expect("it ends");
        let made_by = left.handle.stream;
        assert_ne!(made_by, StreamId::current());
        let right = plain(&a, [side, side], DType::F32);
        let out = matmul(left, right, DType::F32).expect("shapes fit");
        // On the stream of the thread that ended, over what the product read.
        made_by.executes(|| plain(&vec![1e9; side * side], [side, side], DType::F32));
        let got = std::thread::spawn(move || download(&out)).join().expect("it ends");
        check("threads", &got, DType::F32, side, |at| dot(side, |k| a[at / side * side + k], |k| a[k * side + at % side]));
    }
    println!("found: all");
}

fn tf32() {
    let a = random(32 * 32, 1, DType::F32);
    let error = || {
        let got = download(&matmul(plain(&a, [32, 32], DType::F32), plain(&a, [32, 32], DType::F32), DType::F32).expect("shapes fit"));
        let want = |at: usize| dot(32, |k| a[at / 32 * 32 + k], |k| a[k * 32 + at % 32]);
        got.iter()
            .enumerate()
            .map(|(at, got)| (f64::from(*got) - want(at)).abs())
            .fold(0.0, f64::max)
    };
    assert!(error() < 1e-5, "f32 stays f32");
    cuda::allow_tf32(true);
    let rounded = error();
    assert!((1e-5..1e-2).contains(&rounded), "{rounded}");
    cuda::allow_tf32(false);
    assert!(error() < 1e-5, "f32 again");
    println!("found: {rounded}");
}

fn later() {
    let a = random(64 * 64, 1, DType::F32);
    let product = || matmul(plain(&a, [64, 64], DType::F32), plain(&a, [64, 64], DType::F32), DType::F32);
    let client = CudaRuntime::client(&CudaDevice::new(0));
    assert!(product().is_ok(), "the first of its kind");
    assert!(product().is_ok(), "it was submitted");
    cubecl::future::block_on(client.sync()).expect("the stream itself is fine");
    let error = product().expect_err("the one before failed");
    assert_eq!(error, KernelError::Submitted(BlasError::Status { call: "cublasLtMatmul", status: 14 }));
    println!("found: {error}");
}

/// Products by more threads than CubeCL has streams, and an operand from a stream that has none.
fn workspaces() {
    // SAFETY: the stub is loaded already, and the function takes nothing and returns an integer.
    let count = || unsafe {
        let driver = libloading::Library::new("libcuda.so").expect("the stub driver");
        driver
            .get::<unsafe extern "C" fn() -> std::ffi::c_int>("cuda_stub_workspaces")
            .expect("its function")()
    };
    let operand = || plain(&[1.0; 64], [8, 8], DType::F32);
    let product = move |left| download(&matmul(left, operand(), DType::F32).expect("shapes fit"));
    let elsewhere = std::thread::spawn(operand).join().expect("it ends");
    assert_eq!(product(elsewhere), [8.0; 64]);
    let first = count();
    for _ in 0..300 {
        let result = std::thread::spawn(move || product(operand())).join().expect("it ends");
        assert_eq!(result, [8.0; 64]);
    }
    println!("found: {first} in the first stream, {} in all", count());
}

/// A product of ones that fails in a thread, and once more.
fn repeated() {
    cuda::open(&CudaDevice::new(0)).expect("the trial passes");
    let ones = || plain(&[1.0; 16], [4, 4], DType::F32);
    let once = move || matmul(ones(), ones(), DType::F32);
    let failed = std::thread::scope(|scope| scope.spawn(|| once().map(drop).expect_err("the driver fails")).join().expect("it ends"));
    let KernelError::Submitted(reason) = failed else {
        panic!("{failed}")
    };
    let used = library_use::<CudaRuntime>(&CudaDevice::new(0)).expect("it was used");
    assert_eq!(used.refused, 0, "no kind is given up");
    let sums = download(&once().expect("it is over"));
    assert!(sums.iter().all(|it| *it == sums[0]), "{sums:?}");
    println!("found: {reason}; then {}", sums[0]);
}
