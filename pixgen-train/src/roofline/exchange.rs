//! What the GPUs of a data-parallel run tell each other in a step, and how long that takes at published bandwidths.
//!
//! Numbers in brackets are the equations of docs/results/performance.md.

use super::gpu::GpuPeaks;
use crate::config::{RunConfig, Stage};
use crate::model::interpreter::token_groups;
use crate::needs::memory::Estimate;
use crate::needs::{memory, trace};
use crate::objective::auxiliary::FrozenFeature;
use crate::prepared::parameter_list;
use clap::ValueEnum;
use serde::Serialize;

/// Bytes of an f32.
const F32: f64 = 4.0;
/// GPUs of a host.
const HOST: usize = 8;
/// Features that stage 1 takes of each picture: three of the network, three of the targets (docs/reference/method.md 3.1).
const FEATURES: usize = 6;

/// What joins the GPUs of a run. Within a host that is the GPU's own link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Interconnect {
    /// NVLink: one host
    Nvlink,
    /// Hosts with 400 Gb/s for each GPU
    #[value(name = "400gb")]
    #[serde(rename = "400gb")]
    Gb400,
    /// Hosts with one link of 100 Gb/s
    #[value(name = "100gbe")]
    #[serde(rename = "100gbe")]
    Gbe100,
}

impl Interconnect {
    /// Bytes a second between hosts, in each direction, of a host with so many GPUs; none within one host.
    const fn of_host(self, gpus: usize) -> Option<f64> {
        match self {
            Self::Nvlink => None,
            Self::Gb400 => Some(gpus as f64 * 400e9 / 8.0),
            Self::Gbe100 => Some(100e9 / 8.0),
        }
    }
}

/// GPUs of one run and what joins them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cluster {
    gpus: usize,
    hosts: usize,
    interconnect: Interconnect,
    /// Bytes a second in each direction: of a GPU within its host, and of a host.
    link: f64,
    network: f64,
}

/// GPUs that cannot be joined so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotJoined {
    /// The GPU has no NVLink.
    NoNvlink,
    /// More GPUs than a host has.
    SeveralHosts,
}

impl Cluster {
    /// `gpus` of a kind, eight of them or fewer in each host.
    ///
    /// # Errors
    /// NVLink for a GPU that has none, or between hosts.
    pub const fn new(gpu: &GpuPeaks, gpus: usize, interconnect: Interconnect) -> Result<Self, NotJoined> {
        let hosts = gpus.div_ceil(HOST);
        // The slowest host decides: the last one may have fewer GPUs.
        let fewest = gpus - (hosts - 1) * HOST;
        let network = match interconnect.of_host(fewest) {
            Some(network) => network,
            None if !gpu.nvlink => return Err(NotJoined::NoNvlink),
            None if hosts > 1 => return Err(NotJoined::SeveralHosts),
            None => f64::INFINITY,
        };
        Ok(Self { gpus, hosts, interconnect, link: gpu.link, network })
    }

    /// Every GPU ends with the sum of all GPUs' `bytes` (11): first the GPUs of a host, each of which sums its part, then the hosts.
    fn all_reduce(&self, bytes: f64) -> f64 {
        let around = |members: usize| 2.0 * (members - 1) as f64 / members as f64;
        bytes * (around(self.gpus.min(HOST)) / self.link + around(self.hosts) / self.network)
    }

    /// Every GPU ends with all GPUs' parts, `bytes` together (12).
    fn all_gather(&self, bytes: f64) -> f64 {
        0.5 * self.all_reduce(bytes)
    }

    /// One line that says it.
    pub fn describe(&self, gpu: &GpuPeaks) -> String {
        let Self { gpus, hosts, link, network, .. } = self;
        let within = format!("{} of {:.0} GB/s for each GPU", if gpu.nvlink { "NVLink" } else { "PCIe" }, link / 1e9);
        let hosts = match hosts {
            1 => "one host".to_owned(),
            _ => format!("{hosts} hosts, {:.1} GB/s for each host", network / 1e9),
        };
        format!("{gpus} x {} in {hosts}; {within}; each direction", gpu.name)
    }
}

/// What data-parallel training adds to a stage.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StageExchange {
    /// Bytes that a GPU sends in a step.
    pub sent: f64,
    /// Time of it, none of which hides behind the backward pass.
    pub seconds: f64,
    /// Time of a step with it.
    pub step_seconds: f64,
    /// Images a second of all GPUs over those of as many GPUs that each train alone on their share of the batch.
    pub efficiency: f64,
    /// Bytes of memory of a GPU.
    pub memory: u64,
    /// The same with moments and averages divided among the GPUs.
    pub memory_sharded: u64,
    /// Hours of the whole recipe.
    pub recipe_hours: f64,
}

/// A step of one GPU: `alone` takes its share of the batch, `computing` also what every GPU computes of the whole batch.
#[derive(Clone, Copy, Debug)]
pub struct StepSeconds {
    /// Its share.
    pub alone: f64,
    /// With the projector on the whole batch.
    pub computing: f64,
}

/// What every GPU collects of all of them in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gathered {
    /// Bytes of it.
    pub bytes: f64,
    /// Bytes of memory that a GPU needs for what others have computed.
    pub memory: u64,
}

impl Gathered {
    /// In a step of `config`, whose batch is that of one of `gpus`.
    pub fn of(config: &RunConfig, gpus: usize) -> Self {
        let batch = config.train.batch;
        match config.stage {
            _ if gpus == 1 => Self::default(),
            Stage::Pretrain(_) => {
                let features = F32 * (FEATURES * batch * gpus * config.model.encoder.width) as f64;
                let head = trace::projector(config.model.encoder.width, &config.projector());
                let kept = 2 * memory::kept(&head, config.compute.precision.bytes() as u64, false);
                Self { bytes: features, memory: (batch * (gpus - 1)) as u64 * kept + features as u64 }
            }
            // What the frozen encoder sees of the real pictures.
            Stage::Consistency(settings) if settings.auxiliary > 0.0 => {
                let width = match settings.auxiliary_feature {
                    FrozenFeature::Projected => config.projector().out,
                    FrozenFeature::ClassToken => config.model.encoder.width,
                };
                let bytes = F32 * (batch * gpus * width) as f64;
                Self { bytes, memory: bytes as u64 }
            }
            // Levels, noise and classes follow from the picture's number: only the gradient is shared.
            Stage::Diffusion(_) | Stage::Consistency(_) => Self::default(),
            // Whole classes are on one GPU; with guidance real pictures push those of other classes.
            Stage::Drift(settings) if settings.guidance > 1.0 => {
                let sets = batch.div_ceil(settings.generated) * gpus;
                let rows = token_groups(&config.model)
                    .last()
                    .filter(|_| !config.encoder.is_empty())
                    .map_or(0, |last| last.end);
                let tokens = rows * config.model.encoder.width;
                let bytes = F32 * (sets * settings.real * (config.model.image_len() + tokens)) as f64;
                Self { bytes, memory: bytes as u64 }
            }
            Stage::Drift(_) => Self::default(),
        }
    }
}

/// Bytes that each of `gpus` sends in a step of `config`, whose batch is that of one of them.
pub fn bytes_sent(config: &RunConfig, gpus: usize) -> f64 {
    sent(F32 * parameter_list(config).len() as f64, Gathered::of(config, gpus).bytes, gpus)
}

/// The same of a gradient that is summed and of what is gathered, in a ring.
const fn sent(gradient: f64, gathered: f64, gpus: usize) -> f64 {
    (gpus - 1) as f64 / gpus as f64 * (2.0 * gradient + gathered)
}

/// The exchange of a step of `config`, whose batch is that of one GPU and needs `estimate`.
pub fn exchange(config: &RunConfig, cluster: &Cluster, step: StepSeconds, estimate: &Estimate) -> StageExchange {
    let (gpus, batch) = (cluster.gpus, config.train.batch);
    let set = parameter_list(config);
    let gradient = F32 * set.len() as f64;
    let Gathered { bytes: gathered, memory: more } = Gathered::of(config, gpus);
    let share = (gpus - 1) as f64 / gpus as f64;
    let seconds = cluster.all_reduce(gradient) + cluster.all_gather(gathered);
    let step_seconds = step.computing + seconds;
    let memory = estimate.total() + more;
    let averages = (config.ema.configs().len() * set.len()) as u64 * F32 as u64;
    let divided = (estimate.moments + averages) as f64 * share;
    let images_per_second = (batch * gpus) as f64 / step_seconds;
    StageExchange {
        sent: sent(gradient, gathered, gpus),
        seconds,
        step_seconds,
        efficiency: step.alone / step_seconds,
        memory,
        memory_sharded: memory - divided as u64,
        recipe_hours: config.train.images as f64 / images_per_second / 3600.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::gpu::gpu;

    fn cluster(gpus: usize, interconnect: Interconnect) -> Cluster {
        Cluster::new(gpu("h100").expect("GPU"), gpus, interconnect).expect("joined")
    }

    /// 450 GB/s of NVLink; a card of 50 GB/s for each GPU, or one of 12.5 GB/s, for a host.
    #[test]
    fn sums_by_hand() {
        let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got} {want}");
        near(cluster(1, Interconnect::Nvlink).all_reduce(9e9), 0.0);
        near(cluster(8, Interconnect::Nvlink).all_reduce(9e9), 2.0 * 7.0 / 8.0 * 9.0 / 450.0);
        near(cluster(8, Interconnect::Gbe100).all_reduce(9e9), 2.0 * 7.0 / 8.0 * 9.0 / 450.0);
        near(cluster(64, Interconnect::Gb400).all_reduce(9e9), 2.0 * 7.0 / 8.0 * (9.0 / 450.0 + 9.0 / 400.0));
        near(cluster(9, Interconnect::Gb400).all_reduce(9e9), 2.0 * 7.0 / 8.0 * 9.0 / 450.0 + 9.0 / 50.0);
        near(cluster(16, Interconnect::Gbe100).all_gather(9e9), 7.0 / 8.0 * 9.0 / 450.0 + 0.5 * 9.0 / 12.5);
    }

    #[test]
    fn nvlink_needs_a_gpu_that_has_it_and_one_host() {
        let join = |name, gpus| Cluster::new(gpu(name).expect("GPU"), gpus, Interconnect::Nvlink).err();
        assert_eq!(join("h100", 8), None);
        assert_eq!(join("h100", 9), Some(NotJoined::SeveralHosts));
        assert_eq!(join("rtx4090", 2), Some(NotJoined::NoNvlink));
    }
}
