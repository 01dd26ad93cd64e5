//! The kernels that this machine draws pictures of `.pxg` models with.
//!
//! All of them draw the same bytes. The fastest that the CPU has is chosen; `PIXGEN_KERNEL` names another, for measurements and when in
//! doubt.

use crate::aligned::AlignedBytes;
use pixgen_core::integer::{BandOutput, DrawError, DrawRequest, Integer, PictureHash, SelfTestError};
use pixgen_core::pxg::Model;
use rayon::prelude::*;
use std::fmt;

#[cfg(target_arch = "x86_64")]
use pixgen_core::integer::Prepared;
#[cfg(target_arch = "x86_64")]
use pixgen_core::kernels::host::HostKernel;

/// The variable of the environment that names a kernel.
pub const VARIABLE: &str = "PIXGEN_KERNEL";

/// A kernel that this machine has.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Host(HostKernel),
}

/// Why there is no such kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// No machine has it.
    #[error("{VARIABLE}={asked}: there is no such kernel")]
    Unknown {
        /// What was asked for.
        asked: String,
    },
    /// Other machines have it.
    #[error("{VARIABLE}={asked}: this CPU does not have the instructions")]
    Unavailable {
        /// What was asked for.
        asked: String,
    },
}

impl KernelError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        let names: Vec<&str> = NAMES.into_iter().filter(|name| Kernel::named(name).is_ok()).collect();
        Some(format!("leave {VARIABLE} out for the fastest, or set it to one that this machine has: {}", names.join(", ")))
    }
}

/// What the variable can say: kinds of instructions, and the two ways of AVX2 one by one.
const NAMES: [&str; 5] = ["portable", "avx2", "avx2-pairs", "avx2-crosswise", "vnni"];

impl Kernel {
    /// The kernel that the environment names, or the fastest.
    ///
    /// # Errors
    /// A name that is no kernel of this machine.
    pub fn chosen() -> Result<Self, KernelError> {
        match std::env::var_os(VARIABLE) {
            Some(name) if !name.is_empty() => Self::named(&name.to_string_lossy()),
            _ => Ok(["vnni", "avx2"]
                .into_iter()
                .find_map(|name| Self::named(name).ok())
                .unwrap_or(Self(Kind::Portable))),
        }
    }

    /// The kernel of this name.
    ///
    /// # Errors
    /// A name that is no kernel of this machine.
    pub fn named(name: &str) -> Result<Self, KernelError> {
        let asked = || name.to_owned();
        let kind = match name {
            "portable" => Some(Kind::Portable),
            #[cfg(target_arch = "x86_64")]
            "avx2" => x86::avx2().map(|both| Kind::Host(x86::faster(both))),
            #[cfg(target_arch = "x86_64")]
            "avx2-pairs" => x86::avx2().map(|[pairs, _]| Kind::Host(pairs)),
            #[cfg(target_arch = "x86_64")]
            "avx2-crosswise" => x86::avx2().map(|[_, crosswise]| Kind::Host(crosswise)),
            #[cfg(target_arch = "x86_64")]
            "vnni" => x86::vnni().map(Kind::Host),
            _ if NAMES.contains(&name) => None,
            _ => return Err(KernelError::Unknown { asked: asked() }),
        };
        kind.map(Self).ok_or_else(|| KernelError::Unavailable { asked: asked() })
    }

    /// All kernels of this machine, the portable one first.
    pub fn all() -> Vec<Self> {
        ["portable", "avx2-pairs", "avx2-crosswise", "vnni"]
            .into_iter()
            .filter_map(|name| Self::named(name).ok())
            .collect()
    }

    /// Memory for [`prepare`](Self::prepare).
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "no kernel packs weights"))]
    pub fn panels(self, model: &Model<'_>) -> AlignedBytes {
        AlignedBytes::zeroed(match self.0 {
            Kind::Portable => 0,
            #[cfg(target_arch = "x86_64")]
            Kind::Host(_) => Prepared::panels_len(model),
        })
    }

    /// Packs the weights of a model.
    ///
    /// # Errors
    /// Memory of another model.
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "no kernel packs weights"))]
    pub fn prepare<'a>(self, model: &'a Model<'a>, panels: &'a mut AlignedBytes) -> Result<Drawer<'a>, DrawError> {
        Ok(match self.0 {
            Kind::Portable => Drawer::Portable(model),
            #[cfg(target_arch = "x86_64")]
            Kind::Host(kernel) => Drawer::Host(model, Prepared::new(kernel, model, panels.bytes_mut())?),
        })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Portable => pixgen_core::kernels::NAME,
            #[cfg(target_arch = "x86_64")]
            Kind::Host(kernel) => kernel.name(),
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
    #[cfg(target_arch = "x86_64")]
    Host(&'a Model<'a>, Prepared<'a>),
}

/// Memory of one thread.
#[derive(Clone, Debug)]
pub struct DrawMemory {
    workspace: AlignedBytes,
    #[cfg(target_arch = "x86_64")]
    scratch: AlignedBytes,
}

impl Drawer<'_> {
    /// The model.
    pub const fn model(&self) -> &Model<'_> {
        match self {
            Self::Portable(model) => model,
            #[cfg(target_arch = "x86_64")]
            Self::Host(model, _) => model,
        }
    }

    /// Memory for one thread, with `more` bytes of workspace than a picture takes.
    pub fn memory(&self, more: usize) -> DrawMemory {
        DrawMemory {
            workspace: AlignedBytes::zeroed((self.model().workspace_len() + more).next_multiple_of(16)),
            #[cfg(target_arch = "x86_64")]
            scratch: AlignedBytes::zeroed(match self {
                Self::Portable(_) => 0,
                Self::Host(model, _) => Prepared::scratch_len(model),
            }),
        }
    }

    /// Draws a picture: bytes H W C.
    ///
    /// # Errors
    /// A class that the model does not have.
    pub fn draw(&self, request: &DrawRequest, memory: &mut DrawMemory, out: &mut [u8]) -> Result<(), DrawError> {
        let mut rest = out.iter_mut();
        let each = &mut |band: &pixgen_core::pixels::Band<'_>| rest.by_ref().zip(band.bytes()).for_each(|(to, &byte)| *to = byte);
        let workspace = memory.workspace.bytes_mut();
        match self {
            Self::Portable(model) => model.draw(request, workspace, each)?,
            #[cfg(target_arch = "x86_64")]
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
            #[cfg(target_arch = "x86_64")]
            Self::Host(_, prepared) => prepared.interpreter(class, step, workspace, memory.scratch.bytes_mut(), output),
        }
    }

    /// [`Model::self_test`].
    ///
    /// # Errors
    /// As [`Model::self_test`].
    pub fn self_test(&self) -> Result<usize, SelfTestError> {
        let mut picture = vec![0; self.model().config().image_len()];
        let mut memory = self.memory(0);
        self.model().self_test_with(|request| {
            self.draw(request, &mut memory, &mut picture)?;
            let mut hash = PictureHash::new();
            hash.update(&picture);
            Ok(hash.value())
        })
    }

    /// Draws a picture for each request, on all cores: bytes H W C, one picture after another.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn draw_many(&self, requests: &[DrawRequest]) -> Result<Vec<u8>, DrawError> {
        let len = self.model().config().image_len();
        let mut bytes = vec![0; requests.len() * len];
        let pictures = bytes.par_chunks_exact_mut(len).zip(requests);
        pictures.try_for_each_init(|| self.memory(0), |memory, (out, request)| self.draw(request, memory, out))?;
        Ok(bytes)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use pixgen_core::kernels::host::HostKernel;
    use pixgen_core::kernels::host::avx2::Avx2;
    use pixgen_core::kernels::host::panels::{Panels, PanelsMut, panels_len};
    use pixgen_core::kernels::host::product::ProductScratch;
    use pixgen_core::kernels::host::vnni::{Avx512Vnni, AvxVnni};
    use pixgen_core::kernels::{Rows, Scaled};
    use std::is_x86_feature_detected as has;
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    /// In pairs, and crosswise.
    pub fn avx2() -> Option<[HostKernel; 2]> {
        // SAFETY: it was detected.
        has!("avx2").then(|| unsafe { [HostKernel::Avx2(Avx2::detected()), HostKernel::Avx2Crosswise(Avx2::detected())] })
    }

    /// Of either kind.
    pub fn vnni() -> Option<HostKernel> {
        let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512vnni");
        if has!("avx2") && avx512 {
            // SAFETY: all of them were detected.
            return Some(HostKernel::Avx512Vnni(unsafe { Avx512Vnni::detected() }));
        }
        // SAFETY: both were detected.
        (has!("avx2") && has!("avxvnni")).then(|| HostKernel::AvxVnni(unsafe { AvxVnni::detected() }))
    }

    /// The faster of two kernels on a product of a small model, measured once.
    pub fn faster(both: [HostKernel; 2]) -> HostKernel {
        static FIRST_WINS: OnceLock<bool> = OnceLock::new();
        let [first, second] = both;
        if *FIRST_WINS.get_or_init(|| {
            let [first, second] = measure(both);
            first <= second
        }) {
            first
        } else {
            second
        }
    }

    /// The best times of a product of 24 rows of 128 values and 64 outputs, in turns; a fraction of a millisecond for all.
    fn measure(kernels: [HostKernel; 2]) -> [Duration; 2] {
        const COUNT: usize = 24;
        const INPUTS: usize = 128;
        const OUTPUTS: usize = 64;
        let values: Vec<i8> = (0..OUTPUTS * INPUTS).map(|i| (i * 37) as i8).collect();
        let (bias, multiplier, mut out) = ([0; OUTPUTS], [1 << 24; OUTPUTS], [0i8; COUNT * OUTPUTS]);
        let (mut wide, mut excess, mut panel) = ([0i16; COUNT * INPUTS], [0; COUNT], [0i16; 16 * INPUTS]);
        let mut memory = vec![0u32; panels_len(INPUTS, OUTPUTS) / 4];
        let mut best = [Duration::MAX; 2];
        let rows = |count: usize| Rows::new(&values, INPUTS, INPUTS, count);
        let (Some(x), Some(w)) = (rows(COUNT), rows(OUTPUTS)) else {
            return best;
        };
        for _ in 0..8 {
            for (kernel, best) in kernels.into_iter().zip(&mut best) {
                let Some(mut panels) = PanelsMut::new(bytemuck::cast_slice_mut(&mut memory), INPUTS, OUTPUTS) else {
                    continue;
                };
                kernel.pack(&mut panels, w);
                let Some(panels) = Panels::new(bytemuck::cast_slice(&memory), INPUTS, OUTPUTS) else {
                    continue;
                };
                let mut scratch = ProductScratch { wide: &mut wide, excess: &mut excess, panel: &mut panel };
                let mut sink = Scaled { bias: &bias, multiplier: &multiplier, left: 0, out: &mut out, stride: OUTPUTS };
                let start = Instant::now();
                std::hint::black_box(kernel.matmul(x, panels, &mut scratch, &mut sink));
                *best = (*best).min(start.elapsed());
            }
        }
        best
    }
}
