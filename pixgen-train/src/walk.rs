//! A walk between two pictures of a model: along a great circle between their noises, along a line between their classes.

use crate::ops::FusedOps;
use crate::sampling::{Drawing, Generator, SampleRequest};
use pixgen_core::sampler::NoiseSource;
use pixgen_core::streams::Purpose;
use pixgen_edge::model_file::ModelFile;

/// Where a walk begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Class, below the model's number of them.
    pub class: usize,
    /// Seed of the noise.
    pub seed: u64,
    /// Number of the picture under that seed.
    pub number: u64,
}

/// Pictures from one endpoint to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Walk {
    /// The first picture.
    pub from: Endpoint,
    /// The last picture.
    pub to: Endpoint,
    /// How many, both ends included; at least 2.
    pub frames: usize,
    /// How.
    pub drawing: Drawing,
}

impl Walk {
    /// Draws the frames on a device; bytes H W C, one after another. The first and the last are those of the endpoints. `weak` is the weaker
    /// model of autoguidance.
    pub fn draw<B: FusedOps>(&self, file: &ModelFile, weak: Option<&ModelFile>, device: &B::Device) -> Vec<u8> {
        let (file, weak) = (self.blended(file), weak.map(|weak| self.blended(weak)));
        let classes: Vec<usize> = (0..self.frames).collect();
        let request = SampleRequest { seed: 0, first: 0, classes: &classes, drawing: self.drawing };
        let noise = BlendedNoise::new(self, file.header.model.image_len());
        Generator::from(&file)
            .load::<B>(&file.params, weak.as_ref(), device)
            .draw_from(&noise, &request)
    }

    /// How far along a frame is, 0 to 1.
    fn along(&self, frame: usize) -> f32 {
        frame as f32 / (self.frames - 1) as f32
    }

    /// The model with a class for each frame, whose embedding lies between those of the endpoints. The last row, "no class", stays.
    fn blended(&self, file: &ModelFile) -> ModelFile {
        let mut header = file.header.clone();
        header.model.classes = self.frames;
        let set = header.params();
        let mut params = vec![0.0; set.len()];
        set.copy_shared(&mut params, &file.set, &file.params);
        let table =
            |file: &pixgen_edge::param_set::ParamSet| file.position_of("class_embed.weight").map(|at| file.entries()[at].range.clone());
        if let (Some(old), Some(new)) = (table(&file.set), table(&set)) {
            let width = header.model.encoder.width;
            let row = |class: usize| &file.params[old.clone()][class * width..][..width];
            for (frame, out) in params[new].chunks_exact_mut(width).enumerate() {
                if frame == self.frames {
                    out.copy_from_slice(row(file.header.model.classes));
                    continue;
                }
                let (share, ends) = (self.along(frame), row(self.from.class).iter().zip(row(self.to.class)));
                for (out, (from, to)) in out.iter_mut().zip(ends) {
                    *out = (1.0 - share) * from + share * to;
                }
            }
        }
        ModelFile { header, set, params, statistics: None }
    }
}

/// Noise of frames: each is a sum of the two endpoints' with weights that keep its length.
struct BlendedNoise {
    ends: [Endpoint; 2],
    weights: Vec<[f32; 2]>,
}

impl BlendedNoise {
    /// Noise for pictures of `len` values.
    fn new(walk: &Walk, len: usize) -> Self {
        let ends = [walk.from, walk.to];
        let at = |end: &Endpoint, index: usize| f64::from(end.seed.gaussian(Purpose::Latent, end.number, index as u64));
        let dot = |a: &Endpoint, b: &Endpoint| (0..len).map(|index| at(a, index) * at(b, index)).sum::<f64>();
        let [from, to] = &ends;
        let angle = (dot(from, to) / (dot(from, from) * dot(to, to)).sqrt()).clamp(-1.0, 1.0).acos();
        let weights = |frame: usize| {
            let share = f64::from(walk.along(frame));
            if (from.seed, from.number) == (to.seed, to.number) {
                return [1.0, 0.0];
            }
            [((1.0 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin()].map(|weight| weight as f32)
        };
        Self { ends, weights: (0..walk.frames).map(weights).collect() }
    }
}

impl NoiseSource for BlendedNoise {
    fn gaussian(&self, purpose: Purpose, frame: u64, index: u64) -> f32 {
        let ends = self.ends.iter().zip(self.weights[frame as usize]);
        ends.map(|(end, weight)| weight * end.seed.gaussian(purpose, end.number, index)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Endpoint = Endpoint { class: 0, seed: 7, number: 3 };
    const B: Endpoint = Endpoint { class: 1, seed: 9, number: 0 };

    fn walk(from: Endpoint, to: Endpoint) -> Walk {
        Walk { from, to, frames: 5, drawing: Drawing::Consistency { steps: 1 } }
    }

    #[test]
    fn noise_begins_and_ends_at_the_endpoints_and_keeps_its_length() {
        const LEN: usize = 4096;
        let noise = BlendedNoise::new(&walk(A, B), LEN);
        let values = |frame: u64| {
            (0..LEN as u64)
                .map(|index| noise.gaussian(Purpose::Latent, frame, index))
                .collect::<Vec<f32>>()
        };
        for (frame, end) in [(0, A), (4, B)] {
            for (index, value) in values(frame).iter().enumerate() {
                let wanted = end.seed.gaussian(Purpose::Latent, end.number, index as u64);
                assert!((value - wanted).abs() < 1e-6, "{frame} {index}: {value} {wanted}");
            }
        }
        for frame in 0..5 {
            let variance = values(frame).iter().map(|v| v * v).sum::<f32>() / LEN as f32;
            assert!((variance - 1.0).abs() < 0.1, "{frame}: {variance}");
        }
        let same = BlendedNoise::new(&walk(A, Endpoint { class: 1, ..A }), LEN);
        assert_eq!(same.gaussian(Purpose::Renoise, 2, 5), A.seed.gaussian(Purpose::Renoise, A.number, 5));
    }
}
