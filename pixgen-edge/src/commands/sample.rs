//! `sample`: pictures as a chip draws them.

use super::classes;
use crate::cli::SampleArgs;
use crate::error::Error;
use crate::output;
use crate::picture::{Grid, Picture, Preview};
use crate::pxg_file::PxgFile;
use crate::quantise::draw::{draw_integer, requests};
use crate::terminal::{note, print_bytes, print_line};
use crate::units::counted;
use pixgen_core::integer::PictureHash;
use std::io::IsTerminal;
use std::path::Path;

/// Where the pictures go if nothing says so; pixgen-train has grid.png.
const OUT: &str = "chip.png";

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
    let count = args.count as usize;
    // A column for each class; a single class fills rows of up to ten.
    let order: Vec<usize> = (0..classes.len() * count).map(|i| classes[i % classes.len()]).collect();
    let columns = if classes.len() == 1 { count.min(10) } else { classes.len() };
    let bytes = draw_integer(&model, &requests(args.seed, 0, &order))?;
    if args.hashes {
        for (number, (picture, class)) in bytes.chunks_exact(config.image_len()).zip(&order).enumerate() {
            let mut hash = PictureHash::new();
            hash.update(picture);
            print_line(&format!("class {class} seed {} number {number} hash {:016x}", args.seed, hash.value()))?;
        }
    }
    let pictures = Picture::squares(&bytes, config.size, config.channels)?;
    if let Some(out) = out {
        Grid::enlarged(columns, config.size).save_named(out, &pictures, &order.iter().map(|&class| &names[class]).collect::<Vec<_>>())?;
        note(&format!("{}: {}", output::shown(out), counted(order.len(), "picture", "pictures")));
    }
    let free = !args.hashes && !out.is_some_and(output::is_stdout);
    if args.preview || (std::io::stdout().is_terminal() && free) {
        let preview = Preview::from_environment(|name| std::env::var(name).ok());
        print_bytes(preview.render(&Grid { columns, scale: 1 }.compose(&pictures)?).as_bytes())?;
    }
    Ok(())
}
