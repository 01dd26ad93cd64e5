//! The metadata of a model file: what is needed to use the weights.

use crate::data::normalise::Normalisation;
use crate::param_set::ParamSet;
use crate::projector::{ProjectorConfig, RunningStatistics};
use crate::tensor_file::Shaped;
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::{NoiseConfig, Parametrisation};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Version of the metadata written here.
pub const FORMAT: u32 = 1;
/// Metadata key of the header.
pub(super) const KEY: &str = "pixgen";
/// What the header's JSON begins with: the CRC-32 of the rest of the JSON and of all values. One metadata entry holds both, because
/// several are written in no fixed order.
pub(super) const OPENING: &str = "{\"crc32\":\"";

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Encoder and projector of stage 1; one that comes from elsewhere may lack the projector.
    Encoder,
    /// Encoder and decoder of stage 2b: pictures in one or two steps.
    Generator,
    /// Encoder and decoder of stage 2a: a diffusion model.
    Denoiser,
}

/// Metadata of a model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelHeader {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// Which parameter list.
    pub content: Content,
    /// Architecture.
    pub model: ModelConfig,
    /// Noise constants.
    pub noise: NoiseConfig,
    /// How F becomes a picture.
    pub parametrisation: Parametrisation,
    /// Bytes to network values.
    pub normalisation: Normalisation,
    /// Widths of the projector, in an encoder file.
    pub projector: Option<ProjectorConfig>,
    /// Which average these weights are: `share-0.02`, `decay-0.99` or `raw`.
    pub ema: String,
    /// Images seen.
    pub images: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Fingerprint of the training data.
    pub data: String,
    /// Names of the classes.
    pub class_names: Vec<String>,
}

impl ModelHeader {
    /// The parameter list of the file.
    pub fn params(&self) -> ParamSet {
        match (self.content, &self.projector) {
            (Content::Generator | Content::Denoiser, _) => ParamSet::generator(&self.model),
            (Content::Encoder, Some(projector)) => ParamSet::pretraining(&self.model, projector),
            (Content::Encoder, None) => ParamSet::encoder(&self.model),
        }
    }

    /// All tensors of the file: the parameters, then the running statistics of the projector's norms.
    pub fn tensors(&self) -> Vec<Shaped> {
        let params = self.params();
        let params = params
            .entries()
            .iter()
            .map(|entry| Shaped { name: entry.name.clone(), shape: entry.dims.clone() });
        let statistics = self.projector.filter(|_| self.content == Content::Encoder);
        let statistics = statistics.as_ref().map(RunningStatistics::new);
        let named = statistics.iter().flat_map(RunningStatistics::named);
        params
            .chain(named.map(|(name, values)| Shaped { name, shape: vec![values.len()] }))
            .collect()
    }

    /// The metadata entry of a file: the header's JSON with the checksum before it.
    pub(super) fn metadata(&self, checksum: impl FnOnce(&str) -> String) -> Result<HashMap<String, String>, serde_json::Error> {
        let header = serde_json::to_string(self)?;
        let rest = header.trim_start_matches('{');
        Ok(HashMap::from([(KEY.to_owned(), format!("{OPENING}{}\",{rest}", checksum(rest)))]))
    }
}
