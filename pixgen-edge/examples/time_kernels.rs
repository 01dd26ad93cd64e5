//! Times pictures of a `.pxg` file with the kernels of this machine, one thread, for `tests/bench/kernels.py`:
//!
//!     cargo run --release -p pixgen-edge --example time_kernels MODEL.pxg
//!
//! The first line names the kernels. For each line of standard input, a kernel and a number of pictures, it prints the milliseconds of each.

use pixgen_core::integer::DrawRequest;
use pixgen_edge::engine::Kernel;
use pixgen_edge::pxg_file::PxgFile;
use std::error::Error;
use std::io::stdin;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: time_kernels MODEL.pxg")?;
    let file = PxgFile::load(Path::new(&path))?;
    let model = file.model()?;
    let names: Vec<String> = Kernel::all().iter().map(Kernel::to_string).collect();
    println!("{}", names.join(" "));
    let mut panels = Vec::new();
    for kernel in Kernel::all() {
        panels.push((kernel, kernel.panels(&model)?));
    }
    let mut drawers = Vec::new();
    for (kernel, panels) in &mut panels {
        drawers.push((kernel.to_string(), kernel.prepare(&model, panels)?));
    }
    let mut picture = vec![0; model.config().image_len()];
    for line in stdin().lines() {
        let line = line?;
        let (name, count) = line.split_once(' ').ok_or("a line is a kernel and a number of pictures")?;
        let (_, drawer) = drawers.iter().find(|(known, _)| known == name).ok_or("no such kernel")?;
        let (mut memory, mut times) = (drawer.memory(0)?, Vec::new());
        for seed in 0..count.parse()? {
            let request = DrawRequest { class: 0, seed, number: 0 };
            let start = Instant::now();
            drawer.draw(&request, &mut memory, &mut picture)?;
            times.push(format!("{:.4}", start.elapsed().as_secs_f64() * 1e3));
        }
        println!("{}", times.join(" "));
    }
    Ok(())
}
