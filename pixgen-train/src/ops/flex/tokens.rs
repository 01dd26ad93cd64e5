//! The token sequence: prefix tokens and patch tokens of every image behind each other, plus the position table.

use rayon::prelude::*;

use super::buffers::take;
use super::columns::column_sums;
use super::lanes::vectorised;

vectorised! {
    fn add(a: &[f32], b: &[f32], sum: &mut [f32]) {
        for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
            *sum = a + b;
        }
    }
}

/// `[prefix; patches] + position` for every image, with `prefix_len` elements of prefix per image.
pub fn forward(prefix: &[f32], patches: &[f32], position: &[f32], prefix_len: usize) -> Vec<f32> {
    let mut y = take(prefix.len() + patches.len());
    let (image, patches_len) = (position.len(), position.len() - prefix_len);
    if y.is_empty() {
        return y;
    }
    y.par_chunks_mut(image).enumerate().for_each(|(i, y)| {
        let (head, tail) = y.split_at_mut(prefix_len);
        add(&prefix[i * prefix_len..], position, head);
        add(&patches[i * patches_len..], &position[prefix_len..], tail);
    });
    y
}

/// Gradients of prefix, patches and position, with `image` elements per image.
pub fn backward(dy: &[f32], image: usize, prefix_len: usize) -> [Vec<f32>; 3] {
    let images = dy.len() / image.max(1);
    let patches_len = image - prefix_len;
    let (mut prefix, mut patches) = (take(images * prefix_len), take(images * patches_len));
    for (i, dy) in dy.chunks_exact(image.max(1)).enumerate() {
        prefix[i * prefix_len..][..prefix_len].copy_from_slice(&dy[..prefix_len]);
        patches[i * patches_len..][..patches_len].copy_from_slice(&dy[prefix_len..]);
    }
    [prefix, patches, column_sums(dy, image)]
}
