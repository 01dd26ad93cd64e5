//! What a caller chooses of a file.

use clap::ValueEnum;

/// Forms of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LiteForm {
    /// int8 and int16, for Ethos-U and other accelerators
    Integer,
    /// Real numbers, f32, for programs on phones and PCs
    Float,
}

/// Accelerators of Arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Npu {
    /// Ethos-U55
    U55,
    /// Ethos-U65
    U65,
    /// Ethos-U85, which also computes attention in int16: less error
    U85,
}

/// How GELU is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LiteGelu {
    /// The operator GELU, x Phi(x)
    #[default]
    Exact,
    /// x sigmoid(1.702 x), for runtimes without that operator, such as TensorFlow Lite Micro on a CPU
    Sigmoid,
}

/// Choices of the graph, and what its file says of the model.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiteOptions<'a> {
    /// How GELU is computed.
    pub gelu: LiteGelu,
    /// Attention in int16, which of the Ethos-U only the U85 computes.
    pub wide_attention: bool,
    /// Identifier of the model's licence.
    pub license: Option<&'a str>,
}
