//! `sample`: a grid of pictures from a model file.

use super::{Backend, Device};
use crate::cli::Sample;
use crate::error::Error;
use crate::model_file::{Content, Header, ModelFile};
use crate::picture::{Grid, Picture, Preview};
use crate::run::note;
use crate::sampling::Generator;
use std::io::IsTerminal;

/// Numbers of the classes that a user names.
fn classes(header: &Header, text: &str) -> Result<Vec<usize>, Error> {
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

pub(super) fn run(args: &Sample) -> Result<(), Error> {
    let file = ModelFile::load_content(&args.model, Content::Generator)?;
    let wanted = classes(&file.header, &args.class)?;
    let count = args.count as usize;
    // A column for each class; a single class fills rows of up to ten.
    let (columns, order): (usize, Vec<usize>) = match wanted[..] {
        [class] => (count.min(10), vec![class; count]),
        _ => (wanted.len(), (0..wanted.len() * count).map(|i| wanted[i % wanted.len()]).collect()),
    };
    let bytes = Generator::from(&file).draw::<Backend>(&file.params, &Device::default(), args.seed, 0, &order, args.steps);
    let model = &file.header.model;
    let scale = (112 / model.size).clamp(1, 4);
    let pictures = Picture::squares(&bytes, model.size, model.channels)?;
    Grid { columns, scale }.save(&args.out, &pictures)?;
    let plural = if args.steps == 1 { "" } else { "s" };
    note(&format!("{} pictures in {} step{plural}: {}", order.len(), args.steps, args.out.display()));
    if args.preview || std::io::stdout().is_terminal() {
        let preview = Preview::from_environment(|name| std::env::var(name).ok());
        super::print_bytes(preview.render(&Grid { columns, scale: 1 }.compose(&pictures)?).as_bytes())?;
    }
    Ok(())
}
