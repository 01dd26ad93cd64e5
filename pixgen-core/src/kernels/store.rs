//! Writes a block of finished sums, with one bounds check for all of it.
#![allow(unsafe_code)]

/// Writes `value(p, c, sum)` at row `row + r`, column `column + c` of `out`, whose rows are `stride` apart; p is item r of `rows`.
/// What lies outside `out`, or has no item, is left alone.
#[inline(always)]
pub(super) fn store<T, P: Copy, const C: usize>(
    out: &mut [T],
    stride: usize,
    (row, column): (usize, usize),
    sums: &[[i32; C]],
    rows: impl IntoIterator<Item = P>,
    value: impl Fn(P, usize, i32) -> T,
) {
    match first_if_inside(out.len(), stride, (row, column), (sums.len(), C)) {
        Some(first) => {
            let mut line = out.as_mut_ptr().wrapping_add(first);
            for (sums, of_row) in sums.iter().zip(rows) {
                for (c, &sum) in sums.iter().enumerate() {
                    // SAFETY: `line` is the place of column 0 of a row of the block, and every place of the block is inside `out`.
                    unsafe { line.add(c).write(value(of_row, c, sum)) };
                }
                line = line.wrapping_add(stride);
            }
        }
        None => store_checked(out, stride, (row, column), sums, rows, value),
    }
}

/// Index of the first value of a block of `rows` x `columns`, when all of the block is inside `len` values.
#[inline(always)]
fn first_if_inside(len: usize, stride: usize, (row, column): (usize, usize), (rows, columns): (usize, usize)) -> Option<usize> {
    let below = (row + rows)
        .checked_sub(1)?
        .checked_mul(stride)?
        .checked_add(column)?
        .checked_add(columns)?;
    (rows > 0 && below <= len).then(|| row * stride + column)
}

/// [`store`] with a check for every value.
#[cold]
#[inline(never)]
fn store_checked<T, P: Copy, const C: usize>(
    out: &mut [T],
    stride: usize,
    (row, column): (usize, usize),
    sums: &[[i32; C]],
    rows: impl IntoIterator<Item = P>,
    value: impl Fn(P, usize, i32) -> T,
) {
    for (r, (sums, of_row)) in sums.iter().zip(rows).enumerate() {
        for (c, &sum) in sums.iter().enumerate() {
            let place = (row + r).checked_mul(stride).and_then(|start| start.checked_add(column + c));
            if let Some(out) = place.and_then(|place| out.get_mut(place)) {
                *out = value(of_row, c, sum);
            }
        }
    }
}
