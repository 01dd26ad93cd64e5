//! What a run starts from: nothing, the encoder of stage 1, or a generator; and how a resumed run knows it again.

use crate::config::{RunConfig, Stage};
use crate::error::{Error, ModelDifference};
use crate::objective::FrozenEncoder;
use crate::run::recorded::Recorded;
use crate::warm_start::warm_start;
use pixgen_core::config::ModelConfig;
use pixgen_core::presets::{PRESETS, Preset};
use pixgen_edge::model_file::{Content, ModelFile, ModelFileError};
use pixgen_edge::param_set::ParamSet;
use pixgen_edge::projector::RunningStatistics;
use std::collections::BTreeMap;
use std::path::Path;

/// Setting and metadata key of the encoder.
const ENCODER: &str = "encoder";
/// Setting and metadata key of the generator.
const FROM: &str = "from";

/// Values before the first step, and the encoder of stage 1 if the loss sees pictures through it.
#[derive(Clone, Debug, Default)]
pub struct StartValues {
    /// Parameters; of a resumed run, whose checkpoint has them, those before any start.
    pub params: Vec<f32>,
    /// The encoder of stage 1, for the auxiliary loss of stage 2b and for the features of stage 3.
    pub frozen: Option<FrozenEncoder>,
    /// Fingerprints of what the run started from, by setting: they go into its checkpoints.
    pub fingerprints: BTreeMap<String, String>,
    /// Fingerprint of the data that the model has seen which a run starts from now.
    pub data: Option<String>,
}

impl StartValues {
    /// Of a run that starts now on data with these classes.
    ///
    /// # Errors
    /// Model files that cannot be read or do not fit.
    pub fn fresh(config: &RunConfig, set: &ParamSet, class_names: &[String]) -> Result<Self, Error> {
        let mut start = Self { params: set.initialise(config.train.seed), ..Self::default() };
        if !config.from.is_empty() {
            let path = Path::new(&config.from);
            let file = generator(config, path)?;
            warm_start(&file, &config.model, class_names, set, &mut start.params).map_err(|differences| mismatch(path, differences))?;
            start.fingerprints.insert(FROM.to_owned(), file.weights_fingerprint());
            start.data = Some(file.header.data);
        }
        if !config.encoder.is_empty() {
            let file = encoder(config)?;
            if config.from.is_empty() {
                set.copy_shared(&mut start.params, &file.set, &file.params);
            }
            start.fingerprints.insert(ENCODER.to_owned(), file.weights_fingerprint());
            start.data.get_or_insert_with(|| file.header.data.clone());
            start.frozen = frozen(config, file);
        }
        Ok(start)
    }

    /// Of a rank that gets its parameters from rank 0: only what the loss needs is read.
    ///
    /// # Errors
    /// A model file that is needed and cannot be read or does not fit.
    pub fn following(config: &RunConfig, set: &ParamSet) -> Result<Self, Error> {
        let seen = sees_through_encoder(config).then(|| encoder(config)).transpose()?;
        let frozen = seen.and_then(|file| frozen(config, file));
        Ok(Self { params: set.initialise(config.train.seed), frozen, ..Self::default() })
    }

    /// Of a run that goes on from a checkpoint with this metadata. What it started from is opened only where it lies elsewhere now, or
    /// where the loss needs it, and must be the same then.
    ///
    /// # Errors
    /// [`Error::OtherStart`]; model files that are needed and cannot be read.
    pub fn resumed(config: &RunConfig, recorded: &Recorded, metadata: &BTreeMap<String, String>, set: &ParamSet) -> Result<Self, Error> {
        let mut start = Self { params: set.initialise(config.train.seed), ..Self::default() };
        for key in [ENCODER, FROM] {
            let [was, is] = [&recorded.config, config].map(|config| if key == ENCODER { &config.encoder } else { &config.from });
            let known = metadata.get(key).cloned();
            let needed = key == ENCODER && sees_through_encoder(config);
            if is.is_empty() || (was == is && !needed) {
                start.fingerprints.extend(known.map(|known| (key.to_owned(), known)));
                continue;
            }
            let file = if key == ENCODER {
                encoder(config)?
            } else {
                generator(config, Path::new(is))?
            };
            let found = file.weights_fingerprint();
            // Version 0.1 did not write fingerprints.
            if let Some(was) = known.filter(|known| *known != found) {
                return Err(Error::OtherStart { key, path: is.clone(), was, is: found });
            }
            start.fingerprints.insert(key.to_owned(), found);
            if needed {
                start.frozen = frozen(config, file);
            }
        }
        Ok(start)
    }
}

/// Whether a run compares pictures through the projector of stage 1.
const fn has_auxiliary(config: &RunConfig) -> bool {
    matches!(config.stage, Stage::Consistency(settings) if settings.auxiliary > 0.0)
}

/// Whether a run compares pictures through the frozen encoder of stage 1.
pub const fn sees_through_encoder(config: &RunConfig) -> bool {
    has_auxiliary(config) || matches!(config.stage, Stage::Drift(_)) && !config.encoder.is_empty()
}

/// The encoder as a loss sees it; for nobody if none does.
fn frozen(config: &RunConfig, file: ModelFile) -> Option<FrozenEncoder> {
    let ModelFile { set, params, statistics, .. } = file;
    // One without a projector is not asked for its statistics.
    let statistics = statistics.unwrap_or_else(|| RunningStatistics::new(&config.projector()));
    sees_through_encoder(config).then_some(FrozenEncoder { set, params, statistics })
}

/// The encoder of a run's settings, which must have the shape of its model.
fn encoder(config: &RunConfig) -> Result<ModelFile, Error> {
    let path = Path::new(&config.encoder);
    let file = ModelFile::load_content(path, Content::Encoder)?;
    let differences = ModelDifference::list(&file.header.model, &config.model, &["size", "channels", "patch", "encoder"]);
    if !differences.is_empty() {
        return Err(mismatch(path, differences));
    }
    if has_auxiliary(config) && file.statistics.is_none() {
        return Err(Error::Argument {
            what: format!("the encoder in {} has no projector, which the auxiliary loss needs", path.display()),
            hint: Some("add --set consistency.auxiliary=0, or import an encoder with its projector".to_owned()),
        });
    }
    Ok(file)
}

fn mismatch(path: &Path, differences: Vec<ModelDifference>) -> Error {
    let made_of = preset_of(path).filter(|(preset, model)| preset.makes(model));
    Error::StartMismatch { path: path.to_owned(), differences, preset: made_of.map(|(preset, _)| preset.name) }
}

/// A diffusion model or a one-step generator; for stage 3 one that draws as the run does.
fn generator(config: &RunConfig, path: &Path) -> Result<ModelFile, Error> {
    let file = ModelFile::load(path)?;
    let header = &file.header;
    let drift = match config.stage {
        Stage::Drift(settings) => Some(settings),
        _ => None,
    };
    if header.content == Content::Encoder || drift.is_some() && header.content != Content::Generator {
        let (found, wanted) = (header.content, Content::Generator);
        return Err(ModelFileError::Content { path: path.to_owned(), found, wanted }.into());
    }
    if let Some(settings) = drift
        && (header.noise, header.parametrisation) != (config.noise, settings.parametrisation)
    {
        return Err(Error::Argument {
            what: format!("the generator in {} draws from other noise, or in another parametrisation, than this run", path.display()),
            hint: Some("leave --preset, noise.* and drift.parametrisation out: then they are those of the generator".to_owned()),
        });
    }
    Ok(file)
}

/// The preset that the model of a run folder or a file is made of, or else the nearest, and its architecture. `None` if it cannot be read:
/// who uses the model says why.
pub fn preset_of(path: &Path) -> Option<(&'static Preset, ModelConfig)> {
    if let Some(recorded) = Recorded::read(path).ok().flatten() {
        let preset = PRESETS.iter().find(|preset| preset.name == recorded.config.preset)?;
        return Some((preset, recorded.config.model));
    }
    let header = ModelFile::load(path).ok()?.header;
    // What an encoder's file says of the decoder is what its preset had.
    let shift = |preset: &&Preset| f64::from(preset.shift) == header.noise.shift;
    let mut presets = PRESETS.iter().filter(|preset| preset.makes(&header.model));
    let distance = |preset: &&Preset| (preset.model.channels != header.model.channels, preset.model.size.abs_diff(header.model.size));
    let nearest = || PRESETS.iter().min_by_key(distance);
    let preset = presets.clone().find(shift).or_else(|| presets.next()).or_else(nearest)?;
    Some((preset, header.model))
}
