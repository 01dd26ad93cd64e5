//! Trains a one-step generator on a folder of pictures; the run folder then holds the model and grids of what it draws.
//! `cargo run --release --example train_on_folder -- PICTURES RUN IMAGES`

use pixgen_core::presets::preset;
use pixgen_edge::interrupt::Interrupt;
use pixgen_train::config::{RunConfig, StageKind};
use pixgen_train::device::{Cpu, CpuDevice};
use pixgen_train::session::{self, SessionOptions};
use std::{error::Error, path::Path};

/// Trains on `images` images of the folder `pictures`, repeats included.
pub fn train(pictures: &str, run: &str, images: u64) -> Result<(), Box<dyn Error>> {
    let mut config = RunConfig::defaults(StageKind::Consistency, preset("nano-28-grey").ok_or("no such preset")?);
    config.data.path = pictures.to_owned();
    config.train.images = images;
    config.schedule.warmup = images / 10;
    let prepared = pixgen_train::prepared::prepare(config)?;
    let options = SessionOptions { title: "train".to_owned(), interrupt: Interrupt::listen(), ..SessionOptions::default() };
    session::train::<Cpu>(&prepared, Path::new(run), &options, &CpuDevice::default())?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let [_, pictures, run, images] = &std::env::args().collect::<Vec<_>>()[..] else {
        return Err("usage: train_on_folder PICTURES RUN IMAGES".into());
    };
    train(pictures, run, images.parse()?)
}
