//! What can be wrong with a setting.

use pixgen_edge::file_error::read_hint;
use std::io;
use std::path::PathBuf;

use super::origin::Origin;

/// A setting that cannot be used: what, where, and (through [`SettingsError::hint`]) what to try next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A key that no default has.
    #[error("unknown setting `{key}` from {origin}")]
    UnknownKey {
        /// Full dotted path.
        key: String,
        /// The layer that has it.
        origin: Origin,
        /// The known key that looks most like it.
        suggestion: Option<String>,
    },
    /// A `PIXGEN_*` variable that belongs to no setting.
    #[error("unknown environment variable `{variable}`")]
    UnknownVariable {
        /// The whole name.
        variable: String,
        /// The known variable that looks most like it.
        suggestion: Option<String>,
    },
    /// A value of another type than the default's.
    #[error("`{key}` from {origin} must be {expected}, found {found}")]
    WrongType {
        /// Full dotted path.
        key: String,
        /// The layer that has it.
        origin: Origin,
        /// The type of the default, with its article.
        expected: &'static str,
        /// The type or text that was given.
        found: String,
    },
    /// A file that cannot be read.
    #[error("cannot read the settings file `{}`: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is not TOML.
    #[error("{}:{line}:{column}: {message}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// Resolved values that the typed configuration refuses.
    #[error("the settings do not fit together: {message}")]
    Unfit {
        /// What the configuration says.
        message: String,
    },
    /// Settings that cannot be written.
    #[error("the settings cannot be written as TOML: {message}")]
    NotToml {
        /// What the writer says.
        message: String,
    },
    /// A text that is not a number of images.
    #[error("`{text}` is not a number of images")]
    NotANumber {
        /// The text.
        text: String,
    },
    /// A number such as `1.0005k`.
    #[error("`{text}` is not a whole number of images")]
    NotWhole {
        /// The text.
        text: String,
    },
    /// A number beyond 64 bits.
    #[error("`{text}` is larger than {} images", u64::MAX)]
    TooLarge {
        /// The text.
        text: String,
    },
}

impl SettingsError {
    /// The next thing to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { suggestion, .. } | Self::UnknownVariable { suggestion, .. } => Some(suggestion.as_ref().map_or_else(
                || "`pixgen-train config show finetune` lists every setting".to_owned(),
                |known| format!("did you mean `{known}`?"),
            )),
            Self::WrongType { key, .. } => Some(format!("`pixgen-train config show finetune` prints the value of `{key}` as an example")),
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the path, or leave the option out to use the preset".to_owned())
            }
            Self::NotANumber { .. } => Some("write it as 240000, 250k, 1.5M or 8Mi (k, M, G or Ki, Mi, Gi)".to_owned()),
            Self::NotWhole { .. } => Some("give fewer decimals, or the number without a suffix".to_owned()),
            Self::Read { source, .. } if source.kind() == io::ErrorKind::InvalidData => Some("a settings file is UTF-8 text".to_owned()),
            Self::Read { source, .. } => read_hint(source),
            Self::Parse { .. } => {
                Some("settings are TOML: `key = value` or `section.key = value`, texts in quotes, each key once".to_owned())
            }
            Self::Unfit { .. } => Some("`pixgen-train config show finetune` prints every setting with its value".to_owned()),
            Self::NotToml { .. } => None,
            Self::TooLarge { .. } => Some("give a smaller number".to_owned()),
        }
    }
}
