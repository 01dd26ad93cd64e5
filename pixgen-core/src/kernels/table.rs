//! Tables of activation functions (docs/reference/numerics.md section 4.6).

/// Entries of a table.
pub const TABLE_LEN: usize = 1024;

/// The entry for a scaled sum; the first and the last stand for all beyond them.
#[inline(always)]
pub(super) fn entry(table: &[i8; TABLE_LEN], scaled: i32) -> i8 {
    table[scaled.clamp(0, TABLE_LEN as i32 - 1) as usize]
}
