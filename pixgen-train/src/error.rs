//! The errors of the trainer: one variant for the error of each part, and those that belong to no part, each with a hint.

use crate::config::{ConfigProblem, StageKind};
use crate::data::prepare::PrepareError;
use crate::device::DeviceProblem;
use crate::distributed::replicas::ReplicaError;
use crate::distributed::{LinkError, PlacementError};
use crate::objective::StepError;
use crate::packages::PackageError;
use crate::quality::error::QualityError;
use crate::report::ReportError;
use crate::run::RunError;
use crate::sample_set::SampleSetError;
use crate::settings::{Origin, SettingsError};
use crate::weights::import::ImportError;
use crate::weights::verify::VerifyError;
use pixgen_core::config::ModelConfig;
use pixgen_edge::data::DataError;
use pixgen_edge::eval::EvalError;
use pixgen_edge::file_error::FileError;
use pixgen_edge::model_file::ModelFileError;
use pixgen_edge::picture::PictureError;
use pixgen_edge::terminal::OutputError;
use pixgen_edge::threads::ThreadsError;
use pixgen_edge::units::counted;
use std::path::PathBuf;

/// Any error of the trainer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Settings: unknown keys, wrong types.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Settings that do not fit together.
    #[error(transparent)]
    Config(#[from] ConfigProblem),
    /// Data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Data to train on, which may go without their bad files.
    #[error(transparent)]
    TrainingData(DataError),
    /// Packages with data.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// Report pages.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceProblem),
    /// Run folder, checkpoints, metrics.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Reports and pictures beside the runs.
    #[error(transparent)]
    File(#[from] FileError),
    /// Model files.
    #[error(transparent)]
    ModelFile(#[from] ModelFileError),
    /// PNG files.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Pictures that the classifier cannot measure.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Quality measurement.
    #[error(transparent)]
    Quality(#[from] QualityError),
    /// Sets of drawn pictures.
    #[error(transparent)]
    SampleSet(#[from] SampleSetError),
    /// Export for chips.
    #[error(transparent)]
    Quantise(#[from] pixgen_edge::quantise::QuantiseError),
    /// There is no such preset.
    #[error("there is no preset `{name}`")]
    Preset {
        /// What was asked for.
        name: String,
        /// The nearest name.
        suggestion: Option<String>,
    },
    /// The folder holds a run with other settings.
    #[error("the run in {folder} was started with {key} = {was}, now it is {is}")]
    OtherSettings {
        /// Run folder.
        folder: String,
        /// First setting that differs.
        key: String,
        /// Its value in the run.
        was: String,
        /// Its value now.
        is: String,
    },
    /// Fewer images than the run has seen.
    #[error("train.images = {images}, but the run in {folder} has seen {}", counted(*seen as usize, "image", "images"))]
    FewerImages {
        /// Run folder.
        folder: String,
        /// Images asked for.
        images: u64,
        /// Images seen.
        seen: u64,
    },
    /// A run that cannot go on, and whose model a fresh start would replace.
    #[error("{folder} holds the model of a run, but no checkpoint to go on from")]
    NoCheckpoint {
        /// Run folder.
        folder: String,
    },
    /// A setting that something else decides, in another way.
    #[error("{key} = {given} from {origin}, but it is {is} in the data")]
    Overruled {
        /// The setting.
        key: String,
        /// Who set it.
        origin: Origin,
        /// The value that was given.
        given: String,
        /// The value that is right.
        is: String,
    },
    /// Settings of another stage.
    #[error("{origin} holds settings of `{}`, the command is `{}`", .theirs.command(), .ours.command())]
    OtherStage {
        /// Where they come from.
        origin: Origin,
        /// The stage that they belong to.
        theirs: StageKind,
        /// The stage of the command.
        ours: StageKind,
    },
    /// A stage that does not exist.
    #[error("stage = `{name}` from {origin}: there is no such stage")]
    UnknownStage {
        /// Where it comes from.
        origin: Origin,
        /// The name.
        name: String,
        /// The stage of the command.
        ours: StageKind,
    },
    /// The run started from another encoder or generator.
    #[error("{key} {path} is not what the run was started from: fingerprint {was}, now {is}")]
    OtherStart {
        /// `encoder` or `from`.
        key: &'static str,
        /// The model.
        path: String,
        /// Fingerprint in the checkpoint.
        was: String,
        /// Fingerprint now.
        is: String,
    },
    /// A model whose shape is not that of the run.
    #[error("the model in {} does not fit this run: {}", .path.display(), listed(.differences))]
    StartMismatch {
        /// The model.
        path: PathBuf,
        /// All that differs and must not.
        differences: Vec<ModelDifference>,
        /// The preset that the model is made of.
        preset: Option<&'static str>,
    },
    /// The run's data changed.
    #[error("the data are not those that the run in {folder} was started with: fingerprint {was}, now {is}")]
    OtherData {
        /// Run folder.
        folder: String,
        /// Fingerprint in the checkpoint.
        was: String,
        /// Fingerprint now.
        is: String,
    },
    /// A whole checkpoint that this run cannot use.
    #[error("the checkpoint {path} does not fit the run: {kind}")]
    OtherCheckpoint {
        /// File.
        path: String,
        /// The first difference.
        kind: CheckpointMismatch,
    },
    /// Training went wrong.
    #[error("skipped {} in a row because {tensor} was not finite; stopped at {}", counted(*count as usize, "step", "steps"), counted(*images as usize, "image", "images"))]
    Diverged {
        /// Steps.
        count: u64,
        /// The tensor named in the last of them.
        tensor: String,
        /// Images seen.
        images: u64,
    },
    /// A picture that is decoded during training cannot be used.
    #[error("{error}; stopped at {}, and saved", counted(*images as usize, "image", "images"))]
    BadFileOnTheWay {
        /// Images seen.
        images: u64,
        /// The file and what is wrong with it.
        error: StepError,
    },
    /// A step that nobody saves anything before.
    #[error(transparent)]
    Step(#[from] StepError),
    /// Variables that say which of several processes this is.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// Processes that cannot reach each other.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Processes that do not fit together.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The command line asks for something that cannot be done.
    #[error("{what}")]
    Argument {
        /// The argument, and what is wrong with it.
        what: String,
        /// What to try.
        hint: Option<String>,
    },
    /// Writing a data set.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The threads to compute on.
    #[error(transparent)]
    Threads(#[from] ThreadsError),
    /// Writing to standard output failed.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Weights of another program.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A model that was compared with another program.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// A setting of the architecture that two models have in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelDifference {
    /// Its dotted key.
    pub key: &'static str,
    /// Its value in the other model.
    pub theirs: usize,
    /// Its value in the run.
    pub ours: usize,
}

impl ModelDifference {
    /// What differs in these parts of `[model]`.
    pub fn list(theirs: &ModelConfig, ours: &ModelConfig, parts: &[&str]) -> Vec<Self> {
        let values = |model: &ModelConfig| {
            let ModelConfig { size, channels, patch, encoder, decoder, .. } = *model;
            [
                ("model.size", size),
                ("model.channels", channels),
                ("model.patch", patch),
                ("model.encoder.width", encoder.width),
                ("model.encoder.depth", encoder.depth),
                ("model.encoder.heads", encoder.heads),
                ("model.decoder.width", decoder.width),
                ("model.decoder.depth", decoder.depth),
                ("model.decoder.heads", decoder.heads),
            ]
        };
        let wanted = |key: &str| key.split('.').nth(1).is_some_and(|part| parts.contains(&part));
        let pairs = values(theirs).into_iter().zip(values(ours));
        pairs
            .filter(|((key, theirs), (_, ours))| wanted(key) && theirs != ours)
            .map(|((key, theirs), (_, ours))| Self { key, theirs, ours })
            .collect()
    }
}

fn listed(differences: &[ModelDifference]) -> String {
    let parts = differences
        .iter()
        .map(|ModelDifference { key, theirs, ours }| format!("{key} is {theirs} there and {ours} here"));
    parts.collect::<Vec<_>>().join(", ")
}

/// How a checkpoint, or the settings beside it, does not fit a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointMismatch {
    /// The run's `config.toml` cannot be read: the parser's reason.
    #[error("{0}")]
    Settings(String),
    /// A counter in the metadata.
    #[error("no number `{0}`")]
    Number(String),
    /// A tensor.
    #[error("tensor `{0}` is missing or of another size")]
    Tensor(String),
}

impl Error {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Settings(error) => error.hint(),
            Self::Config(error) => {
                let default = || "`pixgen-train config show finetune` prints every setting with its value and origin".to_owned();
                Some(error.hint.clone().unwrap_or_else(default))
            }
            Self::Data(error) => error.hint(),
            Self::TrainingData(error) => error.hint_with_skip_bad(),
            Self::Package(error) => error.hint(),
            Self::Report(error) => error.hint(),
            Self::Prepare(error) => error.hint(),
            Self::Device(error) => error.hint(),
            Self::Run(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::ModelFile(error) => error.hint(),
            Self::Picture(error) => error.hint(),
            Self::Eval(error) => error.hint(),
            Self::Quality(error) => error.hint(),
            Self::SampleSet(error) => error.hint(),
            Self::Quantise(error) => error.hint(),
            Self::Preset { suggestion: Some(name), .. } => Some(format!("did you mean `{name}`?")),
            Self::Preset { .. } => Some("`pixgen-train inspect --presets` lists them".into()),
            Self::OtherSettings { .. } => Some("repeat the command that started the run to resume it, or give another --out".into()),
            Self::FewerImages { seen, .. } => {
                Some(format!("give at least {}, or start a new run with another --out", counted(*seen as usize, "image", "images")))
            }
            Self::NoCheckpoint { folder } => Some(format!(
                "give another --out; `finetune --from {folder}` starts from a generator, `--encoder {folder}` from an encoder"
            )),
            Self::Overruled { key, .. } => Some(format!("leave {key} out: the data decide it")),
            Self::OtherStage { theirs, .. } => {
                Some(format!("use `pixgen-train {}` with these settings, or take them out", theirs.command()))
            }
            Self::UnknownStage { ours, .. } => Some(format!("leave it out: `{}` is the stage `{}`", ours.command(), ours.name())),
            Self::OtherStart { .. } => Some("bring that model back, or start a new run with another --out".into()),
            Self::StartMismatch { differences, .. } if differences.iter().all(|d| ["model.size", "model.patch"].contains(&d.key)) => {
                Some("another resolution needs as many patches: change model.size and model.patch by the same factor".into())
            }
            Self::StartMismatch { preset: Some(preset), .. } => {
                Some(format!("leave --preset out, or give --preset {preset}, which the model is made of"))
            }
            Self::StartMismatch { .. } => Some("leave --preset out, or set these to the values of the model".into()),
            Self::OtherData { .. } => Some("bring the data back, or start a new run with another --out".into()),
            Self::OtherCheckpoint { .. } => Some("start a new run with another --out".into()),
            Self::Diverged { .. } => Some("lower --lr or set optimiser.clip; the last checkpoint is whole".into()),
            Self::BadFileOnTheWay { .. } => Some(
                "repair the file and run the same command again, or add --skip-bad: the next picture of its class takes its place".into(),
            ),
            Self::Step(StepError::Data(error)) => error.hint(),
            Self::Step(StepError::OtherRank { .. }) => None,
            Self::Placement(error) => error.hint(),
            Self::Link(error) => error.hint(),
            Self::Replica(error) => error.hint(),
            Self::Argument { hint, .. } => hint.clone(),
            Self::Threads(error) => error.hint(),
            Self::Output(error) => error.hint(),
            Self::Import(error) => error.hint(),
            Self::Verify(error) => error.hint(),
        }
    }
}
