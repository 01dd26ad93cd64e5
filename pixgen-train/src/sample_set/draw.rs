//! Drawing what is missing, while a thread in the background writes it. Where the system has no thread to spare, the drawing waits for the
//! writing.

use super::error::SampleSetError;
use super::folder::SampleFolder;
use crate::ops::FusedOps;
use crate::run::Progress;
use crate::sampling::{BATCH, LoadedGenerator, SampleRequest};
use pixgen_edge::interrupt::Interrupt;
use pixgen_edge::picture::{Picture, png};
use pixgen_edge::threads;
use rayon::prelude::*;
use std::sync::mpsc;
use std::thread::{self, Builder};

/// Values of the pictures that are drawn between two looks at Ctrl-C.
const BLOCK_VALUES: usize = 4 << 20;

/// Pictures of a block: a function of their size alone, because a GPU may round in another way in a batch of another size.
fn block(image_len: usize) -> u64 {
    (BLOCK_VALUES / image_len).clamp(16, BATCH) as u64
}

/// A block of pictures on its way to the disk: those with these numbers, of `pixels` that begin at picture `first`.
struct Drawn {
    first: u64,
    numbers: Vec<u64>,
    pixels: Vec<u8>,
}

/// Draws those of the first `count` pictures that are missing. Returns how many are there: an interrupt ends the drawing early, and the
/// next call goes on.
///
/// Blocks are aligned and drawn as a whole, so that a picture has the same neighbours whenever it is drawn.
///
/// # Errors
/// Those of [`SampleFolder::missing`], and files that cannot be written.
pub fn complete<B: FusedOps>(
    folder: &SampleFolder,
    generator: &mut LoadedGenerator<'_, B>,
    count: u64,
    quiet: bool,
    interrupt: &Interrupt,
) -> Result<u64, SampleSetError> {
    let manifest = folder.manifest();
    let (size, channels) = generator.picture_shape();
    let block = block(size * size * channels);
    let missing = folder.missing(count)?;
    let there = count - missing.len() as u64;
    let mut progress = Progress::new("sample", there, count, quiet);
    if there > 0 && there < count {
        progress.message(&format!("{there} of {count} pictures are there"));
    }
    let written = thread::scope(|scope| {
        // Two blocks wait at most, so that a slow disk does not fill the memory.
        let (sender, receiver) = mpsc::sync_channel::<Drawn>(2);
        let serve = move || receiver.iter().try_for_each(|drawn| write(folder, &drawn, size, channels));
        let writer = threads::may_wait_for_others()
            .then(|| Builder::new().spawn_scoped(scope, serve).ok())
            .flatten();
        let mut done = there;
        for numbers in missing.chunk_by(|a, b| a / block == b / block) {
            if interrupt.requested() {
                break;
            }
            let first = numbers[0] / block * block;
            let classes: Vec<usize> = (first..count.min(first + block)).map(|number| manifest.class(number)).collect();
            let request = SampleRequest { seed: manifest.seed, first, classes: &classes, drawing: manifest.drawing };
            let drawn = Drawn { first, numbers: numbers.to_vec(), pixels: generator.draw(&request) };
            if writer.is_none() {
                write(folder, &drawn, size, channels)?;
            } else if sender.send(drawn).is_err() {
                // The writer has gone away: it says why.
                break;
            }
            done += numbers.len() as u64;
            progress.update(done, None);
        }
        drop(sender);
        let written = writer.map_or(Ok(()), |writer| writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        written.map(|()| done)
    });
    let done = written?;
    if there < count {
        progress.finish();
    }
    if done == count {
        folder.write_labels(count)?;
    }
    Ok(done)
}

fn write(folder: &SampleFolder, drawn: &Drawn, size: usize, channels: usize) -> Result<(), SampleSetError> {
    let len = size * size * channels;
    let encode = |&number: &u64| {
        let at = (number - drawn.first) as usize * len;
        let picture = Picture::new(size, size, channels, drawn.pixels[at..at + len].to_vec())?;
        png::encode(&picture, None)
    };
    let files: Vec<_> = drawn.numbers.par_iter().map(encode).collect();
    for (&number, file) in drawn.numbers.iter().zip(files) {
        folder.write(number, &file?)?;
    }
    Ok(())
}
