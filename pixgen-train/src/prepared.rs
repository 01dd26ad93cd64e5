//! What a run needs before its first step: settings, data, start values, the objective; and the model file that it ends with.

use crate::config::{DataConfig, RunConfig, Stage, TrainingRecipe};
use crate::distributed::{Collective, Share};
use crate::error::Error;
use crate::objective::{
    BatchSource, Compute, Consistency, Diffusion, Drift, FrozenEncoder, NamedValues, Objective, Pretrain, TrainingProgress,
};
use crate::run::recorded::Recorded;
use crate::run::{self, checkpoint};
use crate::settings::{self, SettingsError};
use crate::start::{StartValues, sees_through_encoder};
use crate::training::Engine;
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::Parametrisation;
use pixgen_core::rng::Rng;
use pixgen_edge::atomic::write_atomic;
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::data::{self, Dataset, SPLIT_SEED};
use pixgen_edge::model_file::{Content, FORMAT, ModelFile, ModelHeader};
use pixgen_edge::param_set::ParamSet;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// Data, objective and start values of a run.
pub struct Prepared {
    /// The configuration with what the data decided.
    pub config: RunConfig,
    /// Training pictures.
    pub training: Dataset,
    /// Pictures kept out of training.
    pub held_out: Dataset,
    /// Bad files left out of the data.
    pub skipped_files: usize,
    /// Bytes to network values.
    pub normalisation: Normalisation,
    /// What the first step starts from.
    pub start: StartValues,
}

/// As [`prepare`] for a plan that nobody will train: one blank picture stands for data that are not there yet.
pub fn prepare_without_data(config: RunConfig) -> Result<Prepared, Error> {
    config.validate()?;
    let shape = config.data_spec()?.shape;
    let classes = (0..config.model.classes).map(|class| class.to_string()).collect();
    let training = Dataset::new(shape, vec![0; shape.len()], vec![0], classes, "none".to_owned())?;
    let (held_out, normalisation) = (training.clone(), config.normalisation(&training)?);
    Ok(Prepared { config, training, held_out, skipped_files: 0, normalisation, start: StartValues::default() })
}

/// As [`prepare`] on `pictures` random pictures and classes in memory, for measuring speed.
///
/// Models that it starts from or compares pictures with are those before training.
pub fn prepare_random(mut config: RunConfig, pictures: usize) -> Result<Prepared, Error> {
    let frozen = sees_through_encoder(&config).then(|| FrozenEncoder::fresh(&config.model, &config.projector(), config.train.seed));
    let needed = [
        (frozen.is_some(), &mut config.encoder),
        (matches!(config.stage, Stage::Drift(_)), &mut config.from),
    ];
    for (_, path) in needed.into_iter().filter(|(needed, path)| *needed && path.is_empty()) {
        *path = "before training".to_owned();
    }
    config.validate()?;
    let shape = config.data_spec()?.shape;
    let names = (0..config.model.classes).map(|class| class.to_string()).collect();
    let labels = (0..pictures).map(|i| (i % config.model.classes.max(1)) as u16).collect();
    let rng = Rng::new(config.train.seed, 0);
    let words = (0..).flat_map(|block| rng.words(block));
    let pixels = words.flat_map(u32::to_le_bytes).take(pictures * shape.len()).collect();
    let training = Dataset::new(shape, pixels, labels, names, "random".to_owned())?;
    let params = parameter_list(&config).initialise(config.train.seed);
    let (held_out, normalisation) = (training.clone(), config.normalisation(&training)?);
    let start = StartValues { params, frozen, ..StartValues::default() };
    Ok(Prepared { config, training, held_out, skipped_files: 0, normalisation, start })
}

/// Loads the data and the model that the run starts from; nothing is written.
pub fn prepare(config: RunConfig) -> Result<Prepared, Error> {
    prepare_in(config, None)
}

/// As [`prepare`]; a run in the folder `out` that has a checkpoint goes on from it, so that it does not need the model that it started from.
pub fn prepare_in(config: RunConfig, out: Option<&Path>) -> Result<Prepared, Error> {
    prepare_with(config, |config, set, class_names| {
        let recorded = out.map(Recorded::read).transpose()?.flatten();
        let goes_on = recorded.and_then(|recorded| Some((recorded, checkpoint::newest_metadata(out?)?)));
        match goes_on {
            Some((recorded, metadata)) => StartValues::resumed(config, &recorded, &metadata, set),
            None => StartValues::fresh(config, set, class_names),
        }
    })
}

/// As [`prepare`] for a rank that gets its state from rank 0.
pub fn prepare_following(config: RunConfig) -> Result<Prepared, Error> {
    prepare_with(config, |config, set, _| StartValues::following(config, set))
}

fn prepare_with(
    mut config: RunConfig,
    start: impl FnOnce(&RunConfig, &ParamSet, &[String]) -> Result<StartValues, Error>,
) -> Result<Prepared, Error> {
    config.validate()?;
    if config.data.path.is_empty() {
        return Err(Error::Argument {
            what: format!("data.path: no data given for {}", config.preset),
            hint: Some("add --data FOLDER with a folder of pictures for each class, or --dry-run for the plan".to_owned()),
        });
    }
    let (training, held_out, skipped_files) = load(&config.data, &config.model).map_err(|error| match error {
        Error::Data(error) => Error::TrainingData(error),
        other => other,
    })?;
    config.model.classes = training.class_names.len();
    config.validate()?;
    let set = parameter_list(&config);
    let start = start(&config, &set, &training.class_names)?;
    let normalisation = config.normalisation(&training)?;
    Ok(Prepared { config, training, held_out, skipped_files, normalisation, start })
}

/// Training and held-out pictures that a model is looked at with: those of `data`, of the run that `model` is the folder or a checkpoint
/// of, or the bundled ones, split as the run split them.
pub fn pictures_of(model: &Path, data: Option<&str>, header: &ModelHeader) -> Result<(Dataset, Dataset), Error> {
    let file = run::averages::run_folder(model).join(run::CONFIG);
    let mut settings = if file.exists() {
        data_settings(&file)?
    } else {
        TrainingRecipe::SMALL.data()
    };
    if let Some(path) = data {
        path.clone_into(&mut settings.path);
    }
    let (training, held_out, _) = load(&settings, &header.model)?;
    Ok((training, held_out))
}

/// The `[data]` of a run's settings; what it does not say is as for a small model.
fn data_settings(file: &Path) -> Result<DataConfig, SettingsError> {
    #[derive(Serialize, Deserialize)]
    struct Section {
        data: DataConfig,
    }
    let defaults = toml::Table::try_from(Section { data: TrainingRecipe::SMALL.data() })
        .map_err(|error| SettingsError::NotToml { message: error.to_string() })?;
    let mut layer = settings::file::layer(file)?;
    layer.table.retain(|key, _| key == "data");
    Ok(settings::resolve(&defaults, &[layer])?.read::<Section>()?.data)
}

/// Training and held-out pictures at the shape of a model, and the number of bad files left out.
pub fn load(settings: &DataConfig, model: &ModelConfig) -> Result<(Dataset, Dataset, usize), Error> {
    let loaded = data::load(&settings.spec(model)?)?;
    let kept_out = (loaded.dataset.len() as f64 * settings.hold_out) as usize;
    let (training, held_out) = loaded.dataset.split(kept_out, SPLIT_SEED)?;
    Ok((training, held_out, loaded.skipped.len()))
}

/// How the network's output becomes a picture: in stage 2a it is one.
pub(crate) fn parametrisation(config: &RunConfig) -> Parametrisation {
    match &config.stage {
        Stage::Pretrain(_) => Parametrisation::Edm,
        Stage::Diffusion(_) => Parametrisation::PlainX,
        Stage::Consistency(settings) => settings.parametrisation,
        Stage::Drift(settings) => settings.parametrisation,
    }
}

/// The parameters that a stage trains.
pub fn parameter_list(config: &RunConfig) -> ParamSet {
    match &config.stage {
        Stage::Pretrain(settings) => ParamSet::pretraining(&config.model, &settings.projector),
        Stage::Diffusion(_) | Stage::Consistency(_) | Stage::Drift(_) => ParamSet::generator(&config.model),
    }
}

impl Prepared {
    /// The objective on a device, computed together with other `ranks`.
    pub fn objective<B: Engine>(&self, device: &B::Device, ranks: &Collective) -> Box<dyn Objective<B>> {
        let config = &self.config;
        let source = BatchSource {
            normalisation: self.normalisation,
            dataset: self.training.clone(),
            augment: config.augment.clone(),
        };
        let (model, noise, device) = (config.model, config.noise, device.clone());
        let compute = Compute {
            precision: config.compute.precision,
            recompute: config.compute.recompute,
            ranks: ranks.clone(),
        };
        match config.stage {
            Stage::Pretrain(settings) => {
                let objective = Pretrain::<B>::new(model, noise, settings, source, &self.start.params, device);
                Box::new(objective.with_compute(compute))
            }
            Stage::Diffusion(settings) => {
                let objective = Diffusion::<B>::new(model, noise, settings, source, device);
                Box::new(objective.with_compute(compute))
            }
            Stage::Consistency(settings) => {
                let objective = Consistency::<B>::new(model, noise, settings, source, self.start.frozen.clone(), device);
                Box::new(objective.with_compute(compute))
            }
            Stage::Drift(settings) => {
                let objective = Drift::<B>::new(model, noise, settings, source, self.start.frozen.clone(), device);
                Box::new(objective.with_compute(compute))
            }
        }
    }

    /// Where the next step stands; one process computes all of it.
    pub fn progress(&self, images: u64) -> TrainingProgress {
        let train = &self.config.train;
        TrainingProgress {
            seed: train.seed,
            images,
            total: train.images,
            batch: train.batch,
            micro_batch: self.config.micro_batch(),
            share: Share::default(),
            together: self.config.together(),
        }
    }

    /// The model file of some parameters.
    pub(crate) fn model_file(&self, set: &ParamSet, params: &[f32], images: u64, objective_state: NamedValues) -> ModelFile {
        let config = &self.config;
        let projector = match &config.stage {
            Stage::Pretrain(settings) => Some(settings.projector),
            Stage::Diffusion(_) | Stage::Consistency(_) | Stage::Drift(_) => None,
        };
        let statistics = projector.map(|projector| {
            let kept: HashMap<String, Vec<f32>> = objective_state.into_iter().collect();
            let mut statistics = pixgen_edge::projector::RunningStatistics::new(&projector);
            for (name, place) in statistics.named_mut() {
                if let Some(values) = kept.get(&name) {
                    place.clone_from(values);
                }
            }
            statistics
        });
        let header = ModelHeader {
            format: FORMAT,
            content: match config.stage {
                Stage::Pretrain(_) => Content::Encoder,
                Stage::Diffusion(_) => Content::Denoiser,
                Stage::Consistency(_) | Stage::Drift(_) => Content::Generator,
            },
            model: config.model,
            noise: config.noise,
            parametrisation: parametrisation(config),
            normalisation: self.normalisation,
            projector,
            ema: config.ema.export.clone(),
            images,
            seed: config.train.seed,
            data: self.training.fingerprint(),
            class_names: self.training.class_names.clone(),
        };
        ModelFile { header, set: set.clone(), params: params.to_vec(), statistics }
    }
}

/// Writes a model file of a run, whole or not at all.
pub fn save_model(file: &ModelFile, path: &Path) -> Result<(), Error> {
    let bytes = model_bytes(file)?;
    Ok(write_atomic(path, |out| out.write_all(&bytes))?)
}

/// The bytes of a model file.
pub fn model_bytes(file: &ModelFile) -> Result<Vec<u8>, Error> {
    file.to_bytes()
        .map_err(|e| Error::Argument { what: format!("cannot lay out the model file: {e}"), hint: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_edge::data::PixelStore;

    #[test]
    fn the_data_of_a_run_are_read_over_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(run::CONFIG);
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            data_settings(&file)
        };
        let settings =
            read("stage = \"pretrain\"\n[data]\npath = \"photos\"\nmemory = \"never\"\nhold_out = 0\n[train]\nseed = 3").unwrap();
        let defaults = TrainingRecipe::SMALL.data();
        assert_eq!(settings, DataConfig { path: "photos".to_owned(), memory: PixelStore::Never, hold_out: 0.0, ..defaults });
        assert_eq!(read("seed = 1").unwrap(), TrainingRecipe::SMALL.data());
        let error = read("[data]\nskip_bad = 1").unwrap_err().to_string();
        assert!(error.contains("`data.skip_bad`") && error.contains(run::CONFIG), "{error}");
        let error = read("[data]\nbackgroud = \"#000000\"").unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("did you mean `data.background`?"));
    }
}
