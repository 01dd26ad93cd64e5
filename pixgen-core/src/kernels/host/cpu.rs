//! The kernels of hosts, by name.
#![cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "wasm32")),
    allow(unused_imports, unused_variables, reason = "a type without values has nothing to do")
)]

use super::attention::{self, Head, HeadScratch};
use super::lanes::{Lanes, Work};
use super::panels::{Panels, PanelsMut};
use super::product::{self, ProductScratch};
use crate::kernels::{Rows, Sink};

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512Vnni;
#[cfg(target_arch = "aarch64")]
use super::dotprod::Dotprod;
#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
#[cfg(target_arch = "wasm32")]
use super::simd128::Simd128;
#[cfg(target_arch = "x86_64")]
use super::vnni::AvxVnni;

macro_rules! host_kernels {
    ($($(#[$doc:meta])* $Variant:ident($Lanes:ty),)*) => {
        /// A kernel, with the proof that this CPU has its instructions.
        #[derive(Clone, Copy, Debug)]
        #[non_exhaustive]
        pub enum HostKernel {
            $($(#[$doc])* $Variant($Lanes),)*
        }

        impl HostKernel {
            /// Its name, for logs and reports.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Variant(_) => <$Lanes>::NAME,)*
                }
            }

            /// Runs a loop with its instructions.
            #[inline(always)]
            pub(crate) fn run<W: Work>(self, work: W) -> W::Output {
                match self {
                    $(Self::$Variant(lanes) => lanes.run(work),)*
                }
            }

            /// Packs weights: a row for each output.
            pub fn pack(self, panels: &mut PanelsMut<'_>, weights: Rows<'_>) {
                match self {
                    $(Self::$Variant(_) => panels.pack_rows::<$Lanes>(weights),)*
                }
            }

            /// [`product::matmul`].
            pub fn matmul<S: Sink>(self, x: Rows<'_>, w: Panels<'_>, scratch: &mut ProductScratch<'_>, sink: &mut S) -> bool {
                match self {
                    $(Self::$Variant(lanes) => product::matmul(lanes, x, w, scratch, sink),)*
                }
            }

            /// [`attention::attend`].
            pub(crate) fn attend(self, head: &Head<'_>, scratch: &mut HeadScratch<'_>, out: &mut [i8], stride: usize) -> bool {
                match self {
                    $(Self::$Variant(lanes) => attention::attend(lanes, head, scratch, out, stride),)*
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
host_kernels! {
    /// AVX2, in pairs.
    Avx2(Avx2<false>),
    /// AVX2, crosswise.
    Avx2Crosswise(Avx2<true>),
    /// AVX-512 VNNI.
    Avx512Vnni(Avx512Vnni),
    /// AVX-VNNI.
    AvxVnni(AvxVnni),
}

#[cfg(target_arch = "aarch64")]
host_kernels! {
    /// NEON.
    Neon(Neon),
    /// NEON with dot products.
    Dotprod(Dotprod),
}

// None yet: the type has no values.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "wasm32")))]
host_kernels! {}

#[cfg(target_arch = "wasm32")]
host_kernels! {
    /// SIMD128.
    Simd128(Simd128),
}
