//! Writes a small generator with random weights for every kind of architecture, for checks by other programs (`tests/gen/onnx_check.sh`).
//!
//!     cargo run --release -p pixgen-edge --example random_models FOLDER

#[path = "../tests/random/mod.rs"]
mod random;

use pixgen_core::noise::Parametrisation;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: random_models FOLDER")?);
    std::fs::create_dir_all(&folder)?;
    for (number, model) in random::shapes().into_iter().enumerate() {
        for (name, parametrisation) in [("plain-x", Parametrisation::PlainX), ("edm", Parametrisation::Edm)] {
            let path = folder.join(format!("{number}-{name}.safetensors"));
            std::fs::write(&path, random::generator(model, parametrisation).to_bytes()?)?;
            println!("{}", path.display());
        }
    }
    Ok(())
}
