//! What a stage trains: named tensors laid out one after another in a flat buffer.
//!
//! Everything that walks the parameters (weights, optimiser, EMA, files, gradient checks) reads this list. The generator's part comes
//! from `pixgen_core`'s parameter list and nowhere else.

use crate::projector::ProjectorConfig;
use pixgen_core::config::ModelConfig;
use pixgen_core::params::{Init, Param, ParamKind, Role, Site};
use pixgen_core::rng::Rng;
use pixgen_core::streams::{Purpose, stream};
use std::collections::HashMap;
use std::ops::Range;

/// One tensor of the list.
#[derive(Clone, Debug)]
pub struct ParamEntry {
    /// Name in files, for example `encoder.blocks.0.attn.qkv.weight`.
    pub name: String,
    /// The layer of the network that reads it; `None` in the projector.
    pub site: Option<Site>,
    /// Shape in files: one or two dimensions.
    pub dims: Vec<usize>,
    /// What it is for the optimiser.
    pub role: Role,
    /// How it starts.
    pub init: Init,
    /// Where its values lie in the flat buffer.
    pub range: Range<usize>,
    /// Stream of its initial values.
    stream: u64,
}

/// The parameter list of a stage.
#[derive(Clone, Debug, Default)]
pub struct ParamSet {
    entries: Vec<ParamEntry>,
    sites: HashMap<(Site, ParamKind), usize>,
    names: HashMap<String, usize>,
}

impl ParamSet {
    /// Encoder and decoder: stage 2.
    pub fn generator(config: &ModelConfig) -> Self {
        let mut set = Self::default();
        config.params().for_each(|param| set.push_param(&param));
        set
    }

    /// The encoder alone: stage 1 of another program that kept no projector.
    pub fn encoder(config: &ModelConfig) -> Self {
        let mut set = Self::default();
        config.encoder_params().for_each(|param| set.push_param(&param));
        set
    }

    /// Encoder and projector: stage 1. The encoder's entries equal the first of [`generator`](Self::generator).
    pub fn pretraining(config: &ModelConfig, projector: &ProjectorConfig) -> Self {
        let mut set = Self::encoder(config);
        for (i, tensor) in projector.params(config.encoder.width).into_iter().enumerate() {
            let number = stream(Purpose::Projector, i as u64);
            set.push(tensor.name.to_owned(), None, tensor.dims, tensor.role, tensor.init, number);
        }
        set
    }

    fn push_param(&mut self, param: &Param) {
        let at = self.entries.len();
        self.sites.insert((param.site, param.kind), at);
        let number = stream(Purpose::Initialisation, at as u64);
        self.push(param.name().as_str().to_owned(), Some(param.site), param.dims().to_vec(), param.role, param.init, number);
    }

    fn push(&mut self, name: String, site: Option<Site>, dims: Vec<usize>, role: Role, init: Init, stream: u64) {
        let start = self.len();
        let range = start..start + dims.iter().product::<usize>();
        self.names.insert(name.clone(), self.entries.len());
        self.entries.push(ParamEntry { name, site, dims, role, init, range, stream });
    }

    /// The tensors in order.
    pub fn entries(&self) -> &[ParamEntry] {
        &self.entries
    }

    /// Values of all tensors together.
    pub fn len(&self) -> usize {
        self.entries.last().map_or(0, |e| e.range.end)
    }

    /// True for a list without tensors.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Position of a tensor of the generator.
    pub fn position(&self, site: Site, kind: ParamKind) -> Option<usize> {
        self.sites.get(&(site, kind)).copied()
    }

    /// Position of a tensor by name.
    pub fn position_of(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// Initial values, a pure function of the seed.
    pub fn initialise(&self, seed: u64) -> Vec<f32> {
        let mut flat = vec![0.0; self.len()];
        for entry in &self.entries {
            entry.init.fill(Rng::new(seed, entry.stream), &mut flat[entry.range.clone()]);
        }
        flat
    }

    /// Copies every tensor that both lists name, from `flat` of `other` into `into` of this list; returns how many were copied.
    pub fn copy_shared(&self, into: &mut [f32], other: &Self, flat: &[f32]) -> usize {
        let mut copied = 0;
        for entry in &self.entries {
            if let Some(at) = other.position_of(&entry.name) {
                let from = &other.entries[at];
                if from.dims == entry.dims {
                    into[entry.range.clone()].copy_from_slice(&flat[from.range.clone()]);
                    copied += 1;
                }
            }
        }
        copied
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::presets::preset;

    #[test]
    fn stages_share_the_encoder() {
        let model = preset("small-28-grey").expect("preset").model;
        let stage1 = ParamSet::pretraining(&model, &ProjectorConfig { hidden: 32, out: 8 });
        let stage2 = ParamSet::generator(&model);
        assert_eq!(stage2.len(), model.parameter_count());
        let (first, mut second) = (stage1.initialise(1), stage2.initialise(2));
        let copied = stage2.copy_shared(&mut second, &stage1, &first);
        assert_eq!(copied, model.encoder_params().count());
        let end = stage1.entries()[copied - 1].range.end;
        assert_eq!(first[..end], second[..end]);
        assert_eq!(stage1.entries()[copied].name, "projector.fc1.weight");
    }

    #[test]
    fn core_and_trainer_start_alike() {
        let model = preset("nano-28-grey").expect("preset").model;
        let set = ParamSet::generator(&model);
        let flat = set.initialise(5);
        for (i, param) in model.params().enumerate() {
            let mut values = vec![0.0; param.len()];
            param.initialise(5, i, &mut values);
            assert_eq!(flat[set.entries()[i].range.clone()], values);
        }
    }
}
