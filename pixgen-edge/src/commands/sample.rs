//! `sample`: pictures as a chip draws them.

use super::classes;
use crate::cli::SampleArgs;
use crate::error::Error;
use crate::picture::{Grid, Picture, Preview};
use crate::pxg_file::PxgFile;
use crate::quantise::draw::{draw_integer, requests};
use crate::terminal::{note, print_bytes, print_line};
use crate::units::counted;
use pixgen_core::integer::PictureHash;
use std::io::IsTerminal;

pub(super) fn run(args: &SampleArgs) -> Result<(), Error> {
    let file = PxgFile::load(&args.model)?;
    let model = file.model()?;
    let config = model.config();
    let names = classes::names(model.header().class_names.lines(), config.classes);
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
    let scale = (112 / config.size).clamp(1, 4);
    let pictures = Picture::squares(&bytes, config.size, config.channels)?;
    Grid { columns, scale }.save(&args.out, &pictures)?;
    note(&format!("{}: {}", args.out.display(), counted(order.len(), "picture", "pictures")));
    if args.preview || (std::io::stdout().is_terminal() && !args.hashes) {
        let preview = Preview::from_environment(|name| std::env::var(name).ok());
        print_bytes(preview.render(&Grid { columns, scale: 1 }.compose(&pictures)?).as_bytes())?;
    }
    Ok(())
}
