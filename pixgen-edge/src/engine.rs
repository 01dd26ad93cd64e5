//! The kernels that this machine draws pictures of `.pxg` models with.
//!
//! All of them draw the same bytes. The fastest that the CPU has is chosen; `PIXGEN_KERNEL` names another, for measurements and when in
//! doubt.

use crate::aligned::AlignedBytes;
use crate::memory::{self, MemoryError, MemoryUse};
use crate::terminal::printable;
use pixgen_core::integer::{BandOutput, DrawError, DrawRequest, Integer, PictureHash, Prepared, SelfTestError};
use pixgen_core::kernels::host::{HostKernel, KernelNameError};
use pixgen_core::pixels::Band;
use pixgen_core::pxg::Model;
use rayon::prelude::*;
use std::fmt;

/// The variable of the environment that names a kernel.
pub const VARIABLE: &str = "PIXGEN_KERNEL";

/// A kernel that this machine has: one of its CPU, or the portable one.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(Option<HostKernel>);

/// Why there is no such kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// No machine has it.
    #[error("there is no kernel `{}`", printable(.asked))]
    Unknown {
        /// What was asked for.
        asked: String,
        /// Whether the environment asked for it.
        variable: bool,
    },
    /// Other machines have it.
    #[error("this CPU does not have the instructions of the kernel `{}`", printable(.asked))]
    Unavailable {
        /// What was asked for.
        asked: String,
        /// Whether the environment asked for it.
        variable: bool,
    },
}

/// Why a picture was not drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A class that the model does not have.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// There is no memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl EngineError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Draw(_) => None,
            Self::Memory(error) => Some(error.hint()),
        }
    }
}

impl KernelError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        let names: Vec<&str> = HostKernel::NAMES.into_iter().filter(|name| Kernel::named(name).is_ok()).collect();
        let (Self::Unknown { variable, .. } | Self::Unavailable { variable, .. }) = self;
        let without = if *variable {
            format!("; without {VARIABLE} it takes the fastest")
        } else {
            String::new()
        };
        Some(format!("this machine has: {}{without}", names.join(", ")))
    }
}

impl Kernel {
    /// The kernel that the environment names, or the fastest.
    ///
    /// # Errors
    /// A name that is no kernel of this machine.
    pub fn chosen() -> Result<Self, KernelError> {
        match std::env::var_os(VARIABLE) {
            Some(name) if !name.is_empty() => Self::asked(&name.to_string_lossy(), true),
            _ => Ok(Self(HostKernel::fastest())),
        }
    }

    /// The kernel of this name.
    ///
    /// # Errors
    /// A name that is no kernel of this machine.
    pub fn named(name: &str) -> Result<Self, KernelError> {
        Self::asked(name, false)
    }

    fn asked(name: &str, variable: bool) -> Result<Self, KernelError> {
        let asked = name.to_owned();
        HostKernel::named(name).map(Self).map_err(|error| match error {
            KernelNameError::Unknown => KernelError::Unknown { asked, variable },
            _ => KernelError::Unavailable { asked, variable },
        })
    }

    /// All kernels of this machine, the portable one first.
    pub fn all() -> Vec<Self> {
        std::iter::once(None).chain(HostKernel::detected().map(Some)).map(Self).collect()
    }

    /// Memory for [`prepare`](Self::prepare).
    ///
    /// # Errors
    /// There is none.
    pub fn panels(self, model: &Model<'_>) -> Result<AlignedBytes, MemoryError> {
        AlignedBytes::try_zeroed(MemoryUse::Panels, self.0.map_or(0, |_| Prepared::panels_len(model)))
    }

    /// Packs the weights of a model.
    ///
    /// # Errors
    /// Memory of another model.
    pub fn prepare<'a>(self, model: &'a Model<'a>, panels: &'a mut AlignedBytes) -> Result<Drawer<'a>, DrawError> {
        Ok(match self.0 {
            None => Drawer::Portable(model),
            Some(kernel) => Drawer::Host(model, Prepared::new(kernel, model, panels.bytes_mut())?),
        })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => pixgen_core::kernels::NAME,
            Some(kernel) => kernel.name(),
        })
    }
}

/// A model ready to draw; threads share it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Drawer<'a> {
    /// With the weights of the file.
    Portable(&'a Model<'a>),
    /// With packed weights.
    Host(&'a Model<'a>, Prepared<'a>),
}

/// Memory of one thread.
#[derive(Clone, Debug)]
pub struct DrawMemory {
    workspace: AlignedBytes,
    scratch: AlignedBytes,
}

impl Drawer<'_> {
    /// The model.
    pub const fn model(&self) -> &Model<'_> {
        match self {
            Self::Portable(model) => model,
            Self::Host(model, _) => model,
        }
    }

    /// Memory for one thread, with `more` bytes of workspace than a picture takes.
    ///
    /// # Errors
    /// There is none.
    pub fn memory(&self, more: usize) -> Result<DrawMemory, MemoryError> {
        let workspace = (self.model().workspace_len() + more).next_multiple_of(16);
        let scratch = match self {
            Self::Portable(_) => 0,
            Self::Host(model, _) => Prepared::scratch_len(model),
        };
        let zeroed = |len| AlignedBytes::try_zeroed(MemoryUse::Drawing, len);
        Ok(DrawMemory { workspace: zeroed(workspace)?, scratch: zeroed(scratch)? })
    }

    /// Draws a picture: bytes H W C.
    ///
    /// # Errors
    /// A class that the model does not have.
    pub fn draw(&self, request: &DrawRequest, memory: &mut DrawMemory, out: &mut [u8]) -> Result<(), DrawError> {
        let mut rest = out.iter_mut();
        self.draw_bands(request, memory, &mut |band| rest.by_ref().zip(band.bytes()).for_each(|(to, &byte)| *to = byte))
    }

    /// The same, band by band.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn draw_bands(&self, request: &DrawRequest, memory: &mut DrawMemory, each: &mut dyn FnMut(&Band<'_>)) -> Result<(), DrawError> {
        let workspace = memory.workspace.bytes_mut();
        match self {
            Self::Portable(model) => model.draw(request, workspace, each)?,
            Self::Host(_, prepared) => prepared.draw(request, workspace, memory.scratch.bytes_mut(), each)?,
        };
        Ok(())
    }

    /// The interpreter of a step ([`Integer::new`]).
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn interpreter<'m, 'o>(
        &'m self,
        class: usize,
        step: usize,
        memory: &'m mut DrawMemory,
        output: Option<BandOutput<'o>>,
    ) -> Result<Integer<'m, 'o>, DrawError> {
        let workspace = memory.workspace.bytes_mut();
        match self {
            Self::Portable(model) => Integer::new(model, class, step, workspace, output),
            Self::Host(_, prepared) => prepared.interpreter(class, step, workspace, memory.scratch.bytes_mut(), output),
        }
    }

    /// [`Model::self_test`].
    ///
    /// # Errors
    /// As [`Model::self_test`].
    pub fn self_test(&self, memory: &mut DrawMemory) -> Result<usize, SelfTestError> {
        self.model().self_test_with(|request| {
            let mut hash = PictureHash::new();
            self.draw_bands(request, memory, &mut |band| hash.update(band.bytes()))?;
            Ok(hash.value())
        })
    }

    /// Draws a picture for each request, on all cores: bytes H W C, one picture after another.
    ///
    /// # Errors
    /// As [`draw`](Self::draw), and there is no memory.
    pub fn draw_many(&self, requests: &[DrawRequest]) -> Result<Vec<u8>, EngineError> {
        let len = self.model().config().image_len();
        let mut bytes = memory::zeroed(MemoryUse::Pictures, requests.len().saturating_mul(len))?;
        let pictures = bytes.par_chunks_exact_mut(len).zip(requests);
        pictures.try_for_each_init(
            || self.memory(0),
            |memory, (out, request)| match memory {
                Ok(memory) => self.draw(request, memory, out).map_err(EngineError::from),
                Err(error) => Err(EngineError::from(*error)),
            },
        )?;
        Ok(bytes)
    }
}
