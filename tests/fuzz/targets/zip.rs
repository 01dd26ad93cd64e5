//! Any bytes as a zip archive of pictures: it is listed, and what it lists is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pixgen_edge::data::zip::list_bytes;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    pixgen_fuzz::one_thread();
    match list_bytes(Path::new("data.zip"), bytes.to_vec()) {
        Ok(listing) => pixgen_fuzz::read_all(&listing),
        Err(error) => drop((error.to_string(), error.hint())),
    }
});
