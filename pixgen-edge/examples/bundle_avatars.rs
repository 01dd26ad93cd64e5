//! Packs the avatars that the program carries: writes pixgen-edge/data/avatars-25k/pixels.xz from what `data get avatars` drew.
//!
//! ```text
//! pixgen-train data get avatars --cc0 --size 32 --count 4000 --held-out 1000 --out avatars
//! cargo run --release -p pixgen-edge --example bundle_avatars -- avatars pixgen-edge/data/avatars-25k/pixels.xz
//! ```
//!
//! The same pictures give the same bytes, with the versions in Cargo.lock.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;

use lzma_rust2::{XzOptions, XzWriter};
use pixgen_edge::data::avatars::{AVATAR_SHAPE, AVATAR_STYLES, AVATARS_PER_STYLE};
use pixgen_edge::data::{self, DataPart, DataSource, DataSpec, Dataset, PixelStore, WHITE};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, out] = &arguments[..] else {
        return Err("usage: bundle_avatars FOLDER OUT".into());
    };
    let parts = ["train.zip", "test.zip"].map(|name| load(&Path::new(folder).join(name)));
    let [training, test] = parts;
    let parts = [training?, test?];
    for (part, count) in parts.iter().zip(AVATARS_PER_STYLE) {
        if part.class_names != AVATAR_STYLES || part.class_counts() != [count; AVATAR_STYLES.len()] {
            return Err(format!("{} does not hold {count} pictures of each of {AVATAR_STYLES:?}", part.source).into());
        }
    }

    // What a style's pictures share lies within the dictionary; all of it within what a small machine has to spare.
    let mut options = XzOptions::with_preset(9);
    options.lzma_options.dict_size = 1 << 24;
    options.lzma_options.nice_len = 273;
    let mut writer = XzWriter::new(Vec::new(), options)?;
    let pixels = [parts[0].pixels()?, parts[1].pixels()?];
    for style in 0..AVATAR_STYLES.len() {
        for (pixels, count) in pixels.iter().zip(AVATARS_PER_STYLE) {
            let length = count * AVATAR_SHAPE.len();
            writer.write_all(&pixels[style * length..][..length])?;
        }
    }
    let packed = writer.finish()?;
    println!("{out}: {} bytes", packed.len());
    Ok(fs::write(out, packed)?)
}

/// The pictures of an archive, which lie in it style by style.
fn load(path: &Path) -> Result<Dataset, data::DataError> {
    let spec = DataSpec {
        source: DataSource::Path(path.to_owned()),
        shape: AVATAR_SHAPE,
        background: WHITE,
        skip_bad: false,
        memory: PixelStore::Always,
        part: DataPart::Train,
        relabel: false,
    };
    Ok(data::load(&spec)?.dataset)
}
