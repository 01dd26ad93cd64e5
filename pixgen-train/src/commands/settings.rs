//! The settings of a stage from all their layers.

use crate::cli::SettingsArgs;
use crate::config::{RunConfig, Stage, StageKind};
use crate::distributed::{LAUNCHED, MPI_VARIABLE, NCCL_VARIABLE};
use crate::error::Error;
use crate::objective::PretrainMethod;
use crate::run::recorded::Recorded;
use crate::settings::layers::get;
use crate::settings::{self, MICRO_BATCH_AUTO, Origin, Resolved, SettingsLayer, env, file};
use crate::start;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use pixgen_core::presets::{PRESETS, Preset, preset};
use pixgen_edge::model_file::ModelFile;
use std::path::Path;
use toml::{Table, Value};

/// The preset if none is named.
const DEFAULT_PRESET: &str = "small-28-grey";

/// Finds a preset or says which is near.
pub fn find_preset(name: &str) -> Result<&'static Preset, Error> {
    preset(name).ok_or_else(|| {
        let near = |p: &&Preset| strsim::damerau_levenshtein(&p.name.to_lowercase(), &name.to_lowercase());
        let best = PRESETS.iter().min_by_key(near).filter(|p| near(p) <= 1 + name.len() / 3);
        Error::Preset { name: name.to_owned(), suggestion: best.map(|p| p.name.to_owned()) }
    })
}

/// Names the model that firmware is built with; not a setting (docs/reference/cli.md).
const FIRMWARE_MODEL: &str = "PIXGEN_MODEL";

/// A flag that only one stage has: its name, the setting and the value.
pub type StageFlag<'a> = (&'static str, &'static str, &'a str);

/// The settings of a stage, and where each value comes from.
#[derive(Debug)]
pub struct StageSettings {
    /// The values.
    pub config: RunConfig,
    /// The same with their origins.
    pub resolved: Resolved,
    /// The micro-batch is to follow from the device's memory.
    pub auto_micro_batch: bool,
}

/// Lays flags over environment over file over what a run in `out` was started with over the defaults of preset and method, and reads the
/// result. Without a name the preset is that of the run, or of the model that the run is to start from.
pub fn resolve(stage: StageKind, args: &SettingsArgs, own: &[StageFlag<'_>], out: Option<&Path>) -> Result<StageSettings, Error> {
    // All presets have the same settings.
    let schema = RunConfig::defaults(stage, find_preset(DEFAULT_PRESET)?).to_table()?;
    let mut over = Vec::new();
    if let Some(path) = &args.config {
        over.push(file::layer(path)?);
    }
    over.extend(env::layers(
        &schema,
        std::env::vars_os(),
        &[
            crate::cache::OVERRIDE,
            FIRMWARE_MODEL,
            MPI_VARIABLE,
            NCCL_VARIABLE,
            LAUNCHED,
            pixgen_edge::engine::VARIABLE,
        ],
    )?);
    over.extend(flag_layers(&schema, args, own, stage)?);
    over.iter().try_for_each(|layer| check_stage(layer, stage))?;
    let auto_micro_batch = take_auto(&mut over);

    let given = |key: &str| over.iter().rev().find_map(|layer| get(&layer.table, key)).and_then(Value::as_str);
    let recorded = out.map(Recorded::read).transpose()?.flatten();
    let (named, implied) = (given("preset"), implied_layer(recorded.as_ref(), given("from").or_else(|| given("encoder")), stage)?);
    let name = named.or(implied.preset.as_deref()).unwrap_or(DEFAULT_PRESET);
    let preset = find_preset(name)?;
    // A model of another preset than the named one is an error that says what differs.
    let below = implied.layer.filter(|_| named.is_none() || recorded.is_some());
    let standard = RunConfig::defaults(stage, preset);
    let defaults = standard.to_table()?;
    let lay = |table: Table| {
        let mut layers = vec![SettingsLayer { origin: Origin::Preset(preset.name.to_owned()), table }];
        layers.extend(below.iter().chain(&over).cloned());
        settings::resolve(&defaults, &layers)
    };
    let mut resolved = lay(defaults.clone())?;
    let mut config: RunConfig = resolved.read()?;
    // A method of stage 1 has defaults of its own, and what was laid over them stays there.
    if let Stage::Pretrain(settings) = config.stage
        && settings.method != PretrainMethod::Epg
    {
        resolved = lay(standard.with_method(settings.method).to_table()?)?;
        config = resolved.read()?;
    }
    if auto_micro_batch && let Some(Value::Table(train)) = resolved.table.get_mut("train") {
        // What was given, for people; the number is not known yet.
        train.insert("micro_batch".to_owned(), MICRO_BATCH_AUTO.1.into());
    }
    Ok(StageSettings { config, resolved, auto_micro_batch })
}

/// What follows from the run that is there, or from the model that a new one starts from.
#[derive(Default)]
struct Implied {
    preset: Option<String>,
    layer: Option<SettingsLayer>,
}

fn implied_layer(recorded: Option<&Recorded>, start: Option<&str>, stage: StageKind) -> Result<Implied, Error> {
    if let Some(recorded) = recorded {
        recorded.check_stage(stage)?;
        let mut table = recorded.config.to_table()?;
        // A run may go on elsewhere.
        table.remove("compute");
        let layer = SettingsLayer { origin: Origin::Run(recorded.folder().to_owned()), table };
        return Ok(Implied { preset: Some(recorded.config.preset.clone()), layer: Some(layer) });
    }
    let start = start.filter(|path| !path.is_empty()).map(Path::new);
    let Some((path, (preset, model))) = start.and_then(|path| Some((path, start::preset_of(path)?))) else {
        return Ok(Implied::default());
    };
    let mut config = RunConfig::defaults(stage, preset);
    config.model = model;
    let mut kept: Vec<&str> = vec!["model"];
    // Stage 3 goes on with pictures as the generator draws them.
    if let (Stage::Drift(settings), Ok(file)) = (&mut config.stage, ModelFile::load(path)) {
        (config.noise, settings.parametrisation) = (file.header.noise, file.header.parametrisation);
        kept.extend(["noise", "drift"]);
    }
    let mut table = config.to_table()?;
    table.retain(|key, _| kept.contains(&key));
    if let Some(Value::Table(drift)) = table.get_mut("drift") {
        drift.retain(|key, _| key == "parametrisation");
    }
    if let Some(Value::Table(model)) = table.get_mut("model") {
        // The data decide.
        model.remove("classes");
    }
    let layer = SettingsLayer { origin: Origin::Start(path.to_owned()), table };
    Ok(Implied { preset: Some(preset.name.to_owned()), layer: Some(layer) })
}

/// The command has chosen the stage, and with it the section that there is.
fn check_stage(layer: &SettingsLayer, stage: StageKind) -> Result<(), Error> {
    let named = layer.table.get("stage").and_then(Value::as_str);
    if let Some(name) = named.filter(|name| StageKind::ALL.iter().all(|kind| kind.name() != *name)) {
        return Err(Error::UnknownStage { origin: layer.origin.clone(), name: name.to_owned(), ours: stage });
    }
    let holds = |kind: &StageKind| named.map_or_else(|| layer.table.contains_key(kind.name()), |name| name == kind.name());
    match StageKind::ALL.into_iter().filter(|kind| *kind != stage).find(holds) {
        Some(theirs) => Err(Error::OtherStage { origin: layer.origin.clone(), theirs, ours: stage }),
        None => Ok(()),
    }
}

/// Whether the last layer that sets the micro-batch asks for `auto`. That word is no number, so it goes, and with it what it overrides.
fn take_auto(layers: &mut [SettingsLayer]) -> bool {
    let (key, word) = MICRO_BATCH_AUTO;
    let last = layers.iter().rev().find_map(|layer| get(&layer.table, key));
    let auto = last.and_then(Value::as_str) == Some(word);
    for layer in layers {
        let is_word = get(&layer.table, key).and_then(Value::as_str) == Some(word);
        if (auto || is_word)
            && let Some(Value::Table(train)) = layer.table.get_mut("train")
        {
            train.remove("micro_batch");
        }
    }
    auto
}

/// A layer for each flag that was given.
fn flag_layers(defaults: &Table, args: &SettingsArgs, own: &[StageFlag<'_>], stage: StageKind) -> Result<Vec<SettingsLayer>, Error> {
    let precision = args.precision.map(|precision| precision.to_string());
    let optimiser = args.optimiser.and_then(|kind| kind.to_possible_value());
    let named = [
        ("--preset", "preset", args.preset.as_deref()),
        ("--data", "data.path", args.data.as_deref()),
        ("--images", "train.images", args.images.as_deref()),
        ("--batch", "train.batch", args.batch.as_deref()),
        ("--micro-batch", "train.micro_batch", args.micro_batch.as_deref()),
        ("--lr", "schedule.peak", args.lr.as_deref()),
        ("--optimiser", "optimiser.kind", optimiser.as_ref().map(PossibleValue::get_name)),
        ("--seed", "train.seed", args.seed.as_deref()),
        ("--device", "compute.device", args.device.as_deref()),
        ("--precision", "compute.precision", precision.as_deref()),
        ("--recompute", "compute.recompute", args.recompute.then_some("true")),
        ("--tf32", "compute.tf32", args.tf32.then_some("true")),
        ("--skip-bad", "data.skip_bad", args.skip_bad.then_some("true")),
    ];
    let given = named.into_iter().filter_map(|(flag, key, text)| Some((flag, key, text?)));
    let mut layers = Vec::new();
    for (flag, key, text) in given.chain(own.iter().copied()) {
        layers.push(settings::assign(defaults, key, text, Origin::Flag(flag.to_owned()))?);
    }
    for assignment in &args.set {
        let (key, text) = assignment.split_once('=').ok_or_else(|| Error::Argument {
            what: format!("--set {assignment}: no `=` in it"),
            hint: Some("write --set train.batch=64".to_owned()),
        })?;
        let (key, text) = (key.trim(), text.trim());
        let origin = Origin::Flag(format!("--set {key}"));
        let section = key.split('.').next();
        if let Some(theirs) = StageKind::ALL.into_iter().find(|kind| *kind != stage && section == Some(kind.name())) {
            return Err(Error::OtherStage { origin, theirs, ours: stage });
        }
        layers.push(settings::assign(defaults, key, text, origin)?);
    }
    Ok(layers)
}
