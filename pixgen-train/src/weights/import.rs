//! The authors' weights as a model file: names matched, shapes checked, layouts turned; one tensor in memory at a time.

use super::authors::{ANCHOR, CLASSES, COUNTER, DECODER, Mapping, PROJECTOR_FIRST, PROJECTOR_LAST, table};
use super::export::HEADER;
use super::source::{SourceError, TensorSource};
use crate::settings::layers::{dotted_keys, get};
use crate::settings::{Origin, SettingsError, SettingsLayer, assign, resolve};
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::{NoiseConfig, Parametrisation};
use pixgen_core::presets::{PRESETS, Preset};
use pixgen_edge::data::class_names::unusable;
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::file_error::FileError;
use pixgen_edge::model_file::{Content, FORMAT, HeaderFault, ModelHeader, write_streamed};
use pixgen_edge::projector::ProjectorConfig;
use pixgen_edge::tensor_file::WriteError;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Tensors that a message lists.
const LISTED: usize = 10;

/// Classes that a model file can hold.
const MAX_CLASSES: usize = 65_534;

/// What the caller knows about the weights.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The preset; found by the shapes if not given.
    pub preset: Option<&'static Preset>,
    /// What the decoder was trained as; `None` for an encoder.
    pub objective: Option<Content>,
    /// Which set of weights of the file.
    pub set: Set,
    /// Images seen in training.
    pub images: Option<u64>,
    /// Names of the classes; those of the file or numbers if not given.
    pub class_names: Option<Vec<String>>,
    /// Settings that the file does not tell, as key and value: see [`ImportSettings`].
    pub settings: Vec<(String, String)>,
}

/// What weights do not tell, and what turns them into other pictures. Each has a key, such as `noise.shift`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportSettings {
    /// How F becomes a picture.
    pub parametrisation: Parametrisation,
    /// Noise constants.
    pub noise: NoiseConfig,
    /// Bytes to network values.
    pub normalisation: Normalisation,
}

/// One of several sets of weights in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Set {
    /// The only one.
    #[default]
    Only,
    /// The moving average.
    Ema,
    /// The one under this key.
    Key(String),
}

/// Why the weights of a file cannot be taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file.
    #[error(transparent)]
    TensorSource(#[from] SourceError),
    /// There are no weights of this architecture in it.
    #[error("{} holds {tensors} tensors, but no `{ANCHOR}`: it is not an EPG or RCM model of the authors", path.display())]
    Foreign {
        /// File.
        path: PathBuf,
        /// Tensors in it.
        tensors: usize,
    },
    /// Several sets of weights, or not the one asked for.
    #[error("{}: {kind}; it holds {}", path.display(), sets.join(", "))]
    Sets {
        /// File.
        path: PathBuf,
        /// What is wrong.
        kind: SetProblem,
        /// What is there.
        sets: Vec<String>,
    },
    /// Weights of no preset.
    #[error("{}: its shapes are those of no preset", path.display())]
    Unknown {
        /// File.
        path: PathBuf,
    },
    /// A model with a decoder, and no objective was named.
    #[error("{} has a decoder, and its weights do not tell what it was trained as", path.display())]
    Objective {
        /// File.
        path: PathBuf,
    },
    /// An encoder, and an objective was named for its decoder.
    #[error("{} is an encoder of stage 1: it has no decoder", path.display())]
    NoDecoder {
        /// File.
        path: PathBuf,
    },
    /// The file's metadata tell of another objective.
    #[error("{} holds {}, by its metadata", path.display(), describe(*found))]
    OtherObjective {
        /// File.
        path: PathBuf,
        /// What it holds.
        found: Content,
    },
    /// Metadata that describe no model.
    #[error("{}: {fault}", path.display())]
    Metadata {
        /// File.
        path: PathBuf,
        /// What is wrong.
        fault: HeaderFault,
    },
    /// A setting that there is not, or of another type.
    #[error(transparent)]
    Setting(#[from] SettingsError),
    /// Settings that describe no model.
    #[error("--set: {0}")]
    Refused(HeaderFault),
    /// Tensors that do not fit the preset.
    #[error("{} does not fit {preset}: {count} tensors differ\n{list}", path.display())]
    Mismatch {
        /// File.
        path: PathBuf,
        /// Preset.
        preset: &'static str,
        /// How many.
        count: usize,
        /// The first of them, a line each.
        list: String,
        /// A preset that fits.
        fits: Option<&'static str>,
    },
    /// A value that is not finite.
    #[error("{}: tensor {tensor}: value {at} is {value}", path.display())]
    Value {
        /// File.
        path: PathBuf,
        /// The authors' name.
        tensor: String,
        /// Position.
        at: usize,
        /// What stands there.
        value: f32,
    },
    /// Names of other classes.
    #[error("{names} class names given, the model has {classes} classes")]
    ClassNames {
        /// Names.
        names: usize,
        /// Classes.
        classes: usize,
    },
    /// A line without a name.
    #[error("line {line} of the class names is empty")]
    EmptyClassName {
        /// Counted from 1.
        line: usize,
    },
    /// Two classes with the same name.
    #[error("lines {first} and {line} of the class names are both `{name}`")]
    RepeatedClassName {
        /// Counted from 1.
        first: usize,
        /// Counted from 1.
        line: usize,
        /// What stands there.
        name: String,
    },
    /// The model file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why no set of weights of a file is the one to import.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetProblem {
    /// `--ema`, and no such set.
    #[error("none of its weights are named an average")]
    NoAverage,
    /// `--key`, and no such set.
    #[error("there are no weights under `{0}`")]
    NoKey(String),
    /// No choice, and more than one.
    #[error("it holds several sets of weights")]
    Several,
}

impl ImportError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::TensorSource(error) => return error.hint(),
            Self::Foreign { .. } => "docs/reference/weights.md lists the names that are read".into(),
            Self::Sets { .. } => "choose one with --key NAME".into(),
            Self::Unknown { .. } => "give --preset NAME to see which tensors differ from it".into(),
            Self::Objective { .. } => {
                "add --objective diffusion, or --objective consistency for a one-step model (EPG-L/16 at 256 pixels)".into()
            }
            Self::NoDecoder { .. } | Self::OtherObjective { .. } => "leave --objective out".into(),
            Self::Metadata { .. } => "export the model again, or take the metadata out of the file".into(),
            Self::Setting(SettingsError::UnknownKey { suggestion: None, .. }) => format!("there are {}", keys()),
            Self::Setting(SettingsError::WrongType { key, .. }) if key.starts_with("normalisation") => {
                "three numbers: --set normalisation.mean=[0.5,0.5,0.5]".into()
            }
            Self::Setting(SettingsError::WrongType { .. }) => "a number, for example --set noise.shift=4".into(),
            Self::Setting(error) => return error.hint(),
            Self::Refused(_) => format!("there are {}", keys()),
            Self::Mismatch { fits: Some(name), .. } => format!("its shapes are those of {name}"),
            Self::Mismatch { .. } => "docs/reference/weights.md lists the names that are read".into(),
            Self::Value { .. } => "the training that wrote it had failed, or the file is damaged".into(),
            Self::ClassNames { .. } | Self::EmptyClassName { .. } => "one name a line, in the order of the class numbers".into(),
            Self::RepeatedClassName { .. } => "give each class a name of its own, so that --class NAME can tell them apart".into(),
            Self::File(error) => return error.hint(),
        })
    }
}

/// What was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Header of the model file.
    pub header: ModelHeader,
    /// The preset.
    pub preset: &'static str,
    /// Tensors.
    pub tensors: usize,
    /// Numbers in them.
    pub values: usize,
    /// Whether the file told all of the header; otherwise the paper's settings were assumed where none were given.
    pub told: bool,
}

/// Writes the weights of a PyTorch or safetensors file with the authors' names as the model file `out`.
///
/// # Errors
/// [`ImportError`]; a model file is written whole or not at all.
pub fn import(path: &Path, known: &Known, out: &Path) -> Result<Imported, ImportError> {
    let source = TensorSource::open(path)?;
    let prefix = choose(&source, path, &known.set)?;
    let mut found: HashMap<&str, usize> = HashMap::new();
    for (at, tensor) in source.tensors().iter().enumerate() {
        if let Some(name) = tensor.name.strip_prefix(prefix.as_str()).filter(|name| !name.ends_with(COUNTER)) {
            found.insert(name, at);
        }
    }
    let shape = |name: &str| found.get(name).map(|&at| &source.tensors()[at].shape[..]);
    let exported = source.metadata(HEADER).map(|text| of_metadata(path, text)).transpose()?;
    let told = exported.is_some();
    let (preset, header) = match exported {
        Some(exported) => (known.preset, told_header(path, known, exported)?),
        None => {
            let (preset, header) = header(path, known, &prefix, &found, shape)?;
            (Some(preset), header)
        }
    };
    let header = with_settings(header, &known.settings)?;
    let header = with_classes(header, known)?;
    let rows = table(&header);
    let problems = differences(&rows, &found, shape);
    if !problems.is_empty() {
        return Err(mismatch(
            path,
            preset.map_or("its own metadata", |preset| preset.name),
            problems,
            fitting(&header, &found, shape),
        ));
    }
    let places: Vec<usize> = rows.iter().filter_map(|row| found.get(row.theirs.as_str()).copied()).collect();
    let values = |at: usize| -> Result<Vec<f32>, ImportError> {
        let values = source.read(places[at])?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(bad) => {
                let tensor = rows[at].theirs.clone();
                Err(ImportError::Value { path: path.to_owned(), tensor, at: bad, value: values[bad] })
            }
            None => Ok(rows[at].import(values)),
        }
    };
    write_streamed(out, &header, values).map_err(|error| match error {
        WriteError::Values(error) => error,
        WriteError::File(error) => error.into(),
    })?;
    let values = rows.iter().map(|row| row.shape.iter().product::<usize>()).sum();
    let preset = named(&header.model).unwrap_or("a model of no preset");
    Ok(Imported { header, preset, tensors: rows.len(), values, told })
}

/// The prefix of the wanted set of weights: everything before the name of its patch embedding, `ema.` or `model.module.`.
fn choose(source: &TensorSource, path: &Path, set: &Set) -> Result<String, ImportError> {
    let prefix = |name: &str| name.strip_suffix(ANCHOR).filter(|p| p.is_empty() || p.ends_with('.')).map(str::to_owned);
    let sets: Vec<String> = source.tensors().iter().filter_map(|tensor| prefix(&tensor.name)).collect();
    if sets.is_empty() {
        return Err(ImportError::Foreign { path: path.to_owned(), tensors: source.tensors().len() });
    }
    let is_ema = |prefix: &str| prefix.split(['.', '_']).any(|part| part.eq_ignore_ascii_case("ema"));
    let wanted = |prefix: &&String| match set {
        Set::Only => true,
        Set::Ema => is_ema(prefix),
        Set::Key(key) => prefix.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with('.')),
    };
    let candidates: Vec<&String> = sets.iter().filter(wanted).collect();
    let kind = match (&candidates[..], set) {
        ([one], _) => return Ok((*one).clone()),
        ([], Set::Ema) => SetProblem::NoAverage,
        ([], Set::Key(key)) => SetProblem::NoKey(key.clone()),
        _ => SetProblem::Several,
    };
    let shown = |prefix: &String| match prefix.trim_end_matches('.') {
        "" => "one set at the top".to_owned(),
        key => format!("`{key}`"),
    };
    Err(ImportError::Sets { path: path.to_owned(), kind, sets: sets.iter().map(shown).collect() })
}

/// The preset and the header of the model file.
fn header<'a>(
    path: &Path,
    known: &Known,
    prefix: &str,
    found: &HashMap<&str, usize>,
    shape: impl Fn(&str) -> Option<&'a [usize]> + Copy,
) -> Result<(&'static Preset, ModelHeader), ImportError> {
    let decoder = found.keys().any(|name| name.starts_with(DECODER));
    let content = match (decoder, known.objective) {
        (true, Some(content)) => content,
        (true, None) => return Err(ImportError::Objective { path: path.to_owned() }),
        (false, Some(_)) => return Err(ImportError::NoDecoder { path: path.to_owned() }),
        (false, None) => Content::Encoder,
    };
    let projector = shape(PROJECTOR_FIRST)
        .zip(shape(PROJECTOR_LAST))
        .and_then(|(first, last)| Some(ProjectorConfig { hidden: *first.first()?, out: *last.first()? }));
    let of_preset = |preset: &Preset| {
        let mut model = preset.model;
        if let Some(&[rows, _]) = shape(CLASSES)
            && (2..=MAX_CLASSES + 1).contains(&rows)
        {
            model.classes = rows - 1;
        }
        let ema = match prefix.trim_end_matches('.') {
            "" => path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
            key => key.to_owned(),
        };
        ModelHeader {
            format: FORMAT,
            content,
            model,
            noise: NoiseConfig::with_shift(f64::from(preset.shift)),
            parametrisation: if content == Content::Denoiser {
                Parametrisation::PlainX
            } else {
                Parametrisation::Edm
            },
            normalisation: Normalisation::imagenet(),
            projector: projector.filter(|_| content == Content::Encoder),
            ema,
            images: known.images.unwrap_or(0),
            seed: 0,
            data: "unknown".to_owned(),
            class_names: (0..model.classes).map(|class| class.to_string()).collect(),
        }
    };
    let preset = match known.preset {
        Some(preset) => preset,
        None => {
            let fits = |preset: &&Preset| differences(&table(&of_preset(preset)), found, shape).is_empty();
            PRESETS.iter().find(fits).ok_or_else(|| ImportError::Unknown { path: path.to_owned() })?
        }
    };
    Ok((preset, of_preset(preset)))
}

/// The header that our own export put into the file.
fn of_metadata(path: &Path, text: &str) -> Result<ModelHeader, ImportError> {
    let header: Result<ModelHeader, HeaderFault> = serde_json::from_str(text).map_err(HeaderFault::from);
    let header = header.and_then(|header| header.check().map(|()| header));
    header.map_err(|fault| ImportError::Metadata { path: path.to_owned(), fault })
}

/// The same with what the caller knows.
fn told_header(path: &Path, known: &Known, told: ModelHeader) -> Result<ModelHeader, ImportError> {
    if known.objective.is_some_and(|objective| objective != told.content) {
        return Err(ImportError::OtherObjective { path: path.to_owned(), found: told.content });
    }
    let model = known
        .preset
        .map_or(told.model, |preset| ModelConfig { classes: told.model.classes, ..preset.model });
    Ok(ModelHeader { model, images: known.images.unwrap_or(told.images), ..told })
}

fn with_settings(header: ModelHeader, settings: &[(String, String)]) -> Result<ModelHeader, ImportError> {
    let defaults = table_of(&ImportSettings::of(&header))?;
    let mut layers = vec![SettingsLayer { origin: Origin::Flag("--set".to_owned()), table: defaults.clone() }];
    for (key, value) in settings {
        layers.push(assign(&defaults, key, value, Origin::Flag(format!("--set {key}")))?);
    }
    let ImportSettings { parametrisation, noise, normalisation } = resolve(&defaults, &layers)?.read()?;
    let header = ModelHeader { parametrisation, noise, normalisation, ..header };
    header.check().map_err(ImportError::Refused)?;
    Ok(header)
}

fn with_classes(header: ModelHeader, known: &Known) -> Result<ModelHeader, ImportError> {
    let Some(names) = &known.class_names else { return Ok(header) };
    match unusable(names) {
        Some((class, None)) => Err(ImportError::EmptyClassName { line: class + 1 }),
        Some((class, Some(twin))) => Err(ImportError::RepeatedClassName { first: twin + 1, line: class + 1, name: names[class].clone() }),
        None if names.len() != header.model.classes => Err(ImportError::ClassNames { names: names.len(), classes: header.model.classes }),
        None => Ok(ModelHeader { class_names: names.clone(), ..header }),
    }
}

fn table_of(settings: &ImportSettings) -> Result<toml::Table, SettingsError> {
    toml::Table::try_from(settings).map_err(|error| SettingsError::NotToml { message: error.to_string() })
}

impl ImportSettings {
    const fn of(header: &ModelHeader) -> Self {
        Self {
            parametrisation: header.parametrisation,
            noise: header.noise,
            normalisation: header.normalisation,
        }
    }

    /// Key and value of each setting, as `--set` takes them.
    pub fn assignments(header: &ModelHeader) -> Vec<String> {
        let settings = Self::of(header);
        let table = table_of(&settings).unwrap_or_default();
        // In the digits of f32, which a table does not know.
        let list = |values: [f32; 3]| format!("{values:?}").replace(' ', "");
        let text = |key: &String| {
            let value = match key.as_str() {
                "normalisation.mean" => list(settings.normalisation.mean),
                "normalisation.std" => list(settings.normalisation.std),
                key => get(&table, key).map_or_else(String::new, |value| value.to_string().replace('"', "")),
            };
            format!("{key}={value}")
        };
        dotted_keys(&table).iter().map(text).collect()
    }
}

/// What `--set` can be given.
fn keys() -> &'static str {
    "parametrisation (edm, plain-x), noise.sigma_min, noise.sigma_max, noise.rho, noise.sigma_data, noise.shift, normalisation.mean and normalisation.std"
}

fn describe(content: Content) -> &'static str {
    match content {
        Content::Encoder => "an encoder of stage 1",
        Content::Generator => "a one-step generator (consistency)",
        Content::Denoiser => "a diffusion model",
    }
}

/// The preset of a model, whatever its classes.
fn named(model: &ModelConfig) -> Option<&'static str> {
    PRESETS.iter().find(|preset| preset.makes(model)).map(|preset| preset.name)
}

/// Every tensor that is missing, of another shape or left over, a line each.
fn differences<'a>(rows: &[Mapping], found: &HashMap<&str, usize>, shape: impl Fn(&str) -> Option<&'a [usize]>) -> Vec<String> {
    let mut problems = Vec::new();
    for row in rows {
        match shape(&row.theirs) {
            None => problems.push(format!("{} is missing, {:?} expected", row.theirs, row.shape)),
            Some(found) if found != row.shape => problems.push(format!("{} is {found:?}, {:?} expected", row.theirs, row.shape)),
            Some(_) => {}
        }
    }
    let wanted: HashSet<&str> = rows.iter().map(|row| row.theirs.as_str()).collect();
    let mut left: Vec<&str> = found.keys().copied().filter(|name| !wanted.contains(name)).collect();
    left.sort_unstable();
    problems.extend(
        left.into_iter()
            .map(|name| format!("{name} is left over, {:?}", shape(name).unwrap_or_default())),
    );
    problems
}

/// The first preset whose shapes are those of the file.
fn fitting<'a>(
    header: &ModelHeader,
    found: &HashMap<&str, usize>,
    shape: impl Fn(&str) -> Option<&'a [usize]> + Copy,
) -> Option<&'static str> {
    let fits = |preset: &&Preset| {
        let model = ModelConfig { classes: header.model.classes, ..preset.model };
        differences(&table(&ModelHeader { model, ..header.clone() }), found, shape).is_empty()
    };
    PRESETS.iter().find(fits).map(|preset| preset.name)
}

fn mismatch(path: &Path, preset: &'static str, problems: Vec<String>, fits: Option<&'static str>) -> ImportError {
    let count = problems.len();
    let mut list = String::new();
    for problem in problems.iter().take(LISTED) {
        let _ = writeln!(list, "  {problem}"); // a String takes everything
    }
    if count > LISTED {
        let _ = write!(list, "  and {} more", count - LISTED);
    }
    let list = list.trim_end().to_owned();
    ImportError::Mismatch { path: path.to_owned(), preset, count, list, fits }
}
