//! Draws one picture of a `.pxg` file into a PGM or PPM file, with the calls that a firmware makes:
//!
//!     cargo run --release -p pixgen-core --example draw -- pixgen-core/examples/nano-28-grey.pxg boot.pgm 9 7

use pixgen_core::integer::DrawRequest;
use pixgen_core::pxg::Model;
use pixgen_core::{ALIGN, align};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, out, class, seed] = arguments.as_slice() else {
        return Err("usage: draw MODEL.pxg OUT.pgm CLASS SEED".into());
    };
    let file = std::fs::read(path)?;
    let mut memory = vec![0; file.len() + ALIGN];
    let bytes = &mut align(&mut memory)[..file.len()];
    bytes.copy_from_slice(&file);
    let model = Model::read(bytes)?;

    let (size, magic) = (model.config().size, if model.config().channels == 1 { "P5" } else { "P6" });
    let mut picture = format!("{magic}\n{size} {size}\n255\n").into_bytes();
    let mut workspace = vec![0; model.workspace_len() + ALIGN];
    let request = DrawRequest { class: class.parse()?, seed: seed.parse()?, number: 0 };
    model.draw(&request, align(&mut workspace), &mut |band| picture.extend_from_slice(band.bytes()))?;
    Ok(std::fs::write(out, picture)?)
}
