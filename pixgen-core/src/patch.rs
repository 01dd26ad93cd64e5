//! Pixels to patches and back. A picture is rows of pixels, H W C; a patch holds (p1, p2, c) in that order (method.md section 0).

use crate::config::ModelConfig;

/// Values that are neighbours in both layouts lie in runs of p*C, a row of a patch: where each begins in rows and in patches.
fn runs(config: &ModelConfig) -> impl Iterator<Item = (usize, usize)> {
    let (size, p, c) = (config.size, config.patch, config.channels);
    let across = size / p;
    (0..across * across * p).map(move |i| {
        let (token, y) = (i / p, i % p);
        let (top, left) = (token / across * p + y, token % across * p);
        ((top * size + left) * c, i * p * c)
    })
}

/// Rows to patches, `[N_p, p*p*C]`. Both slices hold [`ModelConfig::image_len`] values.
pub fn patchify<T: Copy>(config: &ModelConfig, rows: &[T], patches: &mut [T]) {
    let len = config.patch * config.channels;
    for (row, patch) in runs(config) {
        patches[patch..patch + len].copy_from_slice(&rows[row..row + len]);
    }
}

/// Patches to rows; undoes [`patchify`].
pub fn unpatchify<T: Copy>(config: &ModelConfig, patches: &[T], rows: &mut [T]) {
    let len = config.patch * config.channels;
    for (row, patch) in runs(config) {
        rows[row..row + len].copy_from_slice(&patches[patch..patch + len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::PRESETS;
    use std::vec::Vec;

    #[test]
    fn order_of_a_small_picture() {
        let model = ModelConfig { size: 4, channels: 1, patch: 2, ..PRESETS[0].model };
        let rows: Vec<u8> = (0..16).collect();
        let mut patches = [0; 16];
        patchify(&model, &rows, &mut patches);
        assert_eq!(patches, [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
    }

    #[test]
    fn round_trip() {
        for preset in PRESETS {
            let len = preset.model.image_len();
            let rows: Vec<usize> = (0..len).collect();
            let (mut patches, mut back) = (rows.clone(), rows.clone());
            patchify(&preset.model, &rows, &mut patches);
            unpatchify(&preset.model, &patches, &mut back);
            assert_eq!(back, rows, "{}", preset.name);
        }
    }
}
