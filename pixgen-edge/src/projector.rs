//! The projector of stage 1 as files hold it: its parameter list and the running statistics of its norms (docs/reference/method.md section 2.2).

use pixgen_core::params::{Init, Role};
use serde::{Deserialize, Serialize};

/// Share of the newest batch in the running statistics.
const MOMENTUM: f32 = 0.1;

/// Widths of the projector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectorConfig {
    /// Width of both hidden layers; 4096 in the paper.
    pub hidden: usize,
    /// Width of the output; 256 in the paper.
    pub out: usize,
}

/// A row of the projector's parameter list.
pub(crate) struct ProjectorParam {
    pub name: &'static str,
    pub dims: Vec<usize>,
    pub role: Role,
    pub init: Init,
}

impl ProjectorConfig {
    /// The parameter list for features of width `width`.
    pub(crate) fn params(&self, width: usize) -> Vec<ProjectorParam> {
        let matrix = |name, out: usize, inp: usize| {
            let bound = (6.0 / (out + inp) as f64).sqrt() as f32;
            ProjectorParam { name, dims: vec![out, inp], role: Role::Matrix, init: Init::Uniform(bound) }
        };
        let norm = |name, start| ProjectorParam { name, dims: vec![self.hidden], role: Role::Norm, init: Init::Constant(start) };
        vec![
            matrix("projector.fc1.weight", self.hidden, width),
            norm("projector.bn1.weight", 1.0),
            norm("projector.bn1.bias", 0.0),
            matrix("projector.fc2.weight", self.hidden, self.hidden),
            norm("projector.bn2.weight", 1.0),
            norm("projector.bn2.bias", 0.0),
            matrix("projector.fc3.weight", self.out, self.hidden),
        ]
    }
}

/// Mean and variance of one norm's inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchStatistics {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Unbiased variance of each channel.
    pub variance: Vec<f32>,
}

/// Running statistics of both norms, used where a batch must not influence its own result.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningStatistics {
    /// First and second norm.
    pub norms: [BatchStatistics; 2],
}

impl RunningStatistics {
    /// Mean 0, variance 1.
    pub fn new(config: &ProjectorConfig) -> Self {
        let fresh = || BatchStatistics { mean: vec![0.0; config.hidden], variance: vec![1.0; config.hidden] };
        Self { norms: [fresh(), fresh()] }
    }

    /// Moves a tenth of the way to the statistics of a batch.
    pub fn update(&mut self, batch: &[BatchStatistics; 2]) {
        for (running, batch) in self.norms.iter_mut().zip(batch) {
            for (running, batch) in [(&mut running.mean, &batch.mean), (&mut running.variance, &batch.variance)] {
                for (r, b) in running.iter_mut().zip(batch) {
                    *r += MOMENTUM * (b - *r);
                }
            }
        }
    }

    /// Names and values, as stored in files.
    pub fn named(&self) -> impl Iterator<Item = (String, &[f32])> {
        self.norms.iter().enumerate().flat_map(|(i, norm)| {
            [
                (format!("projector.bn{}.running_mean", i + 1), norm.mean.as_slice()),
                (format!("projector.bn{}.running_var", i + 1), norm.variance.as_slice()),
            ]
        })
    }

    /// Names and places, for reading files.
    pub fn named_mut(&mut self) -> impl Iterator<Item = (String, &mut Vec<f32>)> {
        self.norms.iter_mut().enumerate().flat_map(|(i, norm)| {
            [
                (format!("projector.bn{}.running_mean", i + 1), &mut norm.mean),
                (format!("projector.bn{}.running_var", i + 1), &mut norm.variance),
            ]
        })
    }
}
