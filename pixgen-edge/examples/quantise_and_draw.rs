//! Loads a trained generator, quantises it to int8, and draws the same pictures with both, in two rows:
//!
//!     cargo run --release -p pixgen-edge --example quantise_and_draw -- RUN_FOLDER model.pxg rows.png

use pixgen_edge::draw::draw;
use pixgen_edge::model_file::{Content, ModelFile};
use pixgen_edge::picture::Grid;
use pixgen_edge::quantise::draw::requests;
use pixgen_edge::quantise::{QuantiseOptions, export};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [trained, quantised, png] = paths.as_slice() else {
        return Err("usage: quantise_and_draw MODEL.safetensors MODEL.pxg OUT.png".into());
    };
    let file = ModelFile::load_content(trained, Content::Generator)?;
    std::fs::write(quantised, export(&file, None, &QuantiseOptions::default())?.bytes)?;

    // One picture of each class, all of seed 7.
    let classes: Vec<usize> = (0..file.header.model.classes).collect();
    let requests = requests(7, 0, &classes);
    let rows = [draw(trained, &requests)?, draw(quantised, &requests)?].concat();
    Grid { columns: classes.len(), scale: 4 }.save(png, &rows)?;
    Ok(())
}
