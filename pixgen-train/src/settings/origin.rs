//! Where a setting comes from.

use std::fmt;
use std::path::PathBuf;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Built into the program.
    Default,
    /// A named preset.
    Preset(String),
    /// The model that a run starts from.
    Start(PathBuf),
    /// A run that goes on.
    Run(PathBuf),
    /// A TOML file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A command-line flag, with its dashes.
    Flag(String),
}

impl Origin {
    /// Whether the user set the value for this command.
    pub const fn is_given(&self) -> bool {
        matches!(self, Self::File(_) | Self::Env(_) | Self::Flag(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset(name) => write!(f, "preset {name}"),
            Self::Start(path) => write!(f, "model {}", path.display()),
            Self::Run(path) => write!(f, "run {}", path.display()),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}
