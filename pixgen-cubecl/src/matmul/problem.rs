//! The sizes of a product.

use burn_backend::Shape;
use cubek::std::MatrixLayout;

/// Name in errors.
pub(super) const OP: &str = "matmul";

/// `[m, k] x [k, n]`, and how the operands lie in memory.
#[derive(Debug, Clone, Copy)]
pub struct MatmulProblem {
    /// Rows of the result.
    pub m: u32,
    /// Columns of the result.
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
    /// Of the left operand.
    pub lhs: MatrixLayout,
    /// Of the right operand.
    pub rhs: MatrixLayout,
}

impl MatmulProblem {
    /// Of the result.
    pub fn shape(&self) -> Shape {
        [self.m as usize, self.n as usize].into()
    }
}
