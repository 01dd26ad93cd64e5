//! What the tool chain of an accelerator needs beside the graph: inputs to find ranges with, and a script that converts the graph with them
//! and compares pictures of the tool's simulator with the float network's.

use super::error::OnnxError;
use super::target::{ClassRows, OnnxTarget};
use crate::model_file::ModelFile;
use crate::npy::npy;
use crate::quantise::draw::{self, draw_float, requests, rows_of};
use pixgen_core::config::ModelConfig;
use pixgen_core::integer::DrawRequest;
use pixgen_core::patch::patchify;
use rawzip::ZipArchiveWriter;
use std::collections::BTreeMap;
use std::io::Write;

/// Pictures to find ranges with.
const PICTURES: usize = 30;
/// Seed of their noise: none that a user is likely to draw with.
const SEED: u64 = 0x7069_7867_656e_0003;
/// The list of inputs that rknn-toolkit2 reads.
const LIST: &str = "dataset.txt";

/// A file of the folder: its name and its content.
pub type FolderFile = (String, Vec<u8>);

/// The files of the folder. `classes` are the rows of the class embedding that the graph was made for, `rows` its inputs that are rows of
/// the class.
///
/// # Errors
/// A class that the model does not have.
pub fn calibration_files(
    file: &ModelFile,
    classes: &[usize],
    target: OnnxTarget,
    rows: &[ClassRows],
) -> Result<Vec<FolderFile>, OnnxError> {
    let model = &file.header.model;
    let asked: Vec<usize> = (0..PICTURES).map(|i| i % classes.len().max(1)).collect();
    let (name, script) = script(target);
    let mut files = vec![(name.to_owned(), script.as_bytes().to_vec())];
    let (mut arrays, mut list) = (BTreeMap::new(), String::new());
    for (number, &class) in asked.iter().enumerate() {
        let noise = noise(model, number as u64, target.takes_rows());
        let mut inputs = vec![("noise".to_owned(), noise)];
        if rows.is_empty() {
            inputs.push(("class".to_owned(), one_hot(class, classes.len())));
        }
        inputs.extend(rows.iter().map(|row| (row.name.clone(), row.of_class(class))));
        if target == OnnxTarget::Rknn {
            let names: Vec<String> = inputs.iter().map(|(input, _)| array_name(input, number, class)).collect();
            list += &format!("{}\n", names.join(" "));
            // Pictures of a class share its rows.
            arrays.extend(names.into_iter().zip(inputs).map(|(name, (_, array))| (name, array)));
        } else {
            files.push((format!("{number:02}.npz"), npz(&inputs)?));
        }
    }
    if target == OnnxTarget::Rknn {
        files.extend(arrays);
        files.push((LIST.to_owned(), list.into_bytes()));
    }
    if !rows.is_empty() {
        let tables: Vec<FolderFile> = rows.iter().map(|row| (row.name.clone(), row.array())).collect();
        files.push(("class_rows.npz".to_owned(), npz(&tables)?));
    }
    files.push(("expected.npy".to_owned(), expected(file, classes, &asked, target.takes_rows())?));
    Ok(files)
}

/// Rows of a class are named by the class, so that its pictures share them.
fn array_name(input: &str, number: usize, class: usize) -> String {
    if input == "noise" {
        format!("noise-{number:02}.npy")
    } else {
        format!("{input}-class{class}.npy")
    }
}

const fn script(target: OnnxTarget) -> (&'static str, &'static str) {
    match target {
        OnnxTarget::Generic => ("check.py", include_str!("convert/generic.py")),
        OnnxTarget::Rknn => ("convert.py", include_str!("convert/rknn.py")),
        OnnxTarget::Nncase => ("convert.py", include_str!("convert/nncase.py")),
        OnnxTarget::TpuMlir => ("convert.sh", include_str!("convert/tpu-mlir.sh")),
        OnnxTarget::Esp => ("convert.py", include_str!("convert/esp.py")),
    }
}

/// Noise of a picture as the graph takes it: H W C, or patch by patch.
fn noise(model: &ModelConfig, number: u64, in_patches: bool) -> Vec<u8> {
    let request = DrawRequest { class: 0, seed: SEED, number };
    let values: Vec<f32> = draw::noise(&request, model.image_len()).collect();
    let values = if in_patches { patches(model, &values) } else { values };
    npy("<f4", &shape(model, 1, in_patches), bytemuck::cast_slice(&values))
}

fn shape(model: &ModelConfig, pictures: usize, in_patches: bool) -> Vec<usize> {
    if in_patches {
        vec![pictures, model.patches(), model.patch_len()]
    } else {
        vec![pictures, model.size, model.size, model.channels]
    }
}

fn one_hot(class: usize, classes: usize) -> Vec<u8> {
    let values: Vec<f32> = (0..classes).map(|i| f32::from(u8::from(i == class))).collect();
    npy("<f4", &[1, 1, classes], bytemuck::cast_slice(&values))
}

/// A picture H W C patch by patch.
fn patches<T: Copy>(model: &ModelConfig, picture: &[T]) -> Vec<T> {
    let mut patches = picture.to_vec();
    patchify(model, picture, &mut patches);
    patches
}

impl ClassRows {
    fn of_class(&self, class: usize) -> Vec<u8> {
        let row = self.values.get(class * self.width..(class + 1) * self.width).unwrap_or_default();
        npy("<f4", &[1, 1, row.len()], bytemuck::cast_slice(row))
    }

    /// The whole table, `[classes, 1, width]`.
    fn array(&self) -> Vec<u8> {
        let classes = self.values.len() / self.width.max(1);
        npy("<f4", &[classes, 1, self.width], bytemuck::cast_slice(&self.values))
    }
}

/// The float network's pictures of the inputs, as bytes.
fn expected(file: &ModelFile, classes: &[usize], asked: &[usize], in_patches: bool) -> Result<Vec<u8>, OnnxError> {
    let model = &file.header.model;
    let pictures = draw_float(file, &rows_of(classes, &requests(SEED, 0, asked))?, 1)?;
    let pictures = pictures.chunks_exact(model.image_len().max(1));
    let bytes: Vec<u8> = pictures
        .flat_map(|picture| if in_patches { patches(model, picture) } else { picture.to_vec() })
        .collect();
    Ok(npy("|u1", &shape(model, asked.len(), in_patches), &bytes))
}

/// Arrays in one archive, as numpy writes it.
fn npz(arrays: &[FolderFile]) -> Result<Vec<u8>, OnnxError> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for (name, array) in arrays {
        let (mut entry, config) = archive.new_file(format!("{name}.npy").as_str()).start()?;
        let mut out = config.wrap(&mut entry);
        out.write_all(array)?;
        let (_, output) = out.finish()?;
        entry.finish(output)?;
    }
    Ok(archive.finish()?)
}
