//! Any bytes as a picture file. What can be decoded has as many pixels as it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pixgen_edge::data::{WHITE, decode};

fuzz_target!(|bytes: &[u8]| {
    match decode(bytes, WHITE) {
        Ok(picture) => assert_eq!(picture.pixels.len(), picture.shape.len()),
        Err(reason) => drop(reason.to_string()),
    }
});
