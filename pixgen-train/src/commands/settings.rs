//! The settings of a stage from all their layers.

use crate::cli::SettingsArgs;
use crate::config::{RunConfig, Stage, StageKind};
use crate::error::Error;
use crate::objective::PretrainMethod;
use crate::settings::{self, Origin, Resolved, SettingsLayer, env, file};
use pixgen_core::presets::{PRESETS, Preset, preset};
use toml::Table;

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

/// Lays flags over environment over file over the defaults of preset and method, and reads the result.
pub fn resolve(stage: StageKind, args: &SettingsArgs, own: Option<StageFlag<'_>>) -> Result<(RunConfig, Resolved), Error> {
    let file = args.config.as_deref().map(file::layer).transpose()?;
    let from_file = file
        .as_ref()
        .and_then(|layer| layer.table.get("preset"))
        .and_then(toml::Value::as_str)
        .map(str::to_owned);
    let name = args
        .preset
        .clone()
        .or_else(|| std::env::var("PIXGEN_PRESET").ok())
        .or(from_file)
        .unwrap_or_else(|| DEFAULT_PRESET.to_owned());
    let preset = find_preset(&name)?;
    let standard = RunConfig::defaults(stage, preset);
    let defaults = standard.to_table()?;
    let mut over: Vec<SettingsLayer> = file.into_iter().collect();
    over.extend(env::layers(&defaults, std::env::vars_os(), &[crate::cache::OVERRIDE, FIRMWARE_MODEL])?);
    over.extend(flag_layers(&defaults, args, own)?);
    let lay = |table: Table| {
        let mut layers = vec![SettingsLayer { origin: Origin::Preset(preset.name.to_owned()), table }];
        layers.extend(over.iter().cloned());
        settings::resolve(&defaults, &layers)
    };
    let mut resolved = lay(defaults.clone())?;
    // The command has chosen the stage, and with it the section that there is.
    if let Some(named) = resolved
        .table
        .get("stage")
        .and_then(toml::Value::as_str)
        .filter(|&named| named != stage.name())
    {
        return Err(Error::Argument {
            what: format!("stage: the settings are for {named}, the command is for {}", stage.name()),
            hint: Some("use the command of that stage, or take `stage` out of the file".to_owned()),
        });
    }
    let mut config: RunConfig = resolved.read()?;
    // A method of stage 1 has defaults of its own, and what was laid over them stays there.
    if let Stage::Pretrain(settings) = config.stage
        && settings.method != PretrainMethod::Epg
    {
        resolved = lay(standard.with_method(settings.method).to_table()?)?;
        config = resolved.read()?;
    }
    Ok((config, resolved))
}

/// A layer for each flag that was given.
fn flag_layers(defaults: &Table, args: &SettingsArgs, own: Option<StageFlag<'_>>) -> Result<Vec<SettingsLayer>, Error> {
    let precision = args.precision.map(|precision| precision.to_string());
    let named = [
        ("--preset", "preset", args.preset.as_deref()),
        ("--data", "data.path", args.data.as_deref()),
        ("--images", "train.images", args.images.as_deref()),
        ("--batch", "train.batch", args.batch.as_deref()),
        ("--micro-batch", "train.micro_batch", args.micro_batch.as_deref().filter(|_| !args.auto_micro_batch())),
        ("--lr", "schedule.peak", args.lr.as_deref()),
        ("--seed", "train.seed", args.seed.as_deref()),
        ("--device", "compute.device", args.device.as_deref()),
        ("--precision", "compute.precision", precision.as_deref()),
        ("--recompute", "compute.recompute", args.recompute.then_some("true")),
        ("--skip-bad", "data.skip_bad", args.skip_bad.then_some("true")),
    ];
    let given = named.into_iter().filter_map(|(flag, key, text)| Some((flag, key, text?)));
    let mut layers = Vec::new();
    for (flag, key, text) in given.chain(own) {
        layers.push(settings::assign(defaults, key, text, Origin::Flag(flag.to_owned()))?);
    }
    for assignment in &args.set {
        let (key, text) = assignment.split_once('=').ok_or_else(|| Error::Argument {
            what: format!("--set {assignment}: no `=` in it"),
            hint: Some("write --set train.batch=64".to_owned()),
        })?;
        layers.push(settings::assign(defaults, key.trim(), text.trim(), Origin::Flag(format!("--set {}", key.trim())))?);
    }
    Ok(layers)
}
