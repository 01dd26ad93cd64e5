//! Draws pictures of a `.pxg` file with every kernel of this CPU, which must agree, and prints their hashes as `pixgen-edge sample --hashes`:
//!
//!     cargo run --release -p pixgen-core --features std --example hashes MODEL.pxg SEED PICTURES [KERNEL]
//!
//! Classes take turns; KERNEL draws with that one alone. `tests/run.sh linux-boards` runs it in an emulator.

use pixgen_core::align;
use pixgen_core::integer::{DrawRequest, PictureHash, Prepared};
use pixgen_core::kernels::host::HostKernel;
use pixgen_core::pxg::Model;
use std::error::Error;

const USAGE: &str = "usage: hashes MODEL.pxg SEED PICTURES [KERNEL]";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or(USAGE);
    let (path, seed, count) = (next()?, next()?.parse()?, next()?.parse::<usize>()?);
    let only = next().ok();
    let bytes = std::fs::read(path)?;
    let mut memory = vec![0; bytes.len() + 16];
    let file = align(&mut memory);
    file[..bytes.len()].copy_from_slice(&bytes);
    let model = Model::read(&file[..bytes.len()])?;

    let kernels = match only {
        Some(name) => vec![HostKernel::named(&name)?],
        None => std::iter::once(None).chain(HostKernel::detected().map(Some)).collect(),
    };
    let kernels: Vec<_> = kernels.into_iter().map(|kernel| (name(kernel), kernel)).collect();
    let names: Vec<_> = kernels.iter().map(|(name, _)| *name).collect();
    eprintln!("kernels: {}", names.join(" "));

    let mut lines: Option<Vec<String>> = None;
    for (name, kernel) in kernels {
        let drawn = draw(&model, kernel, seed, count)?;
        if lines.as_ref().is_some_and(|lines| *lines != drawn) {
            return Err(format!("{name} draws other pictures").into());
        }
        lines = Some(drawn);
    }
    for line in lines.ok_or("this CPU has no such kernel")? {
        println!("{line}");
    }
    Ok(())
}

const fn name(kernel: Option<HostKernel>) -> &'static str {
    match kernel {
        Some(kernel) => kernel.name(),
        None => "portable",
    }
}

fn draw(model: &Model<'_>, kernel: Option<HostKernel>, seed: u64, count: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let mut workspace = vec![0; model.workspace_len() + 16];
    let (mut panels, mut scratch) = (vec![0; Prepared::panels_len(model)], vec![0; Prepared::scratch_len(model)]);
    let workspace = align(&mut workspace);
    let prepared = kernel.map(|kernel| Prepared::new(kernel, model, &mut panels)).transpose()?;
    let classes = model.config().classes;
    let mut lines = Vec::new();
    for number in 0..count {
        let class = number % classes;
        let request = DrawRequest { class, seed, number: number as u64 };
        let mut hash = PictureHash::new();
        let each = &mut |band: &pixgen_core::pixels::Band<'_>| hash.update(band.bytes());
        match &prepared {
            Some(prepared) => prepared.draw(&request, workspace, &mut scratch, each)?,
            None => model.draw(&request, workspace, each)?,
        };
        lines.push(format!("class {class} seed {seed} number {number} hash {:016x}", hash.value()));
    }
    Ok(lines)
}
