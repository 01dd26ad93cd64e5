//! A whole `.pxg` file: calibrate, build, wrap, test.

use super::build::{Builder, LinearLayers, SiteScales};
use super::calibration::{Calibration, CalibrationInputs, Factors};
use super::error::QuantiseError;
use super::options::QuantiseOptions;
use crate::aligned::AlignedBytes;
use crate::data::Dataset;
use crate::memory::MemoryUse;
use crate::model_file::ModelFile;
use pixgen_core::config::ModelConfig;
use pixgen_core::integer::DrawRequest;
use pixgen_core::params::{Layer, ParamKind, Side, Site};
use pixgen_core::pxg::{self, Header, Model, check_widths};
use pixgen_core::reference::FlatWeights;
use pixgen_core::sampler::MIDDLE_LEVEL;

/// A finished file.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The bytes of the `.pxg` file.
    pub bytes: Vec<u8>,
    /// What the integers of each site mean, for reports.
    pub site_scales: SiteScales,
    /// The linear layers in real numbers, for exporters to other formats.
    pub linears: LinearLayers,
    /// Hash of each self-test picture: class, seed, hash.
    pub tests: Vec<(usize, u64, u64)>,
}

/// Exports `file`. `data` are real pictures to put under the noise of the calibration; a one-step model needs none.
///
/// # Errors
/// Options out of range, an architecture without a form for chips, or weights whose sums can leave 32 bits.
pub fn export(file: &ModelFile, data: Option<&Dataset>, options: &QuantiseOptions) -> Result<Exported, QuantiseError> {
    let model = &file.header.model;
    options.validate(model)?;
    check_widths(model)?;
    let all: Vec<usize> = (0..model.classes).collect();
    let classes = if options.classes.is_empty() { &all } else { &options.classes };
    let class_names = class_lines(file, classes)?;
    let levels = levels(file, options.steps);
    let inputs = CalibrationInputs { levels: &levels, pictures: options.pictures, data };
    let (calibration, factors, _) = calibrated(file, &inputs, options, |_| true, |(): &mut (), _, _, _| ())?;
    let body = Builder::new(file, classes, &levels, options, &calibration, &factors)?.build()?;

    let weights: &[u8] = bytemuck::cast_slice(&file.params);
    let mut header = Header {
        model: ModelConfig { classes: classes.len(), ..*model },
        steps: options.steps as u8,
        skips_input: levels
            .iter()
            .any(|&t| file.header.noise.output_factors(file.header.parametrisation, t).skip != 0.0),
        tests: 0,
        name: &options.name,
        class_names: &class_names,
        images: file.header.images,
        source: crc32fast::hash(weights),
    };
    let mut bytes = body.bytes;
    let untested = encode(&header, &bytes)?;
    let tests = self_tests(&untested, options.tests)?;
    header.tests = options.tests;
    for &(class, seed, hash) in &tests {
        for word in [seed, class as u64, hash] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
    }
    let bytes = encode(&header, &bytes)?.bytes().to_vec();
    Ok(Exported { bytes, site_scales: body.site_scales, linears: body.linears, tests })
}

/// What each site puts out, and the factors of the channels of norms by which equalisation divided that; only norms that are `equalised`
/// have any. And what `see` made of the values, for each thread, as [`Calibration::run`] shows them.
///
/// # Errors
/// The float network does not run, or a picture cannot be read.
pub fn calibrated<W: Default + Send>(
    file: &ModelFile,
    inputs: &CalibrationInputs<'_>,
    options: &QuantiseOptions,
    equalised: impl Fn(Site) -> bool,
    see: impl Fn(&mut W, Site, usize, &[f32]) + Sync,
) -> Result<(Calibration, Factors, Vec<W>), QuantiseError> {
    let mut factors = Factors::new();
    if let Some(share) = options.equalise {
        let (calibration, _) = Calibration::run(file, inputs, &factors, |(): &mut (), _, _, _| ())?;
        factors = equalisation(file, &calibration, share)?;
        factors.retain(|&site, _| equalised(site));
    }
    let (calibration, seen) = Calibration::run(file, inputs, &factors, see)?;
    Ok((calibration, factors, seen))
}

/// Names of `classes`, one a line; empty where none has one.
///
/// # Errors
/// [`QuantiseError::ClassName`]: a name with a line end would shift the names behind it.
pub fn class_lines(file: &ModelFile, classes: &[usize]) -> Result<String, QuantiseError> {
    let name = |&class: &usize| {
        let name = file.header.class_names.get(class).map_or("", String::as_str);
        if name.contains(['\n', '\r']) {
            return Err(QuantiseError::ClassName { class, name: name.to_owned() });
        }
        Ok(name)
    };
    let names = classes.iter().map(name).collect::<Result<Vec<_>, _>>()?;
    let any = names.iter().any(|name| !name.is_empty());
    Ok(if any { names.join("\n") } else { String::new() })
}

/// What the file says of itself.
pub fn model_name(file: &ModelFile) -> String {
    let model = &file.header.model;
    format!("{}x{} px, {} parameters, average {}", model.size, model.size, model.parameter_count(), file.header.ema)
}

/// Noise levels of the steps, shifted.
pub fn levels(file: &ModelFile, steps: usize) -> Vec<f64> {
    let noise = &file.header.noise;
    [noise.t_max(), noise.shift * MIDDLE_LEVEL].into_iter().take(steps).collect()
}

fn encode(header: &Header<'_>, body: &[u8]) -> Result<AlignedBytes, QuantiseError> {
    // The header holds two texts and some numbers of at most ten bytes.
    let most = 256 + header.name.len() + header.class_names.len() + body.len();
    let mut file = AlignedBytes::try_zeroed(MemoryUse::File, most)?;
    let too_large = QuantiseError::TooLarge { bytes: most as u64 };
    let len = pxg::encode(header, body, file.bytes_mut()).ok_or(too_large)?;
    file.truncate(len);
    Model::read(file.bytes())?;
    Ok(file)
}

/// Draws the pictures of the self-test: classes take turns, seeds count.
fn self_tests(file: &AlignedBytes, tests: u16) -> Result<Vec<(usize, u64, u64)>, QuantiseError> {
    let model = Model::read(file.bytes())?;
    let mut workspace = AlignedBytes::try_zeroed(MemoryUse::Drawing, model.workspace_len())?;
    (0..u64::from(tests))
        .map(|number| {
            let class = (number * 7) as usize % model.config().classes;
            let hash = model.picture_hash(&DrawRequest { class, seed: number, number: 0 }, workspace.bytes_mut())?;
            Ok((class, number, hash))
        })
        .collect()
}

/// Factors of the channels of the norms before qkv and fc1: activations are divided by them, weights multiplied.
fn equalisation(file: &ModelFile, calibration: &Calibration, share: f64) -> Result<Factors, QuantiseError> {
    let weights = FlatWeights::new(&file.header.model, &file.params)?;
    let mut factors = Factors::new();
    for (side, tower) in [
        (Side::Encoder, file.header.model.encoder),
        (Side::Decoder, file.header.model.decoder),
    ] {
        for block in 0..tower.depth {
            for (norm, linear) in [(Layer::Norm1, Layer::Qkv), (Layer::Norm2, Layer::Fc1)] {
                let (norm, linear) = (Site::new(side, block, norm), Site::new(side, block, linear));
                let Some(stats) = calibration.get(norm, 0) else { continue };
                let mut columns = vec![0.0f32; tower.width];
                for row in weights.get(linear, ParamKind::Weight).chunks_exact(tower.width) {
                    columns.iter_mut().zip(row).for_each(|(most, w)| *most = most.max(w.abs()));
                }
                let factor = |(&activation, &column): (&f32, &f32)| {
                    let factor = f64::from(activation).powf(share) / f64::from(column).powf(1.0 - share);
                    if factor.is_finite() && factor > 0.0 { factor } else { 1.0 }
                };
                let raw: Vec<f64> = stats.greatest().iter().zip(&columns).map(factor).collect();
                // Only ratios matter: keep their geometric mean at 1.
                let mean = (raw.iter().map(|f| f.ln()).sum::<f64>() / raw.len().max(1) as f64).exp();
                factors.insert(norm, raw.iter().map(|f| (f / mean) as f32).collect());
            }
        }
    }
    Ok(factors)
}
