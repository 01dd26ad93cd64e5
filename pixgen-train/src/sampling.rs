//! Pictures from weights: the burn denoiser behind core's samplers.

use crate::model::batch::upload;
use crate::model::weights::to_vec;
use crate::model::{BurnWeights, Condition, forward};
use crate::ops::FusedOps;
use pixgen_core::config::ModelConfig;
use pixgen_core::diffusion::{DiffusionSampler, Guidance, SCRATCH, Sampler, Weaker};
use pixgen_core::noise::{NoiseConfig, Parametrisation};
use pixgen_core::patch::{patchify, unpatchify};
use pixgen_core::sampler::{ConsistencySampler, Denoiser, MIDDLE_LEVEL, NoiseSource};
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::model_file::ModelFile;
use pixgen_edge::param_set::ParamSet;
use serde::Serialize;
use std::convert::Infallible;

/// Pictures that go through the network at once.
pub const BATCH: usize = 250;

/// f(x, t) on a burn backend, for pictures H W C.
#[derive(Debug)]
pub struct BurnDenoiser<'a, B: FusedOps> {
    /// Architecture.
    pub config: &'a ModelConfig,
    /// Noise constants.
    pub noise: &'a NoiseConfig,
    /// How F becomes a picture.
    pub parametrisation: Parametrisation,
    /// The weights.
    pub weights: BurnWeights<'a, B>,
    /// Where to compute.
    pub device: B::Device,
}

impl<B: FusedOps> Denoiser for BurnDenoiser<'_, B> {
    type Error = Infallible;

    fn denoise(&mut self, x: &mut [f32], t: f64, classes: &[usize]) -> Result<(), Infallible> {
        let len = self.config.image_len();
        let c_in = self.noise.c_in(t) as f32;
        let factors = self.noise.output_factors(self.parametrisation, t);
        let (skip, out) = (factors.skip as f32, factors.out as f32);
        for (pictures, classes) in x.chunks_mut(BATCH * len).zip(classes.chunks(BATCH)) {
            let mut scaled = vec![0.0; pictures.len()];
            for (picture, patches) in pictures.chunks_exact(len).zip(scaled.chunks_exact_mut(len)) {
                patchify(self.config, picture, patches);
                patches.iter_mut().for_each(|v| *v *= c_in);
            }
            let shape = [classes.len(), self.config.patches(), self.config.patch_len()];
            let condition = Condition::new(&vec![t; classes.len()], Some(classes), self.config.encoder.width, &self.device);
            let image = upload(scaled, shape, &self.device);
            let f = to_vec(forward(self.config, &self.weights, &image, &condition, None).into_data());
            let mut rows = vec![0.0; len];
            for (picture, f) in pictures.chunks_exact_mut(len).zip(f.chunks_exact(len)) {
                unpatchify(self.config, f, &mut rows);
                for (value, f) in picture.iter_mut().zip(&rows) {
                    *value = skip * *value + out * f;
                }
            }
        }
        Ok(())
    }
}

/// What is needed to draw pictures, without the weights.
#[derive(Clone, Copy, Debug)]
pub struct Generator<'a> {
    /// Architecture.
    pub config: &'a ModelConfig,
    /// Noise constants.
    pub noise: &'a NoiseConfig,
    /// How F becomes a picture.
    pub parametrisation: Parametrisation,
    /// Network values to bytes.
    pub normalisation: &'a Normalisation,
    /// Parameter list of the weights.
    pub set: &'a ParamSet,
}

impl<'a> From<&'a ModelFile> for Generator<'a> {
    fn from(file: &'a ModelFile) -> Self {
        let header = &file.header;
        Self {
            config: &header.model,
            noise: &header.noise,
            parametrisation: header.parametrisation,
            normalisation: &header.normalisation,
            set: &file.set,
        }
    }
}

/// How pictures are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drawing {
    /// By a one-step generator, in one or two steps.
    Consistency {
        /// 1 or 2.
        steps: u32,
    },
    /// By a diffusion model.
    Diffusion {
        /// Points of the grid.
        levels: usize,
        /// How a step is taken.
        method: Sampler,
        /// Away from the weaker model, or from the same one without class.
        guidance: Option<Guidance>,
    },
}

impl Drawing {
    /// The pictures of a run while it trains.
    pub const PREVIEW: Self = Self::Diffusion { levels: 18, method: Sampler::Heun, guidance: None };

    /// Network evaluations for each picture.
    pub fn evaluations(self, noise: &NoiseConfig) -> u32 {
        match self {
            Self::Consistency { steps } => steps,
            Self::Diffusion { levels, method, guidance } => {
                DiffusionSampler { levels, method, guidance, range: (0.0, 0.0) }.evaluations(noise)
            }
        }
    }
}

/// Which pictures.
#[derive(Clone, Copy, Debug)]
pub struct SampleRequest<'a> {
    /// Seed of the noise.
    pub seed: u64,
    /// Number of the first.
    pub first: u64,
    /// A class for each.
    pub classes: &'a [usize],
    /// How.
    pub drawing: Drawing,
}

impl<'a> Generator<'a> {
    fn denoiser<B: FusedOps>(&self, params: &[f32], device: &B::Device) -> BurnDenoiser<'a, B> {
        BurnDenoiser {
            config: self.config,
            noise: self.noise,
            parametrisation: self.parametrisation,
            weights: BurnWeights::frozen(self.set, params, device),
            device: device.clone(),
        }
    }

    /// Puts the weights on a device. `weak` is the weaker model of autoguidance.
    pub fn load<B: FusedOps>(self, params: &[f32], weak: Option<&'a ModelFile>, device: &B::Device) -> LoadedGenerator<'a, B> {
        LoadedGenerator {
            generator: self,
            denoiser: self.denoiser(params, device),
            weak: weak.map(|file| Generator::from(file).denoiser(&file.params, device)),
        }
    }

    /// Draws pictures; bytes H W C, one picture after another. `weak` is the weaker model of autoguidance.
    pub fn draw<B: FusedOps>(&self, params: &[f32], weak: Option<&ModelFile>, device: &B::Device, wanted: &SampleRequest<'_>) -> Vec<u8> {
        self.load::<B>(params, weak, device).draw(wanted)
    }
}

/// A generator with its weights on a device.
#[derive(Debug)]
pub struct LoadedGenerator<'a, B: FusedOps> {
    generator: Generator<'a>,
    denoiser: BurnDenoiser<'a, B>,
    weak: Option<BurnDenoiser<'a, B>>,
}

impl<B: FusedOps> LoadedGenerator<'_, B> {
    /// Side in pixels, and channels.
    pub fn picture_shape(&self) -> (usize, usize) {
        (self.generator.config.size, self.generator.config.channels)
    }

    /// Draws pictures; bytes H W C, one picture after another.
    pub fn draw(&mut self, wanted: &SampleRequest<'_>) -> Vec<u8> {
        self.draw_from(&wanted.seed, wanted)
    }

    /// As [`draw`](Self::draw), with other noise than that of the seed.
    pub fn draw_from(&mut self, noises: &impl NoiseSource, wanted: &SampleRequest<'_>) -> Vec<u8> {
        let Generator { config, noise, normalisation, .. } = self.generator;
        let (channels, len) = (config.channels, config.image_len());
        let range = normalisation.range(channels);
        let mut values = vec![0.0; wanted.classes.len() * len];
        let no_class = vec![config.classes; BATCH];
        let mut scratch = Vec::new();
        let chunks = values.chunks_mut(BATCH * len).zip(wanted.classes.chunks(BATCH));
        for (first, (out, classes)) in (wanted.first..).step_by(BATCH).zip(chunks) {
            let drawn = match wanted.drawing {
                Drawing::Consistency { steps } => {
                    let sampler = ConsistencySampler { middle: (steps > 1).then_some(MIDDLE_LEVEL), range };
                    sampler.draw(&mut self.denoiser, noise, noises, first, classes, out)
                }
                Drawing::Diffusion { levels, method, guidance } => {
                    let sampler = DiffusionSampler { levels, method, guidance, range };
                    let weaker = match &mut self.weak {
                        Some(weak) => Weaker::Denoiser(weak),
                        None => Weaker::Classes(&no_class[..classes.len()]),
                    };
                    scratch.resize(SCRATCH * out.len(), 0.0);
                    sampler.draw(&mut self.denoiser, weaker, noise, noises, first, classes, out, &mut scratch)
                }
            };
            match drawn {
                Ok(()) => (),
                Err(never) => match never {},
            }
        }
        let mut bytes = vec![0; values.len()];
        normalisation.to_u8(channels, &values, &mut bytes);
        bytes
    }
}
