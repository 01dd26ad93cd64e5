//! Any bytes as a PyTorch file, of either format. What can be opened is read, tensor by tensor.
#![no_main]

#[allow(dead_code, reason = "the trainer uses the rest")]
mod weights;

use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use weights::pytorch::PytorchFile;

/// The reader wants a file.
static PATH: LazyLock<PathBuf> = LazyLock::new(|| std::env::temp_dir().join(format!("pixgen-fuzz-{}.pth", std::process::id())));

/// Numbers of a tensor at most: a stride of 0 makes many of one.
const MOST: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    fs::write(&*PATH, bytes).expect("a temporary file");
    match PytorchFile::open(&PATH) {
        Ok(file) => {
            for tensor in file.tensors().iter().filter(|tensor| tensor.len() <= MOST) {
                match file.read(tensor) {
                    Ok(values) => assert_eq!(values.len(), tensor.len(), "{}", tensor.name()),
                    Err(error) => drop((error.to_string(), error.hint())),
                }
            }
        }
        Err(error) => drop((error.to_string(), error.hint())),
    }
});
