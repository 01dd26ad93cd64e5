//! `sample`: pictures as a chip draws them.

use super::classes;
use crate::cli::SampleArgs;
use crate::engine::Kernel;
use crate::error::Error;
use crate::memory::{self, MemoryUse};
use crate::output;
use crate::picture::{Grid, Picture, Preview};
use crate::pxg_file::PxgFile;
use crate::quantise::draw::requests;
use crate::terminal::{print_bytes, print_while_read};
use crate::units::counted;
use pixgen_core::integer::PictureHash;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;

/// Where the pictures go if nothing says so; pixgen-train has grid.png.
const OUT: &str = "chip.png";
/// Bytes of the pictures that are drawn at a time. Hashes appear batch by batch, and nobody keeps their pictures.
const BATCH_BYTES: usize = 1 << 22;

pub(super) fn run(args: &SampleArgs) -> Result<(), Error> {
    // Hashes alone need no file.
    let out = args.out.as_deref().or((!args.hashes).then_some(Path::new(OUT)));
    if let Some(out) = out {
        output::check_extension("--out", out, "PNG", &["png"])?;
        if args.hashes || args.preview {
            output::refuse_stdout(
                "--out",
                out,
                if args.hashes {
                    "prints hashes there"
                } else {
                    "prints a preview there"
                },
            )?;
        }
    }
    let file = PxgFile::load(&args.model)?;
    let model = file.model()?;
    let config = model.config();
    let names = classes::of_model(&model);
    let classes = classes::parse("--class", &args.class, &names)?;
    // A column for each class; a single class fills rows of up to ten.
    let total = classes.len() * args.count as usize;
    let columns = if classes.len() == 1 { total.min(10) } else { classes.len() };
    let order = |number: usize| classes[number % classes.len()];
    let shown = args.preview || (std::io::stdout().is_terminal() && !args.hashes && !out.is_some_and(output::is_stdout));
    let grid = Grid::enlarged(columns, config.size);
    let mut pictures = Vec::new();
    let kept = shown || out.is_some();
    if kept {
        grid.check(total, config.size, config.size, config.channels)?;
        memory::reserve(MemoryUse::Pictures, &mut pictures, total)?;
    }

    let kernel = Kernel::chosen()?;
    let mut panels = kernel.panels(&model)?;
    let drawer = kernel.prepare(&model, &mut panels)?;
    // Some for each thread, which need not be many where they are large.
    let batch = (BATCH_BYTES / config.image_len()).max(rayon::current_num_threads());
    for first in (0..total).step_by(batch) {
        let classes: Vec<usize> = (first..total.min(first + batch)).map(order).collect();
        let bytes = drawer.draw_many(&requests(args.seed, first as u64, &classes))?;
        if args.hashes {
            let mut lines = String::new();
            for ((number, class), picture) in (first..).zip(classes).zip(bytes.chunks_exact(config.image_len())) {
                let mut hash = PictureHash::new();
                hash.update(picture);
                // A String takes everything.
                let _ = writeln!(lines, "class {class} seed {} number {number} hash {:016x}", args.seed, hash.value());
            }
            let read = print_while_read(lines.as_bytes())?;
            if !read && !kept {
                return Ok(());
            }
        }
        if kept {
            pictures.extend(Picture::squares(&bytes, config.size, config.channels)?);
        }
    }
    if let Some(out) = out {
        let mut above = Vec::new();
        memory::reserve(MemoryUse::Pictures, &mut above, total)?;
        above.extend((0..total).map(|number| &names[order(number)]));
        grid.save_named(out, &pictures, &above)?;
        output::note_written(out, &counted(total, "picture", "pictures"));
    }
    if shown {
        let preview = Preview::from_environment(|name| std::env::var(name).ok());
        print_bytes(preview.render(&Grid { columns, scale: 1 }.compose(&pictures)?).as_bytes())?;
    }
    Ok(())
}
