//! Pictures as characters.

use pixgen_core::pixels::Band;

/// From dark to light.
const SHADES: &[u8; 10] = b" .:-=+*#%@";
/// Widest picture that is shown, in pixels.
const WIDEST: usize = 64;

/// Logs the rows of a band, two characters for a pixel. Pictures that are too wide are left out.
pub fn print(band: &Band<'_>) {
    let width = band.width();
    if width == 0 || width > WIDEST {
        return;
    }
    let mut line = [b' '; 2 * WIDEST];
    let mut greys = band.grey();
    for _ in band.rows() {
        for (cell, grey) in line.chunks_exact_mut(2).zip(greys.by_ref().take(width)) {
            cell.fill(SHADES[usize::from(grey) * (SHADES.len() - 1) / 255]);
        }
        if let Ok(text) = core::str::from_utf8(&line[..2 * width]) {
            defmt::println!("{=str}", text);
        }
    }
}
