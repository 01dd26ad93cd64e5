//! Pixels to patches and back. A picture is rows of pixels, H W C; a patch holds (p1, p2, c) in that order (method.md section 0).

use crate::config::ModelConfig;

/// Where value `i` of the patch layout lies in the row layout.
fn row_index(config: &ModelConfig, i: usize) -> usize {
    let (p, c) = (config.patch, config.channels);
    let across = config.size / p;
    let (token, inside) = (i / config.patch_len(), i % config.patch_len());
    let (y, x) = ((token / across) * p + inside / (p * c), (token % across) * p + inside / c % p);
    (y * config.size + x) * c + inside % c
}

/// Rows to patches, `[N_p, p*p*C]`. Both slices hold [`ModelConfig::image_len`] values.
pub fn patchify<T: Copy>(config: &ModelConfig, rows: &[T], patches: &mut [T]) {
    for (i, value) in patches.iter_mut().enumerate() {
        *value = rows[row_index(config, i)];
    }
}

/// Patches to rows; undoes [`patchify`].
pub fn unpatchify<T: Copy>(config: &ModelConfig, patches: &[T], rows: &mut [T]) {
    for (i, value) in patches.iter().enumerate() {
        rows[row_index(config, i)] = *value;
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
