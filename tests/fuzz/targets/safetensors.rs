//! Any bytes as a `model.safetensors`. What can be read is the same when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pixgen_edge::model_file::ModelFile;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("model.safetensors");
    match ModelFile::from_bytes(bytes, path) {
        Ok(file) => {
            let written = file.to_bytes().expect("writes");
            let back = ModelFile::from_bytes(&written, path).expect("reads what it wrote");
            assert_eq!(back.header, file.header);
            assert_eq!(back.params, file.params);
        }
        Err(error) => drop((error.to_string(), error.hint())),
    }
});
