//! `web`: a model as a page or a package for browsers.

use super::classes;
use crate::cli::{WebArgs, WebFormat};
use crate::error::Error;
use crate::model_facts::ModelFacts;
use crate::output;
use crate::pxg_file::PxgFile;
use crate::units::{counted, format_bytes};
use crate::web::{Package, Page};
use std::io::{self, Write};
use std::path::Path;

pub(super) fn run(args: &WebArgs) -> Result<(), Error> {
    let out = args.out.as_deref().unwrap_or(Path::new(match args.format {
        WebFormat::Html => "page.html",
        WebFormat::Npm => "pixgen-model",
    }));
    match args.format {
        WebFormat::Html => output::check_extension("--out", out, "a web page", &["html", "htm"])?,
        WebFormat::Npm => {
            if args.title.is_some() {
                return Err(Error::TitleOfPackage);
            }
            output::refuse_stdout("--out", out, "writes a folder")?;
        }
    }
    let pxg = PxgFile::load(&args.model)?;
    let model = pxg.model()?;
    let names = classes::of_model(&model);
    let facts = ModelFacts::new(&model, &names);
    let file = pxg.bytes().get(..model.file_len()).unwrap_or_default();
    let (len, what) = match args.format {
        WebFormat::Html => {
            let page = Page::new(file, &args.model, args.title.as_deref(), &facts);
            let mut len = 0;
            output::write(out, |to| {
                let mut counted = Counted { to, bytes: 0 };
                let written = page.write(&mut counted);
                len = counted.bytes;
                written
            })?;
            (len, "a browser opens it")
        }
        WebFormat::Npm => {
            let package = Package::new(file, out, &facts);
            let files: Vec<(&str, &[u8])> = package.files.iter().map(|file| (file.name, &*file.bytes)).collect();
            output::write_folder(out, &files)?;
            (files.iter().map(|(_, bytes)| bytes.len() as u64).sum(), "its README.md says how to use it")
        }
    };
    output::note_written(out, &format!("{}, {}; {what}", format_bytes(len), counted(names.len(), "class", "classes")));
    Ok(())
}

/// Counts what is written.
struct Counted<'a> {
    to: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
