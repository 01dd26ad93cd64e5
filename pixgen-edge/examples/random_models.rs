//! Writes a small generator with random weights for every kind of architecture, for checks by other programs (`tests/gen/onnx_check.sh`), or
//! one for each preset that is named, for measurements (`tests/bench/kernels.py`); `PRESET:120` has 120 classes.
//!
//!     cargo run --release -p pixgen-edge --example random_models FOLDER [PRESET[:CLASSES]...]

#[path = "../tests/random/mod.rs"]
mod random;

#[path = "../tests/spoilt/mod.rs"]
mod spoilt;

use pixgen_core::noise::Parametrisation;
use pixgen_core::presets::preset;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: random_models FOLDER [PRESET...]")?);
    std::fs::create_dir_all(&folder)?;
    let presets: Vec<String> = std::env::args().skip(2).collect();
    for name in &presets {
        let (preset_name, classes) = name.split_once(':').unwrap_or((name, ""));
        let mut model = preset(preset_name).ok_or("no such preset")?.model;
        if !classes.is_empty() {
            model.classes = classes.parse()?;
        }
        let name = name.replace(':', "-");
        let path = folder.join(format!("{name}.safetensors"));
        std::fs::write(&path, random::generator(model, Parametrisation::Edm).to_bytes()?)?;
        println!("{}", path.display());
    }
    if !presets.is_empty() {
        return Ok(());
    }
    for (number, model) in random::shapes().into_iter().enumerate() {
        for (name, parametrisation) in [("plain-x", Parametrisation::PlainX), ("edm", Parametrisation::Edm)] {
            let path = folder.join(format!("{number}-{name}.safetensors"));
            std::fs::write(&path, random::generator(model, parametrisation).to_bytes()?)?;
            println!("{}", path.display());
        }
    }
    std::fs::create_dir_all(folder.join("spoilt"))?;
    for how in spoilt::SPOILS {
        let mut file = random::generator(random::shapes()[0], Parametrisation::PlainX);
        spoilt::spoil(&mut file, how);
        std::fs::write(folder.join(format!("spoilt/{how}.safetensors")), file.to_bytes()?)?;
    }
    Ok(())
}
