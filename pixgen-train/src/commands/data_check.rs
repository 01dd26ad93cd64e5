//! `data check`: what is in a data set, and what is wrong with it.

use crate::cli::DataCheckArgs;
use crate::data::check;
use crate::data::contact_sheet::contact_sheet;
use crate::error::Error;
use pixgen_edge::data::{self, DataPart, DataSource, DataSpec, Dataset, ImageShape, PixelStore, parse_colour};
use pixgen_edge::output;
use pixgen_edge::terminal::{note, print_json, print_line, print_text};
use pixgen_edge::units::counted;
use std::path::Path;

/// Pictures of each class on the sheet, and of all classes.
const SHEET: (usize, usize) = (10, 400);

pub(super) fn run(args: &DataCheckArgs) -> Result<(), Error> {
    output::check_extension("--sheet", &args.sheet, "PNG", &["png"])?;
    output::refuse_stdout("--sheet", &args.sheet, "prints what it finds there")?;
    let background = parse_colour(&args.background)?;
    let source = DataSource::from(args.path.as_str());
    let report = check::check(&source, DataPart::Train, background)?;
    if args.content_hash {
        print_line(&report.content_hash)?;
    } else if args.json {
        print_json(&report)?;
    } else {
        print_text(&format!("{report}\n"))?;
    }
    let path = &args.sheet;
    let wanted = !args.no_sheet && !args.content_hash && report.images > 0;
    if wanted && lies_in(path, Path::new(&args.path)) {
        note(&format!(
            "no contact sheet: {} would become one of the pictures; give --sheet a file outside the data",
            path.display()
        ));
    } else if wanted {
        let sheet = contact_sheet(&pictures(source, &report, background)?, SHEET.0, SHEET.1);
        let (width, height) = (sheet.width() as usize, sheet.height() as usize);
        let picture = pixgen_edge::picture::Picture::new(width, height, 3, sheet.into_raw())?;
        pixgen_edge::picture::png::write(path, &picture, None)?;
        note(&format!("contact sheet: {}", path.display()));
    }
    match report.bad.first() {
        None => Ok(()),
        Some(bad) => Err(Error::Argument {
            what: format!("{}, the first: {bad}", counted(report.bad.len(), "bad file", "bad files")),
            hint: Some("repair or remove them, or train with --skip-bad".to_owned()),
        }),
    }
}

/// Whether a file is, or would be, in a folder or in one below it.
fn lies_in(file: &Path, folder: &Path) -> bool {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (parent.canonicalize(), folder.canonicalize()) {
        (Ok(parent), Ok(folder)) => folder.is_dir() && parent.starts_with(folder),
        _ => false,
    }
}

/// The pictures at a common size: the most frequent one, at most 64 pixels.
fn pictures(source: DataSource, report: &check::DataReport, background: [u8; 3]) -> Result<Dataset, Error> {
    let side = report.sizes.first().map_or(64, |size| size.height.min(size.width)).clamp(1, 64);
    let channels = if report.mean.len() == 1 { 1 } else { 3 };
    let shape = ImageShape { height: side, width: side, channels };
    let spec = DataSpec {
        source,
        shape,
        background,
        skip_bad: false,
        memory: PixelStore::Never,
        part: DataPart::Train,
        relabel: false,
    };
    Ok(data::load(&spec)?.dataset)
}
