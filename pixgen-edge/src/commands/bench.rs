//! `bench`: how fast this machine draws from a `.pxg` file, by kernel.

use super::classes;
use crate::cli::BenchArgs;
use crate::engine::{DrawMemory, Drawer, Kernel};
use crate::error::Error;
use crate::model_facts::ModelFacts;
use crate::pxg_file::PxgFile;
use crate::quantise::draw::requests;
use crate::terminal::{print_bytes, print_json};
use crate::units::counted;
use pixgen_core::integer::plan::plan_sites;
use pixgen_core::integer::{DrawError, DrawRequest};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Rounds in which the kernels take turns, so that a change of the clock meets all of them.
const ROUNDS: u32 = 5;
/// What a kernel computes in a round, on one thread and then on all, at most.
const TURN: Duration = Duration::from_millis(80);
/// By how much of the best time the mean of a kernel may be longer on a machine that does nothing else; a clock that changes takes a part of
/// it. Where something else runs, few pictures wait for it, and long, which the median does not show.
const QUIET: f64 = 0.2;

/// What `--json` prints.
#[derive(Serialize)]
struct BenchJson {
    schema: u32,
    name: String,
    macs: u64,
    steps: usize,
    threads: usize,
    kernel_here: String,
    /// Whether something else seems to run, so that the numbers are too low a speed.
    busy: bool,
    kernels: Vec<Speed>,
}

/// How fast a kernel is.
#[derive(Serialize)]
struct Speed {
    kernel: String,
    /// Of a picture on one thread.
    best_ms: f64,
    /// The same.
    median_ms: f64,
    /// On all threads.
    pictures_per_second: f64,
}

/// A kernel at work.
struct Run<'a> {
    kernel: Kernel,
    drawer: Drawer<'a>,
    memory: DrawMemory,
    /// Milliseconds of each picture on one thread.
    times: Vec<f64>,
    /// The best on all threads.
    rate: f64,
}

pub(super) fn run(args: &BenchArgs) -> Result<(), Error> {
    let file = PxgFile::load(&args.model)?;
    let model = file.model()?;
    let here = Kernel::chosen()?;
    let kernels = match &args.kernel {
        Some(name) => vec![Kernel::named(name)?],
        None => Kernel::all(),
    };
    let threads = rayon::current_num_threads();
    let mut panels: Vec<_> = kernels.into_iter().map(|kernel| (kernel, kernel.panels(&model))).collect();
    let mut runs = Vec::new();
    for (kernel, panels) in &mut panels {
        let drawer = kernel.prepare(&model, panels)?;
        runs.push(Run { kernel: *kernel, memory: drawer.memory(0), drawer, times: Vec::new(), rate: 0.0 });
    }
    let (start, limit) = (Instant::now(), Duration::from_secs(args.seconds.into()));
    let turns = 2 * ROUNDS * u32::try_from(runs.len()).unwrap_or(u32::MAX);
    let turn = TURN.min(limit / turns);
    for round in 0..ROUNDS {
        for run in &mut runs {
            if round == 0 || start.elapsed() < limit {
                run.round(threads, turn)?;
            }
        }
    }
    let kernels: Vec<Speed> = runs.iter_mut().map(Run::speed).collect();
    let waited = runs.iter().map(Run::waited).fold(0.0, f64::max);
    let busy = waited > QUIET;
    let macs = plan_sites(model.config(), model.steps(), &mut |_| ()).macs;
    if args.json {
        let (name, kernel_here) = (model.header().name.to_owned(), here.to_string());
        let steps = model.steps();
        return Ok(print_json(&BenchJson { schema: 1, name, macs, steps, threads, kernel_here, busy, kernels })?);
    }
    let mut text = ModelFacts::new(&model, &classes::of_model(&model)).text();
    let all = counted(threads, "thread", "threads");
    // A String takes everything, here and below.
    let _ = writeln!(text, "\n{:<16} {:>10} {:>10} {:>14}", "kernel", "best", "median", format!("on {all}"));
    for Speed { kernel, best_ms, median_ms, pictures_per_second } in &kernels {
        let _ = writeln!(text, "{kernel:<16} {best_ms:>7.3} ms {median_ms:>7.3} ms {pictures_per_second:>8.1} img/s");
    }
    let _ = writeln!(text, "\nbest and median: a picture on one thread. Here pictures are drawn with {here}.");
    if busy {
        let percent = 100.0 * waited;
        let _ = writeln!(
            text,
            "This machine is busy with something else: the mean of a kernel lies {percent:.0} % above its best. Measure again when it is not."
        );
    }
    Ok(print_bytes(text.as_bytes())?)
}

impl Run<'_> {
    /// Pictures one by one for a while, and then as many as all threads draw in that time.
    fn round(&mut self, threads: usize, turn: Duration) -> Result<(), DrawError> {
        let (model, start) = (self.drawer.model(), Instant::now());
        let classes = model.config().classes.max(1);
        let mut picture = vec![0; model.config().image_len()];
        let mut drawn = 0;
        while drawn == 0 || start.elapsed() < turn {
            let request = DrawRequest { class: drawn % classes, seed: 0, number: drawn as u64 };
            let start = Instant::now();
            self.drawer.draw(&request, &mut self.memory, &mut picture)?;
            self.times.push(milliseconds(start.elapsed()));
            drawn += 1;
        }
        let order: Vec<usize> = (0..drawn * threads).map(|number| number % classes).collect();
        let requests = requests(0, 0, &order);
        let start = Instant::now();
        self.drawer.draw_many(&requests)?;
        self.rate = self.rate.max(requests.len() as f64 / start.elapsed().as_secs_f64().max(1e-9));
        Ok(())
    }

    /// By how much of the best time the mean is longer, on one thread.
    fn waited(&self) -> f64 {
        let best = self.times.iter().copied().fold(f64::INFINITY, f64::min);
        let mean = self.times.iter().sum::<f64>() / self.times.len() as f64;
        mean / best - 1.0
    }

    fn speed(&mut self) -> Speed {
        self.times.sort_by(f64::total_cmp);
        let at = |place: usize| self.times.get(place).copied().unwrap_or_default();
        Speed {
            kernel: self.kernel.to_string(),
            best_ms: at(0),
            median_ms: at(self.times.len() / 2),
            pictures_per_second: self.rate,
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
