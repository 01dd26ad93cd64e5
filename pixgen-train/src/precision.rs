//! What numbers a GPU computes with.

use burn_tensor::FloatDType;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Precision of matrices and activations; master weights, norms, softmax, losses and the optimiser are `f32` in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the exponent of f32; products are summed in f32.
    Bf16,
}

impl Precision {
    /// The tensor type.
    pub const fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
        }
    }

    /// Bytes of a stored activation or matrix element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}
