//! Which kernels the CPU of this process has, and which of them is the fastest.
#![allow(unsafe_code)]

use super::cpu::HostKernel;
use crate::kernels;
use core::fmt;

/// Why a kernel cannot be had by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelNameError {
    /// No machine has one of that name.
    Unknown,
    /// Other CPUs have the instructions.
    Unavailable,
}

impl fmt::Display for KernelNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "there is no kernel of this name",
            Self::Unavailable => "this CPU does not have the instructions of this kernel",
        })
    }
}

impl core::error::Error for KernelNameError {}

impl HostKernel {
    /// All names that [`named`](Self::named) knows, whatever this CPU has.
    pub const NAMES: [&str; 10] = [
        "portable",
        "avx2",
        "avx2-pairs",
        "avx2-crosswise",
        "vnni",
        "avx-vnni",
        "avx512-vnni",
        "neon",
        "dotprod",
        "simd128",
    ];

    /// The kernels that this CPU has, as a rule the fastest last.
    pub fn detected() -> impl Iterator<Item = Self> + Clone {
        found().into_iter().flatten()
    }

    /// The kernel of one of [`NAMES`](Self::NAMES), or `None` for `portable`, the loops of a chip that every CPU has. Of the kinds `avx2` and
    /// `vnni` it is the fastest that this CPU has.
    ///
    /// # Errors
    /// Another name, or instructions that this CPU does not have.
    pub fn named(name: &str) -> Result<Option<Self>, KernelNameError> {
        if !Self::NAMES.contains(&name) {
            return Err(KernelNameError::Unknown);
        }
        if name == kernels::NAME {
            return Ok(None);
        }
        let of_name = Self::detected().filter(|kernel| kernel.name() == name || kernel.name().split('-').any(|part| part == name));
        fastest_of(of_name).map(Some).ok_or(KernelNameError::Unavailable)
    }

    /// The fastest that this CPU has. Of the two ways of AVX2 that is measured, once, in a fraction of a millisecond.
    pub fn fastest() -> Option<Self> {
        fastest_of(Self::detected())
    }
}

fn fastest_of(kernels: impl Iterator<Item = HostKernel> + Clone) -> Option<HostKernel> {
    let last = kernels.clone().last()?;
    #[cfg(target_arch = "x86_64")]
    if let HostKernel::Avx2Crosswise(_) = last {
        let pairs = kernels.clone().find(|kernel| matches!(kernel, HostKernel::Avx2(_)));
        return Some(pairs.map_or(last, |pairs| measure::faster_of_avx2(pairs, last)));
    }
    Some(last)
}

#[cfg(target_arch = "x86_64")]
fn found() -> [Option<HostKernel>; 4] {
    use super::avx2::Avx2;
    use super::avx512::Avx512Vnni;
    use super::vnni::AvxVnni;
    use std::is_x86_feature_detected as has;

    let avx2 = has!("avx2");
    let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512vnni");
    // SAFETY: all that each of them needs was detected.
    unsafe {
        [
            avx2.then(|| HostKernel::Avx2(Avx2::detected())),
            avx2.then(|| HostKernel::Avx2Crosswise(Avx2::detected())),
            (avx2 && has!("avxvnni")).then(|| HostKernel::AvxVnni(AvxVnni::detected())),
            (avx2 && avx512).then(|| HostKernel::Avx512Vnni(Avx512Vnni::detected())),
        ]
    }
}

#[cfg(target_arch = "aarch64")]
fn found() -> [Option<HostKernel>; 2] {
    use super::dotprod::Dotprod;
    use super::neon::Neon;
    use std::arch::is_aarch64_feature_detected as has;

    let neon = has!("neon");
    // SAFETY: all that each of them needs was detected.
    unsafe {
        [
            neon.then(|| HostKernel::Neon(Neon::detected())),
            (neon && has!("dotprod")).then(|| HostKernel::Dotprod(Dotprod::detected())),
        ]
    }
}

#[cfg(target_arch = "wasm32")]
fn found() -> [Option<HostKernel>; 1] {
    [Some(HostKernel::Simd128(super::simd128::Simd128::built_in()))]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "wasm32")))]
fn found() -> [Option<HostKernel>; 0] {
    []
}

#[cfg(target_arch = "x86_64")]
mod measure {
    use crate::kernels::host::cpu::HostKernel;
    use crate::kernels::host::panels::{Panels, PanelsMut, panels_len};
    use crate::kernels::host::product::ProductScratch;
    use crate::kernels::{Rows, Scaled};
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};
    use std::vec;
    use std::vec::Vec;

    /// The rows, inputs and outputs of the product that is timed.
    const COUNT: usize = 24;
    const INPUTS: usize = 128;
    const OUTPUTS: usize = 64;

    /// The faster of the two ways of AVX2 on a product of a small model, measured once.
    pub fn faster_of_avx2(pairs: HostKernel, crosswise: HostKernel) -> HostKernel {
        static PAIRS_WIN: OnceLock<bool> = OnceLock::new();
        let pairs_win = PAIRS_WIN.get_or_init(|| {
            let [of_pairs, of_crosswise] = times([pairs, crosswise]);
            of_pairs <= of_crosswise
        });
        if *pairs_win { pairs } else { crosswise }
    }

    /// The best times of a product, in turns; a fraction of a millisecond for all. The weights are packed before, as for pictures.
    fn times(kernels: [HostKernel; 2]) -> [Duration; 2] {
        let values: Vec<i8> = (0..OUTPUTS * INPUTS).map(|i| (i * 37) as i8).collect();
        let (bias, multiplier, mut out) = ([0; OUTPUTS], [1 << 24; OUTPUTS], [0i8; COUNT * OUTPUTS]);
        let (mut wide, mut excess, mut panel) = ([0i16; COUNT * INPUTS], [0; COUNT], [0i16; 16 * INPUTS]);
        let mut best = [Duration::MAX; 2];
        let rows = |count: usize| Rows::new(&values, INPUTS, INPUTS, count);
        let (Some(x), Some(w)) = (rows(COUNT), rows(OUTPUTS)) else {
            return best;
        };
        let memory = kernels.map(|kernel| packed(kernel, w));
        for _ in 0..8 {
            for ((kernel, memory), best) in kernels.into_iter().zip(&memory).zip(&mut best) {
                let Some(panels) = Panels::new(bytemuck::cast_slice(memory), INPUTS, OUTPUTS) else {
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

    /// Memory with the panels of these weights, in words so that they begin at one.
    fn packed(kernel: HostKernel, weights: Rows<'_>) -> Vec<u32> {
        let mut memory = vec![0; panels_len(INPUTS, OUTPUTS) / 4];
        if let Some(mut panels) = PanelsMut::new(bytemuck::cast_slice_mut(&mut memory), INPUTS, OUTPUTS) {
            kernel.pack(&mut panels, weights);
        }
        memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Every kernel has its name in the list, and a name of a kind is one of that kind.
    #[test]
    fn names_of_the_list_are_those_of_kernels() {
        assert_eq!(HostKernel::named("portable").map(|kernel| kernel.map(HostKernel::name)), Ok(None));
        for kernel in HostKernel::detected() {
            assert!(HostKernel::NAMES.contains(&kernel.name()));
            let named = HostKernel::named(kernel.name()).expect("it was detected").map(HostKernel::name);
            assert_eq!(named, Some(kernel.name()));
        }
        for kind in HostKernel::NAMES.into_iter().filter(|name| *name != "portable") {
            match HostKernel::named(kind) {
                Ok(Some(kernel)) => assert!(kernel.name().contains(kind), "{} for {kind}", kernel.name()),
                other => assert_eq!(other.map(|_| ()), Err(KernelNameError::Unavailable), "{kind}"),
            }
        }
        // Parts of names that stand for no kind.
        for name in ["crosswise", "pairs", "avx", "avx512", "", "Portable", "avx2-"] {
            assert_eq!(HostKernel::named(name).map(|_| ()), Err(KernelNameError::Unknown), "{name}");
        }
    }

    /// The choice is among what was asked for, and nothing else.
    #[test]
    fn the_fastest_is_one_of_those_given() {
        let all: Vec<HostKernel> = HostKernel::detected().collect();
        for wanted in &all {
            let chosen = fastest_of(core::iter::once(*wanted)).map(HostKernel::name);
            assert_eq!(chosen, Some(wanted.name()));
        }
        assert!(fastest_of(core::iter::empty()).is_none());
    }
}
