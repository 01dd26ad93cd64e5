//! How good pictures of Fashion-MNIST are that another program drew, for `tests/gen/accelerator_quality.py`: of each file of 28x28 bytes a
//! picture, whose classes take turns, the Fréchet distance (FD-fmnist) and the share that shows the class that was asked for.
//!
//!     cargo run --release -p pixgen-edge --example measure_clothes -- FILE...

use pixgen_edge::data::bundled_split;
use pixgen_edge::eval::{FashionReference, Subject};

const PIXELS: usize = 28 * 28;
const CLASSES: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (training, held_out) = bundled_split()?;
    for path in std::env::args().skip(1) {
        let pictures = std::fs::read(&path)?;
        let count = pictures.len() / PIXELS;
        let asked: Vec<u16> = (0..count).map(|number| (number % CLASSES) as u16).collect();
        let reference = FashionReference::new(&training, &held_out, count)?;
        let measured = reference.measure(Subject::pictures(&path), &pictures, &asked)?.generated;
        println!("{path} {count} {:.2} {:.4}", measured.frechet, measured.accuracy.ok_or("no classes")?);
    }
    Ok(())
}
