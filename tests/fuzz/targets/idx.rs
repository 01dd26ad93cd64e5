//! Any bytes as the images and the labels of an IDX pair. A first byte says where the labels begin.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pixgen_edge::data::idx::{join, read_images, read_labels};
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let Some((&at, rest)) = bytes.split_first() else { return };
    let (images, labels) = rest.split_at(rest.len() * usize::from(at) / 256);
    let images = read_images(images, Path::new("images"));
    match (images, read_labels(labels, Path::new("labels"))) {
        (Ok(images), Ok(labels)) => {
            let names = (0..256).map(|class| class.to_string()).collect();
            if let Ok(data) = join(images, labels, names, "fuzz".into()) {
                assert_eq!(data.pixels().expect("they are in memory").len(), data.len() * data.shape.len());
            }
        }
        (images, labels) => {
            for error in [images.err(), labels.err()].into_iter().flatten() {
                drop((error.to_string(), error.hint()));
            }
        }
    }
});
