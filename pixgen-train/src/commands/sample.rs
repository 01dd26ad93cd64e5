//! `sample`: a grid of pictures from a model file.

use super::drawn;
use crate::cli::SampleArgs;
use crate::device::{OnDevice, Requirements};
use crate::error::Error;
use crate::sampling::{Drawing, Generator, SampleRequest};
use crate::training::Engine;
use pixgen_edge::model_file::{ModelFile, ModelHeader};
use pixgen_edge::picture::{Grid, Picture, Preview};
use pixgen_edge::terminal::{note, print_bytes};
use std::io::IsTerminal;

/// Numbers of the classes that a user names.
fn classes(header: &ModelHeader, text: &str) -> Result<Vec<usize>, Error> {
    let names = &header.class_names;
    if text == "all" {
        return Ok((0..header.model.classes).collect());
    }
    let by_name = names.iter().position(|name| name.eq_ignore_ascii_case(text));
    let by_number = text.parse::<usize>().ok().filter(|&n| n < header.model.classes);
    by_name.or(by_number).map(|class| vec![class]).ok_or_else(|| Error::Argument {
        what: format!("--class {text}: the model has no such class"),
        hint: Some(format!("use `all`, 0 to {}, or one of: {}", header.model.classes - 1, names.join(", "))),
    })
}

/// Pictures of a model.
struct Draw<'a> {
    file: &'a ModelFile,
    /// The weaker model of autoguidance.
    weak: Option<&'a ModelFile>,
    request: SampleRequest<'a>,
}

impl OnDevice for Draw<'_> {
    type Output = Vec<u8>;

    fn run<B: Engine>(self, device: &B::Device) -> Vec<u8> {
        Generator::from(self.file).draw::<B>(&self.file.params, self.weak, device, &self.request)
    }
}

pub(super) fn run(args: &SampleArgs) -> Result<(), Error> {
    let device = args.device.choice()?;
    let file = drawn::load(&args.model)?;
    let (drawing, weak) = drawn::choose(&args.drawn, args.guidance, &file)?;
    let asked = classes(&file.header, &args.class)?;
    let count = args.count as usize;
    // A column for each class; a single class fills rows of up to ten.
    let (columns, order): (usize, Vec<usize>) = match asked[..] {
        [class] => (count.min(10), vec![class; count]),
        _ => (asked.len(), (0..asked.len() * count).map(|i| asked[i % asked.len()]).collect()),
    };
    let request = SampleRequest { seed: args.seed, first: 0, classes: &order, drawing };
    let parameters = file.params.len() + weak.as_ref().map_or(0, |weak| weak.params.len());
    let bytes = device.run(Requirements::inference(parameters), Draw { file: &file, weak: weak.as_ref(), request })?;
    let model = &file.header.model;
    let scale = (112 / model.size).clamp(1, 4);
    let pictures = Picture::squares(&bytes, model.size, model.channels)?;
    Grid { columns, scale }.save(&args.out, &pictures)?;
    let evaluations = drawing.evaluations(&file.header.noise);
    let what = match drawing {
        Drawing::Consistency { .. } => "step",
        Drawing::Diffusion { .. } => "evaluation",
    };
    let plural = if evaluations == 1 { "" } else { "s" };
    note(&format!("{} pictures in {evaluations} {what}{plural}: {}", order.len(), args.out.display()));
    if args.preview || std::io::stdout().is_terminal() {
        let preview = Preview::from_environment(|name| std::env::var(name).ok());
        print_bytes(preview.render(&Grid { columns, scale: 1 }.compose(&pictures)?).as_bytes())?;
    }
    Ok(())
}
