//! One file from a folder of drawn pictures: the `.npz` that ADM's evaluator reads, or a zip archive in the layout of EDM's tools.

use super::error::SampleSetError;
use super::folder::SampleFolder;
use crate::data::prepare::{add, add_streamed, archived_name, zip_error};
use pixgen_edge::atomic::write_atomic;
use pixgen_edge::data::labels::LABEL_FILE;
use pixgen_edge::file_error::FileError;
use pixgen_edge::npy::npy_header;
use pixgen_edge::picture::png;
use rawzip::ZipArchiveWriter;
use rayon::prelude::*;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Pictures that are decoded at once.
const TOGETHER: u64 = 256;

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveForm {
    /// `arr_0`, bytes N x height x width x 3, and where there are classes `arr_1`, N integers. Grey is written three times, as
    /// programs that measure by Inception's features expect it.
    Npz,
    /// Stored PNG files `00000/img00000000.png`, and `dataset.json` with the classes.
    Zip,
}

/// Writes the first `count` pictures of `folder` to `out`; memory holds few at a time.
///
/// # Errors
/// Pictures that cannot be read, and an `out` that cannot be written.
pub fn assemble(folder: &SampleFolder, count: u64, form: ArchiveForm, out: &Path) -> Result<(), SampleSetError> {
    // What is wrong with a picture, which the writer of files cannot pass on.
    let mut bad = None;
    let written = write_atomic(out, |out| {
        let mut archive = ZipArchiveWriter::new(out);
        match form {
            ArchiveForm::Npz => npz(folder, count, &mut archive, &mut bad)?,
            ArchiveForm::Zip => zip(folder, count, &mut archive, &mut bad)?,
        }
        archive.finish().map_err(zip_error)?;
        Ok(())
    });
    match bad {
        Some(bad) => Err(bad),
        None => Ok(written?),
    }
}

/// Notes `error` for the caller, and stops the writing.
fn stop(bad: &mut Option<SampleSetError>, error: impl Into<SampleSetError>) -> io::Error {
    *bad = Some(error.into());
    io::Error::other("a picture cannot be read")
}

fn zip<W: Write>(folder: &SampleFolder, count: u64, archive: &mut ZipArchiveWriter<W>, bad: &mut Option<SampleSetError>) -> io::Result<()> {
    let name = |number: u64| archived_name(number as usize, "png");
    for number in 0..count {
        let file = folder.file(number);
        let bytes = fs::read(&file).map_err(|source| stop(bad, FileError::read(&file)(source)))?;
        add(archive, &name(number), &bytes)?;
    }
    add(archive, LABEL_FILE, folder.manifest().labels(count, name).to_string().as_bytes())
}

fn npz<W: Write>(folder: &SampleFolder, count: u64, archive: &mut ZipArchiveWriter<W>, bad: &mut Option<SampleSetError>) -> io::Result<()> {
    let (first, _) = png::read(&folder.file(0)).map_err(|error| stop(bad, error))?;
    let shape = format!("({count}, {}, {}, 3)", first.height(), first.width());
    add_streamed(archive, "arr_0.npy", |out| {
        out.write_all(&npy_header("|u1", &shape))?;
        for start in (0..count).step_by(TOGETHER as usize) {
            let numbers = start..count.min(start + TOGETHER);
            let decoded: Vec<_> = numbers.into_par_iter().map(|number| rgb(folder, number)).collect();
            for pixels in decoded {
                out.write_all(&pixels.map_err(|error| stop(bad, error))?)?;
            }
        }
        Ok(())
    })?;
    if folder.manifest().classes.len() == 1 {
        return Ok(());
    }
    add_streamed(archive, "arr_1.npy", |out| {
        out.write_all(&npy_header("<i8", &format!("({count},)")))?;
        (0..count).try_for_each(|number| out.write_all(&(folder.manifest().class(number) as i64).to_le_bytes()))
    })
}

/// Red, green and blue of a picture's pixels.
fn rgb(folder: &SampleFolder, number: u64) -> Result<Vec<u8>, SampleSetError> {
    let (picture, _) = png::read(&folder.file(number))?;
    Ok(match picture.channels() {
        1 => picture.bytes().iter().flat_map(|&grey| [grey; 3]).collect(),
        _ => picture.bytes().to_vec(),
    })
}
