//! Why a package cannot be had, and what to try next.

use crate::weights::error::PytorchError;
use pixgen_edge::file_error::FileError;
use pixgen_edge::units::format_bytes;
use std::path::{Path, PathBuf};

/// Why `data get` stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// No connection, or one that breaks again and again.
    #[error("cannot download {url}: {reason}")]
    Connection {
        /// The address.
        url: String,
        /// What the network says.
        reason: String,
        /// Whether a certificate was refused.
        certificate: bool,
        /// Bytes that are kept for the next try.
        kept: u64,
    },
    /// The registry's client is missing or fails.
    #[error("`{command}` failed: {reason}")]
    Client {
        /// What was run.
        command: String,
        /// What it says, or the system.
        reason: String,
    },
    /// Node.js, which draws avatars, is missing or fails.
    #[error("`{command}` failed: {kind}")]
    Node {
        /// What was run.
        command: String,
        /// Why it failed.
        kind: NodeProblem,
    },
    /// A style has not so many different pictures.
    #[error("{style} has no more than {found} different pictures of {size}x{size}; {asked} were asked for")]
    TooFew {
        /// The style.
        style: &'static str,
        /// Height and width.
        size: u16,
        /// Pictures drawn.
        found: usize,
        /// Pictures of both parts.
        asked: u64,
    },
    /// A package does not credit the design as this program does.
    #[error("{} has no line `{line}`", .path.display())]
    Credit {
        /// The package's licence.
        path: PathBuf,
        /// What this program says.
        line: String,
    },
    /// No single file holds what is asked for.
    #[error("{name} are drawn by several packages; no single file holds them")]
    NoSingleFile {
        /// What is asked for.
        name: &'static str,
    },
    /// The server answers, but has no such file.
    #[error("{url} does not exist (HTTP {status})")]
    Missing {
        /// The address.
        url: String,
        /// 404 or 410.
        status: u16,
    },
    /// The server refuses.
    #[error("the server answers HTTP {status} for {url}")]
    Status {
        /// The address.
        url: String,
        /// Its answer.
        status: u16,
    },
    /// Text that is not an address.
    #[error("`{url}` is not an address of a server")]
    Address {
        /// What was given.
        url: String,
    },
    /// What the server has is not the package.
    #[error("{url} has {found} instead of {expected}", found = format_bytes(*found), expected = format_bytes(*expected))]
    Size {
        /// The address.
        url: String,
        /// Bytes of the package.
        expected: u64,
        /// Bytes that the server has, or so far.
        found: u64,
    },
    /// A file is not the package.
    #[error("{origin} is not {title}: expected SHA-256 {expected}, found {found}")]
    Checksum {
        /// The file or address.
        origin: String,
        /// The package.
        title: &'static str,
        /// As pinned.
        expected: String,
        /// Of the bytes.
        found: String,
    },
    /// A package that is not at the given path.
    #[error("there is no file {}", .path.display())]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// An archive that is not what its checksum promises; only a mistake of ours can be the reason, or a failing disk.
    #[error("cannot unpack {}: {kind}", .path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        kind: ArchiveProblem,
    },
    /// Something else is in the place.
    #[error("{} exists and was not made by `data get`", .path.display())]
    Foreign {
        /// The place.
        path: PathBuf,
    },
    /// The folder holds another data set, or the same one made in another way.
    #[error("{} holds {was}, not {is}", .path.display())]
    Other {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        was: String,
        /// What is wanted.
        is: String,
    },
    /// Files in the folder were changed since.
    #[error("{} was changed since `data get` made it: {kind}", .path.display())]
    Changed {
        /// The folder or file.
        path: PathBuf,
        /// The difference.
        kind: Change,
    },
    /// An option that this package does not have.
    #[error("--{option} is for {of}, not for {name}")]
    Option {
        /// The flag.
        option: &'static str,
        /// The package that has it.
        of: &'static str,
        /// The package asked for.
        name: &'static str,
    },
    /// Another process makes the same folder.
    #[error("another process is working in {}", .path.display())]
    InUse {
        /// The folder of unfinished work.
        path: PathBuf,
    },
    /// A path like `..`, beside which no folder can be made.
    #[error("`{}` does not name a new folder", .path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// Weights that cannot be converted.
    #[error(transparent)]
    Weights(#[from] PytorchError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why Node.js is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeProblem {
    /// There is no such program.
    #[error("it is not installed")]
    Missing,
    /// A version that the packages do not run on.
    #[error("version {oldest} or later is needed, it says `{found}`")]
    Old {
        /// What the program says.
        found: String,
        /// The first version that will do.
        oldest: u32,
    },
    /// What the program says, or the system.
    #[error("{reason}")]
    Failed {
        /// The words.
        reason: String,
    },
}

/// What is wrong with an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveProblem {
    /// The reason of the reader or of the system.
    #[error("{0}")]
    Unreadable(String),
    /// A member that is compressed in another way.
    #[error("{name} is packed by a method that is not known here: {method}")]
    Compression {
        /// The member.
        name: String,
        /// The method.
        method: String,
    },
    /// A member that ends early.
    #[error("{name} is cut short")]
    CutShort {
        /// The member.
        name: String,
    },
    /// Members that are too few or too many.
    #[error("it holds {found} {of}, expected {expected}")]
    Count {
        /// Kind of member, in the plural.
        of: &'static str,
        /// Members there.
        found: usize,
        /// Members in the package.
        expected: usize,
    },
    /// The list of its pictures is not what it was.
    #[error("{name}: {reason}")]
    List {
        /// The member.
        name: &'static str,
        /// The reason of the parser.
        reason: String,
    },
    /// A picture of the list.
    #[error("it has no picture {name}")]
    NoPicture {
        /// As the list has it.
        name: String,
    },
}

/// How a folder differs from what was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Change {
    /// Files were added or removed.
    #[error("{found} files instead of {expected}")]
    Files {
        /// Files now.
        found: usize,
        /// Files then.
        expected: usize,
    },
    /// The same number of files.
    #[error("a file has other bytes or another name")]
    Contents,
    /// Of a single file.
    #[error("it has other bytes")]
    Bytes,
}

impl PackageError {
    /// What is wrong with the archive at `path`.
    pub(super) fn archive(path: &Path, kind: ArchiveProblem) -> Self {
        Self::Archive { path: path.to_owned(), kind }
    }

    /// The next thing to try.
    pub fn hint(&self) -> Option<String> {
        const ELSEWHERE: &str = "name a mirror with --mirror URL, or download the package on another machine and give it with --file PATH";
        let text = match self {
            Self::Connection { certificate: true, .. } => {
                "if something on your network opens TLS connections, add its certificate to the system's, or name it in SSL_CERT_FILE; \
                 otherwise give the package with --file PATH"
                    .to_owned()
            }
            Self::Connection { kept, .. } if *kept > 0 => {
                format!("{} are kept, and the same command resumes from there; or {ELSEWHERE}", format_bytes(*kept))
            }
            Self::Connection { .. } => format!("check the connection and HTTPS_PROXY, {ELSEWHERE}"),
            Self::Client { .. } => format!("install or set up the client, {ELSEWHERE}"),
            Self::Node { kind: NodeProblem::Missing | NodeProblem::Old { .. }, .. } => {
                "install Node.js 18 or later with npm (Debian: apt-get install nodejs npm), or train on the avatars inside the program: \
                 --data bundled:avatars"
                    .to_owned()
            }
            Self::Node { .. } => {
                "check the connection and what npm is set up for (`npm config list`), or name a registry with --mirror URL".to_owned()
            }
            Self::TooFew { .. } => "lower --count or --held-out, or leave the style out of --styles".to_owned(),
            Self::Credit { .. } => "the package was changed; name another registry with --mirror URL".to_owned(),
            Self::NoSingleFile { .. } => "leave --file out; --mirror URL names another npm registry".to_owned(),
            Self::Missing { .. } | Self::Status { .. } | Self::Size { .. } => format!("try again later, {ELSEWHERE}"),
            Self::Address { .. } => "write it as https://mirror.example/path".to_owned(),
            Self::Checksum { .. } => format!("the file is damaged, or another version: {ELSEWHERE}"),
            Self::NoFile { .. } => "check the spelling; relative paths start at the current folder".to_owned(),
            Self::Archive { .. } => "check the disk; if the same command fails again, please report it".to_owned(),
            Self::Foreign { .. } => "choose another --out, or move it away".to_owned(),
            Self::Other { .. } => "choose another --out, or replace it with --force".to_owned(),
            Self::Changed { .. } => "keep it by choosing another --out, or replace it with --force".to_owned(),
            Self::Option { option, .. } => format!("leave --{option} out"),
            Self::InUse { .. } => "wait until it has finished".to_owned(),
            Self::NoName { .. } => "end --out with the name of a folder".to_owned(),
            Self::Weights(error) => return error.hint(),
            Self::File(error) => return error.hint(),
        };
        Some(text)
    }
}
