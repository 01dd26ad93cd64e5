//! Why a model cannot be exported.

use super::options::OptionError;
use crate::data::DataError;
use crate::engine::{EngineError, KernelError};
use crate::memory::MemoryError;
use pixgen_core::config::ConfigError;
use pixgen_core::integer::DrawError;
use pixgen_core::params::Site;
use pixgen_core::pxg::PxgError;
use pixgen_core::reference::ReferenceError;

/// Why a model cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantiseError {
    /// The architecture has no form for chips.
    #[error("the model cannot run on a chip: {0}")]
    Config(#[from] ConfigError),
    /// Names are stored one a line.
    #[error("class {class} is called {name:?}, and a name of a class is one line")]
    ClassName {
        /// Number of the class in the model.
        class: usize,
        /// Its name.
        name: String,
    },
    /// The model would not fit the format's 32-bit lengths.
    #[error("the model takes {bytes} bytes, a .pxg file holds 4 GiB")]
    TooLarge {
        /// Bytes of the body.
        bytes: u64,
    },
    /// An option is out of range.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A picture to calibrate with cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A site's numbers leave the range of 32-bit sums.
    #[error("{}: a sum of this layer can leave 32 bits", site.name())]
    Overflow {
        /// The layer.
        site: Site,
    },
    /// The float network did not run.
    #[error("the float network did not run: {0}")]
    Reference(#[from] ReferenceError),
    /// The integer network did not run.
    #[error("the integer network did not run: {0}")]
    Draw(#[from] DrawError),
    /// There is no memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The integer network cannot run with the kernel that was asked for.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The written file does not read back.
    #[error("the written file does not read back: {0}")]
    File(#[from] PxgError),
    /// A part of the file has no place or no values: a fault of this program.
    #[error("{}: no place in the file", site.name())]
    Place {
        /// The operation.
        site: Site,
    },
}

impl QuantiseError {
    pub(super) fn place(site: Site) -> Self {
        Self::Place { site }
    }

    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Data(error) => error.hint(),
            Self::Kernel(error) => error.hint(),
            Self::Memory(error) => Some(error.hint()),
            Self::Config(_) => Some("train with widths that are multiples of 4; every preset's are".into()),
            Self::ClassName { .. } => Some("rename the folder of the class and train again, or export the others with --classes".into()),
            Self::TooLarge { .. } => Some("export fewer classes with --classes".into()),
            Self::Overflow { .. } => Some("the weights of this layer are far larger than trained weights are; check the model".into()),
            _ => None,
        }
    }
}

impl From<EngineError> for QuantiseError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Draw(error) => error.into(),
            EngineError::Memory(error) => error.into(),
        }
    }
}
