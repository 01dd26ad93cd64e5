//! Tables of activation functions (docs/reference/numerics.md section 4.6).

/// Entries of a table.
pub const TABLE_LEN: usize = 1024;
