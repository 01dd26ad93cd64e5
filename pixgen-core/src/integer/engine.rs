//! Who computes what the interpreter asks for: the kernel that this crate was built with, on the weights of the file; or, on a host, a
//! kernel that its CPU was found to have, on weights that were packed for it. Both compute the same bytes.

use super::attention::{self, AttentionBuffers, AttentionScales, HeadShape};
#[cfg(host_kernels)]
use super::host::HostEngine;
use super::input::Noise;
use super::loops::{self, OutputNoise};
use super::norm::row_scale;
use super::workspace::map_rows;
use crate::config::ModelConfig;
use crate::kernels::{Kernel, Native, Rows, Sink};
use crate::params::Site;
use crate::pxg::{Norm, StepRecord};
use core::marker::PhantomData;
use core::ops::Range;

/// Computes products, attention and loops over values.
#[derive(Debug)]
pub(super) enum Engine<'m> {
    /// By [`Native`].
    InPlace(PhantomData<&'m ()>),
    /// By a kernel of [`host`](crate::kernels::host).
    #[cfg(host_kernels)]
    Host(HostEngine<'m>),
}

/// A loop of [`loops`], with the instructions of the engine.
macro_rules! with_loops {
    ($($(#[$doc:meta])* fn $name:ident<$l:lifetime>(&self $(, $argument:ident: $type:ty)*);)*) => {
        impl Engine<'_> {
            $(
                $(#[$doc])*
                // On chips loops and products are functions of their own: inside their callers they find too few registers.
                #[cfg_attr(host_kernels, inline(always))]
                #[cfg_attr(not(host_kernels), inline(never))]
                pub(super) fn $name<$l>(&self $(, $argument: $type)*) {
                    match self {
                        Self::InPlace(_) => loops::$name($($argument),*),
                        #[cfg(host_kernels)]
                        Self::Host(engine) => {
                            struct Arguments<$l>($($type),*, PhantomData<&$l ()>);
                            impl crate::kernels::host::lanes::Work for Arguments<'_> {
                                type Output = ();

                                #[inline(always)]
                                fn run(self) {
                                    let Self($($argument),*, _) = self;
                                    loops::$name($($argument),*);
                                }
                            }
                            engine.run(Arguments($($argument),*, PhantomData));
                        }
                    }
                }
            )*
        }
    };
}

with_loops! {
    /// [`loops::add`].
    fn add<'a>(&self, x: &'a mut [i16], y: &'a [i16]);
    /// [`loops::add_gated`].
    fn add_gated<'a>(&self, width: usize, x: &'a mut [i16], y: &'a [i16], gates: &'a [i16], shift: u32);
    /// [`loops::narrow`].
    fn narrow<'a>(&self, words: [i32; 3], from: &'a [i16], to: &'a mut [i8]);
    /// [`loops::concat`].
    fn concat<'a>(&self, words: [i32; 3], widths: [usize; 2], x: &'a [i16], kept: &'a [i8], to: &'a mut [i8]);
    /// [`loops::noisy_patches`].
    fn noisy_patches<'a>(&self, config: &'a ModelConfig, step: &'a StepRecord, noise: Noise, picture: &'a [u8], patches: &'a mut [i8]);
    /// [`loops::to_bytes`].
    fn to_bytes<'a>(&self, config: &'a ModelConfig, levels: &'a [i16], noise: OutputNoise<'a>, out: &'a mut [u8]);
}

impl Engine<'_> {
    /// [`Native`] on the weights of the file.
    pub(super) const fn new() -> Self {
        Self::InPlace(PhantomData)
    }

    /// Rows of the attention map that [`attend`](Self::attend) takes at a time.
    #[inline(always)]
    pub(super) fn map_rows(&self, tokens: usize) -> usize {
        match self {
            Self::InPlace(_) => map_rows(tokens),
            #[cfg(host_kernels)]
            Self::Host(_) => tokens,
        }
    }

    /// The product of a linear layer ([`Kernel::matmul`]); `weights` are those of the file.
    #[cfg_attr(not(host_kernels), expect(unused_variables, reason = "only packed weights are looked up by site"))]
    #[cfg_attr(host_kernels, inline(always))]
    #[cfg_attr(not(host_kernels), inline(never))]
    pub(super) fn product<S: Sink>(&mut self, site: Site, x: Rows<'_>, weights: Rows<'_>, scratch: &mut [u32], sink: &mut S) {
        match self {
            Self::InPlace(_) => Native::matmul(x, weights, scratch, sink),
            #[cfg(host_kernels)]
            Self::Host(engine) => engine.product(site, x, weights, sink),
        }
    }

    /// softmax(Q K^T) V of one head for the tokens `rows`; first those from 0 on.
    #[inline(always)]
    pub(super) fn attend(&mut self, buffers: &mut AttentionBuffers<'_>, shape: &HeadShape, rows: Range<usize>, scales: AttentionScales) {
        match self {
            Self::InPlace(_) => attention::strip(buffers, shape, rows, scales),
            #[cfg(host_kernels)]
            Self::Host(engine) => engine.attend(buffers, shape, scales),
        }
    }

    /// Layer norm of a row into int8.
    #[inline(always)]
    pub(super) fn norm_to_i8(&self, row: &[i16], norm: &Norm<'_>, out: &mut [i8]) {
        match self {
            Self::InPlace(_) => row_scale(row, norm.epsilon).write_i8(row, &norm.affine(), out),
            #[cfg(host_kernels)]
            Self::Host(engine) => engine.norm_to_i8(row, norm, out),
        }
    }

    /// Layer norm of a row in place.
    #[inline(always)]
    pub(super) fn norm_in_place(&self, row: &mut [i16], norm: &Norm<'_>) {
        match self {
            Self::InPlace(_) => row_scale(row, norm.epsilon).in_place(row, &norm.affine()),
            #[cfg(host_kernels)]
            Self::Host(engine) => engine.norm_in_place(row, norm),
        }
    }
}
