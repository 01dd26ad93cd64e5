//! `data prepare`: the pictures at the training size in one file or a few.

use crate::cli::{DataPrepareArgs, FormatName};
use crate::data::prepare::{PictureFormat, PrepareOptions, WrittenFiles, prepare};
use crate::error::Error;
use crate::run::Progress;
use pixgen_edge::data::{self, DataPart, DataSource, DataSpec, ImageShape, PixelStore, parse_colour};
use pixgen_edge::output;
use pixgen_edge::terminal::note;
use pixgen_edge::units::{counted, format_bytes};

pub(super) fn run(args: &DataPrepareArgs, quiet: bool) -> Result<(), Error> {
    output::refuse_stdout("--out", &args.out, "writes a file that it renames in the end")?;
    output::check_extension("--out", &args.out, "a .zip file or a folder", &["zip"])?;
    let side = usize::from(args.size);
    let spec = DataSpec {
        source: DataSource::from(args.path.as_str()),
        shape: ImageShape { height: side, width: side, channels: if args.grey { 1 } else { 3 } },
        background: parse_colour(&args.background)?,
        // A bad file is named or left out, but nothing takes its place.
        skip_bad: false,
        memory: PixelStore::Never,
        part: DataPart::Train,
        relabel: args.relabel,
    };
    let dataset = data::load(&spec)?.dataset;
    let options = PrepareOptions {
        out: args.out.clone(),
        format: match args.format {
            FormatName::Png => PictureFormat::Png,
            FormatName::Jpeg => PictureFormat::Jpeg { quality: args.quality },
        },
        shard_images: args.shard_images as usize,
        skip_bad: args.skip_bad,
    };
    let mut progress = Progress::new("prepare", 0, dataset.len() as u64, quiet);
    let WrittenFiles { images, files, bytes, skipped } = prepare(&dataset, &options, &mut |done| progress.update(done as u64, None))?;
    progress.finish();
    if !dataset.passed_over().is_empty() {
        note(&format!("passed over: {}", dataset.passed_over()));
    }
    for bad in &skipped {
        note(&format!("warning: left out {bad}"));
    }
    note(&format!(
        "{}: {} of {}, {} in {}",
        args.out.display(),
        counted(images, "picture", "pictures"),
        counted(dataset.class_names.len(), "class", "classes"),
        format_bytes(bytes),
        counted(files, "file", "files")
    ));
    Ok(())
}
