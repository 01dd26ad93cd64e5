//! `bench`: how fast this machine draws from a `.pxg` file, by kernel.

use super::classes;
use crate::cli::BenchArgs;
use crate::engine::{DrawMemory, Drawer, EngineError, Kernel};
use crate::error::Error;
use crate::memory::{self, MemoryUse};
use crate::model_facts::ModelFacts;
use crate::pxg_file::PxgFile;
use crate::quantise::draw::requests;
use crate::terminal::{print_json, print_text};
use pixgen_core::integer::DrawRequest;
use pixgen_core::integer::plan::plan_sites;
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
    /// Of this program.
    version: &'static str,
    /// As the system names it; null where it does not.
    cpu: Option<String>,
    name: String,
    macs: u64,
    steps: usize,
    threads: usize,
    /// Null where `--kernel` chose and the environment names none of this machine.
    kernel_here: Option<String>,
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
    /// The best mean of a round.
    pictures_per_second_on_one_thread: f64,
    /// The same, on all threads.
    pictures_per_second: f64,
}

/// A kernel at work.
struct Run<'a> {
    kernel: Kernel,
    drawer: Drawer<'a>,
    memory: DrawMemory,
    /// Milliseconds of each picture on one thread.
    times: Vec<f64>,
    /// Pictures a second on one thread and on all, the best of all rounds.
    rates: [f64; 2],
}

pub(super) fn run(args: &BenchArgs) -> Result<(), Error> {
    let file = PxgFile::load(&args.model)?;
    let model = file.model()?;
    let (kernels, here) = match &args.kernel {
        // The environment's choice is not needed then, so it may be wrong.
        Some(name) => (vec![Kernel::named(name)?], Kernel::chosen().ok()),
        None => (Kernel::all(), Some(Kernel::chosen()?)),
    };
    let threads = rayon::current_num_threads();
    let mut panels = Vec::new();
    for kernel in kernels {
        panels.push((kernel, kernel.panels(&model)?));
    }
    let mut runs = Vec::new();
    for (kernel, panels) in &mut panels {
        let drawer = kernel.prepare(&model, panels)?;
        runs.push(Run { kernel: *kernel, memory: drawer.memory(0)?, drawer, times: Vec::new(), rates: [0.0; 2] });
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
        return Ok(print_json(&BenchJson {
            schema: 1,
            version: env!("CARGO_PKG_VERSION"),
            cpu: std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| cpu_name(&text)),
            name: model.header().name.to_owned(),
            macs,
            steps: model.steps(),
            threads,
            kernel_here: here.map(|kernel| kernel.to_string()),
            busy,
            kernels,
        })?);
    }
    let mut text = ModelFacts::new(&model, &classes::of_model(&model)).text();
    text.push_str(&table(&kernels, threads));
    // A String takes everything, here and below.
    let here = here.map_or_else(String::new, |here| format!(" Here pictures are drawn with {here}."));
    let _ = writeln!(text, "\nbest and median: a picture on one thread.{here}");
    if busy {
        let percent = 100.0 * waited;
        let _ = writeln!(
            text,
            "This machine is busy with something else: the mean of a kernel lies {percent:.0} % above its best. A picture of several milliseconds\n\
             may never be drawn without waiting, so that its best is too long as well. Measure again when nothing else runs."
        );
    }
    Ok(print_text(&text)?)
}

/// A line for each kernel.
fn table(kernels: &[Speed], threads: usize) -> String {
    let mut text = format!("\n{:<16} {:>10} {:>10} {:>14}", "kernel", "best", "median", "on 1 thread");
    // A String takes everything, here and below.
    if threads > 1 {
        let _ = write!(text, " {:>14}", format!("on {threads} threads"));
    }
    text.push('\n');
    for speed in kernels {
        let (name, one) = (&speed.kernel, speed.pictures_per_second_on_one_thread);
        let _ = write!(text, "{name:<16} {:>7.3} ms {:>7.3} ms {one:>8.1} img/s", speed.best_ms, speed.median_ms);
        if threads > 1 {
            let _ = write!(text, " {:>8.1} img/s", speed.pictures_per_second);
        }
        text.push('\n');
    }
    text
}

/// The CPU by Linux's `/proc/cpuinfo`, whose words differ by architecture; the board where the CPU has no name.
fn cpu_name(text: &str) -> Option<String> {
    let value = |key: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
    };
    ["model name", "Model", "uarch"].into_iter().find_map(value)
}

impl Run<'_> {
    /// Pictures one by one for a while, and then as many as all threads draw in that time.
    fn round(&mut self, threads: usize, turn: Duration) -> Result<(), EngineError> {
        let (model, start) = (self.drawer.model(), Instant::now());
        let classes = model.config().classes.max(1);
        let mut picture = memory::zeroed(MemoryUse::Pictures, model.config().image_len())?;
        let mut drawn = 0;
        while drawn == 0 || start.elapsed() < turn {
            let request = DrawRequest { class: drawn % classes, seed: 0, number: drawn as u64 };
            let start = Instant::now();
            self.drawer.draw(&request, &mut self.memory, &mut picture)?;
            self.times.push(milliseconds(start.elapsed()));
            drawn += 1;
        }
        let one = per_second(drawn, start.elapsed());
        let order: Vec<usize> = (0..drawn * threads).map(|number| number % classes).collect();
        let requests = requests(0, 0, &order);
        let start = Instant::now();
        self.drawer.draw_many(&requests)?;
        let all = per_second(requests.len(), start.elapsed());
        self.rates = [self.rates[0].max(one), self.rates[1].max(all)];
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
            pictures_per_second_on_one_thread: self.rates[0],
            pictures_per_second: self.rates[1],
        }
    }
}

/// Of whole nanoseconds, so that JSON shows no more digits than the clock has.
fn milliseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

/// To three digits behind the point.
fn per_second(pictures: usize, time: Duration) -> f64 {
    let rate = pictures as f64 / time.as_secs_f64().max(1e-9);
    (1e3 * rate).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_have_names() {
        let pc = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n";
        let pi = "processor\t: 0\nBogoMIPS\t: 108.00\n\nRevision\t: d04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n";
        let names = [pc, pi, "hart\t: 1\nuarch\t: sifive,u74-mc\n", "processor\t: 0\n"].map(cpu_name);
        let names = names.map(Option::unwrap_or_default);
        assert_eq!(names, ["AMD EPYC", "Raspberry Pi 5 Model B Rev 1.0", "sifive,u74-mc", ""]);
    }

    #[test]
    fn numbers_have_no_more_digits_than_the_clock() {
        assert_eq!(milliseconds(Duration::from_nanos(1_957_376)).to_string(), "1.957376");
        assert_eq!(per_second(3, Duration::from_secs(7)).to_string(), "0.429");
    }
}
