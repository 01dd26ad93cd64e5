//! Pictures on this machine: by the float network and by the integer one, many at once.

use super::QuantiseError;
use super::export::{Aligned, levels};
use crate::model_file::ModelFile;
use pixgen_core::integer::DrawRequest;
use pixgen_core::pxg::Model;
use pixgen_core::reference::{Condition, FlatWeights, Reference};
use pixgen_core::sampler::{ConsistencySampler, Denoiser};
use rayon::prelude::*;

/// Which pictures: number `first + i` of `seed` has class `classes[i]`.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Seed of the noise.
    pub seed: u64,
    /// Number of the first picture.
    pub first: u64,
    /// Their classes.
    pub classes: &'a [usize],
}

/// The float network, one picture at a time.
struct Float<'a> {
    file: &'a ModelFile,
    workspace: Vec<f32>,
    scratch: Vec<f32>,
}

impl Denoiser for Float<'_> {
    type Error = QuantiseError;

    fn denoise(&mut self, x: &mut [f32], t: f64, classes: &[usize]) -> Result<(), QuantiseError> {
        let header = &self.file.header;
        let mut reference = Reference::new(FlatWeights::new(&header.model, &self.file.params)?, &mut self.workspace)?;
        let condition = Condition { t, class: classes.first().copied() };
        Ok(reference.denoise(&header.noise, header.parametrisation, &condition, x, &mut self.scratch)?)
    }
}

/// Pictures of the float model in `steps` steps: bytes H W C, one picture after another.
///
/// # Errors
/// A class that the model does not have.
pub fn draw_float(file: &ModelFile, wanted: &Wanted<'_>, steps: usize) -> Result<Vec<u8>, QuantiseError> {
    let values = draw_values(file, wanted, steps)?;
    let mut bytes = vec![0; values.len()];
    file.header.normalisation.to_u8(file.header.model.channels, &values, &mut bytes);
    Ok(bytes)
}

/// The same as values of the normalised data, before they become bytes.
///
/// # Errors
/// A class that the model does not have.
pub fn draw_values(file: &ModelFile, wanted: &Wanted<'_>, steps: usize) -> Result<Vec<f32>, QuantiseError> {
    let (model, noise) = (&file.header.model, &file.header.noise);
    let middle = levels(file, steps).get(1).map(|t| t / noise.shift);
    let sampler = ConsistencySampler { middle, range: file.header.normalisation.range(model.channels) };
    draw_each(wanted, model.image_len(), |number, class, out| {
        let scratch = vec![0.0; out.len()];
        let mut float = Float { file, workspace: vec![0.0; model.workspace_len()], scratch };
        sampler.draw(&mut float, noise, wanted.seed, number, &[class], out)
    })
}

/// Pictures of a `.pxg` model: bytes H W C, one picture after another.
///
/// # Errors
/// A class that the model does not have.
pub fn draw_integer(model: &Model<'_>, wanted: &Wanted<'_>) -> Result<Vec<u8>, QuantiseError> {
    draw_each(wanted, model.config().image_len(), |number, class, out| {
        let mut workspace = Aligned::zeroed(model.workspace_len());
        let mut rest = out.iter_mut();
        model.draw(&DrawRequest { class, seed: wanted.seed, number }, workspace.bytes_mut(), &mut |band| {
            rest.by_ref().zip(band.bytes()).for_each(|(to, &byte)| *to = byte);
        })?;
        Ok(())
    })
}

fn draw_each<T: Copy + Default + Send>(
    wanted: &Wanted<'_>,
    len: usize,
    draw: impl Fn(u64, usize, &mut [T]) -> Result<(), QuantiseError> + Sync,
) -> Result<Vec<T>, QuantiseError> {
    let mut values = vec![T::default(); wanted.classes.len() * len];
    let pictures = values.par_chunks_exact_mut(len).zip(wanted.classes).enumerate();
    pictures.try_for_each(|(i, (out, &class))| draw(wanted.first + i as u64, class, out))?;
    Ok(values)
}
