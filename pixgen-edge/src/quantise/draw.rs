//! Pictures on this machine: by the float network and by the integer one, many at once.

use super::error::QuantiseError;
use super::export::levels;
use crate::engine::Kernel;
use crate::memory::{self, MemoryUse};
use crate::model_file::ModelFile;
use bytemuck::Zeroable;
use pixgen_core::integer::{DrawError, DrawRequest};
use pixgen_core::pxg::Model;
use pixgen_core::reference::{FlatWeights, Reference, ReferenceCondition};
use pixgen_core::rng::Rng;
use pixgen_core::sampler::{ConsistencySampler, Denoiser};
use pixgen_core::streams::{Purpose, stream};
use rayon::prelude::*;

/// Requests for pictures `first`, `first + 1`, .. of a seed, one for each of `classes`.
pub fn requests(seed: u64, first: u64, classes: &[usize]) -> Vec<DrawRequest> {
    (first..)
        .zip(classes)
        .map(|(number, &class)| DrawRequest { class, seed, number })
        .collect()
}

/// The same pictures by the classes of the model, where the requests name classes of a file that holds `classes` of them.
///
/// # Errors
/// A class that the file does not have.
pub fn rows_of(classes: &[usize], requests: &[DrawRequest]) -> Result<Vec<DrawRequest>, DrawError> {
    let row = |request: &DrawRequest| match classes.get(request.class) {
        Some(&class) => Ok(DrawRequest { class, ..*request }),
        None => Err(DrawError::Class { class: request.class, classes: classes.len() }),
    };
    requests.iter().map(row).collect()
}

/// The noise that the float network draws a picture of `len` values from.
pub fn noise(request: &DrawRequest, len: usize) -> impl Iterator<Item = f32> + use<> {
    let latent = Rng::new(request.seed, stream(Purpose::Latent, request.number));
    latent.gaussians_q16(0).take(len).map(|g| g as f32 / 65_536.0)
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
        let condition = ReferenceCondition { t, class: classes.first().copied() };
        Ok(reference.denoise(&header.noise, header.parametrisation, &condition, x, &mut self.scratch)?)
    }
}

/// Pictures of the float model in `steps` steps: bytes H W C, one picture after another.
///
/// # Errors
/// A class that the model does not have.
pub fn draw_float(file: &ModelFile, requests: &[DrawRequest], steps: usize) -> Result<Vec<u8>, QuantiseError> {
    let values = draw_values(file, requests, steps)?;
    let mut bytes = memory::zeroed(MemoryUse::Pictures, values.len())?;
    file.header.normalisation.to_u8(file.header.model.channels, &values, &mut bytes);
    Ok(bytes)
}

/// The same as values of the normalised data, before they become bytes.
///
/// # Errors
/// A class that the model does not have.
pub fn draw_values(file: &ModelFile, requests: &[DrawRequest], steps: usize) -> Result<Vec<f32>, QuantiseError> {
    let (model, noise) = (&file.header.model, &file.header.noise);
    let middle = levels(file, steps).get(1).map(|t| t / noise.shift);
    let sampler = ConsistencySampler { middle, range: file.header.normalisation.range(model.channels) };
    draw_each(requests, model.image_len(), |request, out| {
        let [workspace, scratch] = [model.workspace_len(), out.len()].map(|count| memory::zeroed(MemoryUse::Network, count));
        let mut float = Float { file, workspace: workspace?, scratch: scratch? };
        sampler.draw(&mut float, noise, request.seed, request.number, &[request.class], out)
    })
}

/// Pictures of a `.pxg` model, on all cores with the fastest kernel of this machine: bytes H W C, one picture after another.
///
/// # Errors
/// A class that the model does not have, `PIXGEN_KERNEL` names a kernel that this machine does not have, or there is no memory.
pub fn draw_integer(model: &Model<'_>, requests: &[DrawRequest]) -> Result<Vec<u8>, QuantiseError> {
    let kernel = Kernel::chosen()?;
    Ok(kernel.prepare(model, &mut kernel.panels(model)?)?.draw_many(requests)?)
}

fn draw_each<T: Zeroable + Send>(
    requests: &[DrawRequest],
    len: usize,
    draw: impl Fn(&DrawRequest, &mut [T]) -> Result<(), QuantiseError> + Sync,
) -> Result<Vec<T>, QuantiseError> {
    let mut values = memory::zeroed(MemoryUse::Pictures, requests.len().saturating_mul(len))?;
    let pictures = values.par_chunks_exact_mut(len).zip(requests);
    pictures.try_for_each(|(out, request)| draw(request, out))?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_picture_of_an_unknown_class_is_dropped() {
        let asked = requests(7, 3, &[1, 0]);
        assert_eq!(rows_of(&[9, 4], &asked), Ok(requests(7, 3, &[4, 9])));
        assert_eq!(rows_of(&[9], &asked), Err(DrawError::Class { class: 1, classes: 1 }));
    }
}
