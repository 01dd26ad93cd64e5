//! Which kernels the CPU of this process has, and which of them is the fastest.
#![allow(unsafe_code)]

use super::cpu::HostKernel;

impl HostKernel {
    /// The kernels that this CPU has, as a rule the fastest last.
    pub fn detected() -> impl Iterator<Item = Self> + Clone {
        found().into_iter().flatten()
    }

    /// The kernel of this [`name`](Self::name), where this CPU has it; or the fastest whose name has this part, such as `avx2` or `vnni`.
    pub fn named(name: &str) -> Option<Self> {
        let exact = Self::detected().find(|kernel| kernel.name() == name);
        exact.or_else(|| fastest_of(Self::detected().filter(|kernel| kernel.name().split('-').any(|part| part == name))))
    }

    /// The fastest that this CPU has. Of the two ways of AVX2 that is measured, once, in a fraction of a millisecond.
    pub fn fastest() -> Option<Self> {
        fastest_of(Self::detected())
    }
}

fn fastest_of(kernels: impl Iterator<Item = HostKernel>) -> Option<HostKernel> {
    let last = kernels.last()?;
    #[cfg(target_arch = "x86_64")]
    if let (HostKernel::Avx2Crosswise(_), [Some(pairs), ..]) = (last, found()) {
        return Some(measure::faster([pairs, last]));
    }
    Some(last)
}

#[cfg(target_arch = "x86_64")]
fn found() -> [Option<HostKernel>; 4] {
    use super::avx2::Avx2;
    use super::vnni::{Avx512Vnni, AvxVnni};
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

    /// The faster of two kernels on a product of a small model, measured once.
    pub fn faster(both: [HostKernel; 2]) -> HostKernel {
        static FIRST_WINS: OnceLock<bool> = OnceLock::new();
        let [first, second] = both;
        if *FIRST_WINS.get_or_init(|| {
            let [first, second] = times(both);
            first <= second
        }) {
            first
        } else {
            second
        }
    }

    /// The best times of a product of 24 rows of 128 values and 64 outputs, in turns; a fraction of a millisecond for all.
    fn times(kernels: [HostKernel; 2]) -> [Duration; 2] {
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
