//! `data get`: a data set from a package registry.

use crate::cli::DataGetArgs;
use crate::error::Error;
use crate::packages::{GetOutcome, PackageRequest, PackageSource, get};
use pixgen_edge::interrupt::{EXIT_INTERRUPTED, Interrupt, sentence};
use pixgen_edge::output;
use pixgen_edge::terminal::{note, print_line};

/// Prints the path of the folder; the exit code is 0 when it is there.
pub(super) fn run(args: &DataGetArgs, quiet: bool) -> Result<i32, Error> {
    if let Some(out) = &args.out {
        output::refuse_stdout("--out", out, "writes a folder")?;
    }
    let out = args.out.clone().unwrap_or_else(|| PackageRequest::usual_place(args.name));
    let origin = match (&args.file, &args.mirror) {
        (Some(path), _) => PackageSource::File(path.clone()),
        (None, Some(url)) => PackageSource::Mirror(url.clone()),
        (None, None) => PackageSource::Registry,
    };
    let request = PackageRequest { name: args.name, out, origin, force: args.force, skin_tones: args.skin_tones, quiet };
    match get(&request, &Interrupt::listen())? {
        GetOutcome::Placed | GetOutcome::AlreadyThere => {
            print_line(&request.out.display().to_string())?;
            Ok(0)
        }
        GetOutcome::Interrupted => {
            note(&sentence(Some("what was received")));
            Ok(EXIT_INTERRUPTED)
        }
    }
}
