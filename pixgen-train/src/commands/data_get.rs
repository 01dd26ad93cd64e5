//! `data get`: a data set from a package registry.

use crate::cli::{AvatarArgs, DataGetArgs};
use crate::error::Error;
use crate::packages::avatars::AvatarOptions;
use crate::packages::avatars::styles::Style;
use crate::packages::catalogue::Name;
use crate::packages::{GetOutcome, PackageError, PackageRequest, PackageSource, get};
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
    let request = PackageRequest {
        name: args.name,
        out,
        origin,
        force: args.force,
        skin_tones: args.skin_tones,
        avatars: avatars(args.name, &args.avatars)?,
        quiet,
    };
    match get(&request, &Interrupt::listen())? {
        GetOutcome::Placed | GetOutcome::AlreadyThere => {
            print_line(&request.out.display().to_string())?;
            Ok(0)
        }
        GetOutcome::Interrupted => {
            note(&sentence((args.name != Name::Avatars).then_some("what was received")));
            Ok(EXIT_INTERRUPTED)
        }
    }
}

/// What to draw; other sets have none of these options.
fn avatars(name: Name, args: &AvatarArgs) -> Result<AvatarOptions, PackageError> {
    let AvatarArgs { styles, cc0, count, held_out, size } = args;
    let given = [
        ("styles", !styles.is_empty()),
        ("cc0", *cc0),
        ("count", count.is_some()),
        ("held-out", held_out.is_some()),
        ("size", size.is_some()),
    ];
    if let Some((option, _)) = given.iter().find(|(_, given)| *given && name != Name::Avatars) {
        return Err(PackageError::Option { option, of: Name::Avatars.as_str(), name: name.as_str() });
    }
    let usual = AvatarOptions::default();
    let mut chosen = match (styles.is_empty(), cc0) {
        (false, _) => styles.clone(),
        (true, true) => usual.styles.into_iter().filter(|style| style.is_free()).collect(),
        (true, false) => usual.styles,
    };
    // In one order, so that the same styles are the same set.
    chosen.sort_by_key(Style::to_string);
    chosen.dedup();
    Ok(AvatarOptions {
        styles: chosen,
        count: count.unwrap_or(usual.count),
        held_out: held_out.unwrap_or(usual.held_out),
        size: size.unwrap_or(usual.size),
    })
}
