//! Launches kernels on a CUDA device:
//!
//! ```text
//! cuda_kernels attention TOKENSxHEAD..            attention, forward and backward, for `tests/cuda/interpret.sh`, which shows without a GPU
//!                                                 what the kernels compute; one image with two heads in bf16, 258 tokens with one head
//! cuda_kernels choices DEVICE PRESET IMAGES SECONDS
//!                                                 times what products and attention of a preset's encoder may choose from, in bf16, for so long
//!                                                 at most: a row of `tests/cuda/device.sh`; DEVICE is `cuda` or `cuda:NUMBER`
//! ```
//!
//! Choices are a Markdown table; the last line says how far what is chosen is from the fastest. A result that differs from that of the
//! choice is marked, and makes the exit status 1.

use burn_backend::DType;
use burn_cubecl::tensor::CubeTensor;
use burn_std::Metadata;
use cubecl::Runtime;
use cubecl::cuda::{CudaDevice, CudaRuntime};
use cubecl::prelude::ComputeClient;
use pixgen_core::config::MLP_RATIO;
use pixgen_core::presets::preset;
use pixgen_cubecl::attention::fragments::tiles::FragmentTiles;
use pixgen_cubecl::attention::plan::AttentionKernel;
use pixgen_cubecl::device::{DeviceError, cuda};
use pixgen_cubecl::matmul::{Way, matmul, matmul_by};
use pixgen_cubecl::{Result as Kernel, attention};
use std::error::Error;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

type Tensor = CubeTensor<CudaRuntime>;
type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(error) = error.downcast_ref::<DeviceError>() {
                eprintln!("hint: {}", error.hint());
            }
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<(), Failure> {
    match *words {
        ["attention", ref cases @ ..] => {
            let gpu = Gpu::open(0)?;
            cases.iter().try_for_each(|case| attend(&gpu, case))
        }
        ["choices", device, name, images, seconds] => {
            let tower = preset(name).ok_or_else(|| format!("{name} is no preset"))?.model;
            let (tokens, width, heads) = (tower.tokens(), tower.encoder.width, tower.encoder.heads);
            let images: usize = number("IMAGES", images)?;
            let until = Instant::now() + Duration::from_secs(number("SECONDS", seconds)?);
            let gpu = match device.strip_prefix("cuda:") {
                Some(index) => Gpu::open(number("the number of DEVICE", index)?)?,
                None if device == "cuda" => Gpu::open(0)?,
                None => return Err(format!("{device} is neither cuda nor cuda:NUMBER").into()),
            };
            let mut table = Table { gpu: &gpu, until, worst: 1.0, compared: 0, wrong: 0 };
            println!("| what | choice | ms | TFLOP/s | |\n|---|---|---:|---:|---|");
            products(&mut table, images * tokens, width)?;
            attentions(&mut table, [images, tokens, width], heads)?;
            if table.wrong > 0 {
                return Err(format!("{} results differ from that of what is taken: WRONG in the table", table.wrong).into());
            }
            println!("what is chosen takes at most {:.2} times the fastest, in {} cases", table.worst, table.compared);
            Ok(())
        }
        _ => Err("cuda_kernels attention TOKENSxHEAD.. | choices DEVICE PRESET IMAGES SECONDS".into()),
    }
}

fn number<T: FromStr>(what: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| format!("{what} must be a whole number, not '{text}'").into())
}

struct Gpu {
    client: ComputeClient<CudaRuntime>,
    device: CudaDevice,
}

impl Gpu {
    fn open(index: usize) -> Result<Self, Failure> {
        let (device, report) = cuda::open(index)?;
        eprintln!("{report}");
        Ok(Self { client: CudaRuntime::client(&device), device })
    }

    /// Numbers of bf16 that nobody has written.
    fn empty(&self, shape: &[usize]) -> Tensor {
        let handle = self.client.empty(shape.iter().product::<usize>() * DType::BF16.size());
        Tensor::new_contiguous(self.client.clone(), self.device.clone(), shape.to_vec().into(), handle, DType::BF16)
    }

    /// Random numbers of bf16: sign and mantissa at random, exponents of 1/16 to 1/2.
    fn random(&self, shape: &[usize], seed: u64) -> Tensor {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 48) as u16 & 0x807f) | ((123 + (state >> 40) as u16 % 4) << 7)
        };
        let bytes: Vec<u8> = (0..shape.iter().product()).flat_map(|_: usize| next().to_le_bytes()).collect();
        let handle = self.client.create_from_slice(&bytes);
        Tensor::new_contiguous(self.client.clone(), self.device.clone(), shape.to_vec().into(), handle, DType::BF16)
    }

    fn numbers(&self, tensor: &Tensor) -> Result<Vec<f32>, Failure> {
        let bytes = self.client.read_one(tensor.handle.clone()).map_err(|error| error.to_string())?;
        let wide = |bits: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*bits)) << 16);
        Ok(bytes.as_chunks().0.iter().map(wide).collect())
    }

    fn wait(&self) -> Result<(), Failure> {
        cubecl::future::block_on(self.client.sync()).map_err(|error| error.to_string().into())
    }
}

/// A matrix seen the other way round.
fn transposed(tensor: &Tensor) -> Tensor {
    let mut tensor = tensor.clone();
    let [rows, columns] = [tensor.meta.shape()[0], tensor.meta.shape()[1]];
    *tensor.meta = Metadata::new([columns, rows], [1, columns]);
    tensor
}

fn attend(gpu: &Gpu, case: &str) -> Result<(), Failure> {
    let (tokens, head) = case.split_once('x').ok_or_else(|| format!("{case} is not TOKENSxHEAD"))?;
    let (tokens, head): (usize, usize) = (number("TOKENS", tokens)?, number("HEAD", head)?);
    let heads = if tokens == 258 { 1 } else { 2 };
    let tensor = |parts: usize| gpu.empty(&[1, tokens, parts * heads * head]);
    let qkv = tensor(3);
    let (out, lse) = attention::forward_train(qkv.clone(), heads)?;
    attention::backward(qkv, out, lse, heads, tensor(1))?;
    gpu.wait()
}

/// The rows that are printed.
struct Table<'a> {
    gpu: &'a Gpu,
    until: Instant,
    /// The most that a choice takes over the fastest.
    worst: f64,
    /// Cases of which that is known.
    compared: usize,
    /// Results that differ from that of the choice.
    wrong: usize,
}

impl Table<'_> {
    /// Times all choices of a case, of which `chosen` is what the product takes.
    fn case<'a>(
        &mut self,
        what: &str,
        flop: f64,
        chosen: &dyn Fn() -> Kernel<Tensor>,
        choices: impl Iterator<Item = (String, Box<dyn Fn() -> Kernel<Tensor> + 'a>)>,
    ) -> Result<(), Failure> {
        if Instant::now() > self.until {
            println!("| {what} | | | | no time left |");
            return Ok(());
        }
        let wanted = self.gpu.numbers(&chosen()?)?;
        let scale = wanted.iter().fold(0.0f32, |most, it| most.max(it.abs()));
        let is_right = |found: &[f32]| found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() <= 0.02 * scale);
        let row = |name: &str, seconds: f64, note: &str| {
            println!("| {what} | {name} | {:.3} | {:.1} | {note} |", 1e3 * seconds, 1e-12 * flop / seconds);
        };
        let taken = self.seconds(chosen)?;
        row("what is taken", taken, "");
        let mut fastest = taken;
        for (name, run) in choices {
            if Instant::now() > self.until {
                break;
            }
            let found = match run() {
                Ok(found) => self.gpu.numbers(&found)?,
                Err(error) => {
                    println!("| {what} | {name} | | | {error} |");
                    continue;
                }
            };
            let seconds = self.seconds(&*run)?;
            let right = is_right(&found);
            row(&name, seconds, if right { "" } else { "WRONG" });
            if right {
                fastest = fastest.min(seconds);
            } else {
                self.wrong += 1;
            }
        }
        (self.worst, self.compared) = (self.worst.max(taken / fastest), self.compared + 1);
        Ok(())
    }

    /// The middle of five times, each of as many calls as take some milliseconds.
    fn seconds(&self, run: &dyn Fn() -> Kernel<Tensor>) -> Result<f64, Failure> {
        let timed = |calls: u32| -> Result<f64, Failure> {
            let started = Instant::now();
            for _ in 0..calls {
                run()?;
            }
            self.gpu.wait()?;
            Ok(started.elapsed().as_secs_f64() / f64::from(calls))
        };
        let calls = (5e-3 / timed(1)?).clamp(1.0, 20.0) as u32;
        let mut times = (0..5).map(|_| timed(calls)).collect::<Result<Vec<_>, _>>()?;
        times.sort_by(f64::total_cmp);
        Ok(times[2])
    }
}

/// The linear layers of a block: query, key and value; what follows attention; the MLP; the long skip. Forward, dX and dW.
fn products(table: &mut Table<'_>, rows: usize, width: usize) -> Result<(), Failure> {
    let hidden = MLP_RATIO * width;
    for (name, inputs, outputs) in [
        ("qkv", width, 3 * width),
        ("projection", width, width),
        ("MLP, first", width, hidden),
        ("MLP, second", hidden, width),
        ("long skip", 2 * width, width),
    ] {
        let gpu = table.gpu;
        let (x, w, dy) = (gpu.random(&[rows, inputs], 1), gpu.random(&[outputs, inputs], 2), gpu.random(&[rows, outputs], 3));
        let flop = 2.0 * (rows * inputs * outputs) as f64;
        for (direction, lhs, rhs) in [
            ("forward", x.clone(), transposed(&w)),
            ("dX", dy.clone(), w.clone()),
            ("dW", transposed(&dy), x.clone()),
        ] {
            let chosen = || matmul(lhs.clone(), rhs.clone(), DType::BF16);
            let choices = Way::ALL.into_iter().map(|way| {
                let (lhs, rhs) = (&lhs, &rhs);
                let run: Box<dyn Fn() -> Kernel<Tensor>> = Box::new(move || matmul_by(way, lhs.clone(), rhs.clone(), DType::BF16));
                (format!("{way:?}"), run)
            });
            table.case(&format!("{name}, {direction}"), flop, &chosen, choices)?;
        }
    }
    Ok(())
}

/// Attention with all tiles of four planes or more, and by the portable kernels.
fn attentions(table: &mut Table<'_>, [images, tokens, width]: [usize; 3], heads: usize) -> Result<(), Failure> {
    let gpu = table.gpu;
    let (qkv, dy) = (gpu.random(&[images, tokens, 3 * width], 4), gpu.random(&[images, tokens, width], 5));
    let (out, lse) = attention::forward_train(qkv.clone(), heads)?;
    let work = (images * tokens * tokens * width) as f64;
    for (kernel, name, flop) in [
        (AttentionKernel::Forward, "attention", 4.0 * work),
        (AttentionKernel::Backward, "attention, backward", 10.0 * work),
    ] {
        let backward = |tiles| attention::backward_by(qkv.clone(), out.clone(), lse.clone(), heads, dy.clone(), tiles);
        let run = |tiles: Option<FragmentTiles>| match kernel {
            AttentionKernel::Forward => attention::forward_by(qkv.clone(), heads, tiles).map(|(out, _)| out),
            AttentionKernel::Backward => backward(tiles),
        };
        let chosen = || match kernel {
            AttentionKernel::Forward => attention::forward_train(qkv.clone(), heads).map(|(out, _)| out),
            AttentionKernel::Backward => attention::backward(qkv.clone(), out.clone(), lse.clone(), heads, dy.clone()),
        };
        let run = &run;
        let all = FragmentTiles::all(kernel, width / heads, gpu.client.properties());
        let tiles = all.into_iter().filter(|tiles| tiles.planes >= 4).map(Some).chain([None]);
        let choices = tiles.map(|tiles| {
            let name = tiles.map_or("portable".to_owned(), |tiles| format!("{} x {}", tiles.rows(), tiles.block));
            let run: Box<dyn Fn() -> Kernel<Tensor>> = Box::new(move || run(tiles));
            (name, run)
        });
        table.case(name, flop, &chosen, choices)?;
    }
    Ok(())
}
