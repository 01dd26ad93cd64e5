//! What a quick start trains: the stages of its recipe, as far as this machine gets in the time, and the plan kept in its folder.

use crate::cli::{QuickstartArgs, QuickstartBudget, QuickstartData};
use crate::config::{RunConfig, StageKind};
use crate::device::{DeviceChoice, DeviceProblem, Requirements};
use crate::error::Error;
use crate::needs::dry_run::{self, Processes};
use crate::needs::memory;
use crate::prepared;
use crate::run::recorded::begun;
use crate::settings::SettingsError;
use crate::training::Engine;
use pixgen_core::presets::preset;
use pixgen_edge::atomic::{make_folder, write_atomic};
use pixgen_edge::data::{BundledSet, DataPart};
use pixgen_edge::file_error::FileError;
use pixgen_edge::interrupt;
use pixgen_edge::terminal::note;
use pixgen_edge::units::format_duration;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is trained on which pictures.
struct QuickstartRecipe {
    data: BundledSet,
    budget: QuickstartBudget,
    preset: &'static str,
    /// Images of all stages in the minutes of the budget on two cores.
    images: [u64; 3],
}

impl QuickstartRecipe {
    const fn of(data: QuickstartData, budget: QuickstartBudget) -> Self {
        let (preset, images) = match (data, budget) {
            (QuickstartData::FashionMnist, QuickstartBudget::Quick) => ("small-28-grey", [120_000, 240_000, 600_000]),
            (QuickstartData::FashionMnist, QuickstartBudget::Hour) => ("small-28-grey", [480_000, 960_000, 2_400_000]),
            (QuickstartData::FashionMnist, QuickstartBudget::Night) => ("small-28-grey", [1_200_000, 2_400_000, 6_000_000]),
            (QuickstartData::Avatars, QuickstartBudget::Quick) => ("nano-32-rgb", [60_000, 200_000, 240_000]),
            (QuickstartData::Avatars, QuickstartBudget::Hour) => ("small-32-rgb", [120_000, 400_000, 480_000]),
            (QuickstartData::Avatars, QuickstartBudget::Night) => ("small-32-rgb", [300_000, 1_000_000, 1_200_000]),
        };
        let data = match data {
            QuickstartData::FashionMnist => BundledSet::FashionMnist,
            QuickstartData::Avatars => BundledSet::Avatars(DataPart::Train),
        };
        Self { data, budget, preset, images }
    }

    /// The recipe that was asked for.
    const fn asked(args: &QuickstartArgs) -> Self {
        Self::of(args.data, args.recipe)
    }

    /// Images of the second stage from which on pictures can be recognised, with as large a share of the others.
    const fn recognisable(&self) -> u64 {
        match self.data {
            // A classifier is right on 72 % (docs/results/experiments.md).
            BundledSet::FashionMnist => 29_000,
            // The style can be told, and hair from skin.
            BundledSet::Avatars(_) => 50_000,
        }
    }

    /// Images of the third stage after so many of the second.
    const fn third(&self, second: u64) -> u64 {
        second * self.images[2] / self.images[1]
    }
}

/// The stages, and the folder of each run.
pub(super) const STAGES: [(StageKind, &str); 3] = [
    (StageKind::Pretrain, "pretrain"),
    (StageKind::Consistency, "finetune"),
    (StageKind::Drift, "drift"),
];
/// Ten weeks.
pub(super) const MOST_MINUTES: f64 = 100_000.0;
/// The plan in the folder.
const PLAN: &str = "plan.toml";
/// Pictures that stand for the data when steps are timed.
const TIMED_PICTURES: usize = 2048;

/// Settings of all stages for the minutes that were asked for, if the machine is as fast as the usual one.
pub(super) fn recipe(args: &QuickstartArgs, minutes: f64, device: DeviceChoice) -> Result<[RunConfig; 3], Error> {
    // The table of presets holds it, as the tests show.
    let QuickstartRecipe { data, preset: name, images, .. } = QuickstartRecipe::asked(args);
    let preset = preset(name).ok_or_else(|| Error::Preset { name: name.to_owned(), suggestion: None })?;
    let mut configs = STAGES.map(|(stage, _)| RunConfig::defaults(stage, preset));
    let share = minutes / args.recipe.minutes();
    for (config, images) in configs.iter_mut().zip(images) {
        data.name().clone_into(&mut config.data.path);
        config.train.seed = args.seed;
        config.compute.device = device.to_string();
        config.train.images = ((images as f64 * share) as u64 / 1000).max(2) * 1000;
    }
    Ok(configs)
}

/// What the largest of the stages asks of the device.
pub(super) fn requirements(configs: &[RunConfig; 3]) -> Result<Requirements, DeviceProblem> {
    let mut all = Requirements::default();
    for config in configs {
        let stage = memory::requirements(config, 1)?;
        (all.memory, all.bf16) = (all.memory.max(stage.memory), all.bf16 || stage.bf16);
    }
    Ok(all)
}

/// What a quick start said that it would do; it holds when the same command goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuickstartPlan {
    minutes: f64,
    /// Quick starts of version 0.1 had no choice of these two.
    #[serde(default = "only_data")]
    data: String,
    #[serde(default)]
    recipe: QuickstartBudget,
    pretrain_images: u64,
    finetune_images: u64,
    /// Quick starts of version 0.1 had no third stage; its share follows from the second.
    #[serde(default)]
    drift_images: Option<u64>,
}

fn only_data() -> String {
    BundledSet::FashionMnist.name().to_owned()
}

/// The same with the images of the plan in the folder, or of a new one for the time that they take on this device, which is then written.
pub(super) fn planned<B: Engine>(
    mut configs: [RunConfig; 3],
    args: &QuickstartArgs,
    quiet: bool,
    device: &B::Device,
) -> Result<[RunConfig; 3], Error> {
    let path = args.out.join(PLAN);
    let plan = match read_plan(&path)? {
        Some(plan) => {
            for (option, asked, planned) in [
                ("--data", QuickstartRecipe::asked(args).data.name(), plan.data.as_str()),
                ("--recipe", args.recipe.name(), plan.recipe.name()),
            ] {
                if asked != planned {
                    return Err(Error::Argument {
                        what: format!("{option} {asked}: the quick start in {} was planned for {planned}", args.out.display()),
                        hint: Some(format!("go on with {option} {planned}, or give another --out")),
                    });
                }
            }
            if let Some(minutes) = args.minutes.filter(|minutes| *minutes != plan.minutes) {
                return Err(Error::Argument {
                    what: format!(
                        "--minutes {minutes}: the quick start in {} was planned with --minutes {}",
                        args.out.display(),
                        plan.minutes
                    ),
                    hint: Some(format!(
                        "leave --minutes out to go on with the plan, or give another --out; `pixgen-train finetune --out {} --images N` trains a \
                         finished model for longer",
                        runs(&args.out)[2].display()
                    )),
                });
            }
            plan
        }
        None => {
            // A folder that cannot be made is told before the steps are timed.
            make_folder(&args.out).map_err(FileError::write(&args.out))?;
            let plan = new_plan::<B>(&mut configs, args, quiet, device)?;
            let text = toml::to_string(&plan).map_err(|error| SettingsError::NotToml { message: error.to_string() })?;
            write_atomic(&path, |out| out.write_all(text.as_bytes()))?;
            plan
        }
    };
    interrupt::saved(&format!("the plan in {}", args.out.display()));
    let of_third = || QuickstartRecipe::asked(args).third(plan.finetune_images);
    let planned = [
        plan.pretrain_images,
        plan.finetune_images,
        plan.drift_images.unwrap_or_else(of_third),
    ];
    for ((config, run), images) in configs.iter_mut().zip(runs(&args.out)).zip(planned) {
        // A run that was trained for longer is not to be shortened.
        config.train.images = images_of(&run).map_or(images, |trained| trained.max(images));
        config.output.sample_every = (images / 20).max(1000);
        config.output.checkpoint_every = (images / 10).max(1000);
        config.output.log_every = (images / 100).max(1000);
        config.schedule.warmup = config.schedule.warmup.min(images / 10);
    }
    Ok(configs)
}

/// The plan in a folder, if it holds one.
fn read_plan(path: &Path) -> Result<Option<QuickstartPlan>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    let table = crate::settings::file::layer(path)?.table;
    let plan = table.try_into().map_err(|error: toml::de::Error| SettingsError::Parse {
        path: path.to_owned(),
        line: 1,
        column: 1,
        message: error.message().to_owned(),
    });
    Ok(Some(plan?))
}

/// Of the runs that a quick start of version 0.1 has begun, or of what this device can do.
fn new_plan<B: Engine>(
    configs: &mut [RunConfig; 3],
    args: &QuickstartArgs,
    quiet: bool,
    device: &B::Device,
) -> Result<QuickstartPlan, Error> {
    let minutes = args.minutes.unwrap_or(args.recipe.minutes());
    let recipe = QuickstartRecipe::asked(args);
    let data = recipe.data.name().to_owned();
    let found = runs(&args.out).map(|run| images_of(&run));
    if let [Some(first), second, _] = found {
        // The second run may not exist yet; its share follows from the first.
        let [of_first, of_second, _] = recipe.images;
        let finetune_images = second.unwrap_or(first * of_second / of_first);
        let drift_images = Some(recipe.third(finetune_images));
        return Ok(QuickstartPlan { minutes, data, recipe: args.recipe, pretrain_images: first, finetune_images, drift_images });
    }
    fit_to_time::<B>(configs, &recipe, minutes, quiet, device)?;
    let [pretrain_images, finetune_images, drift_images] = configs.each_ref().map(|config| config.train.images);
    Ok(QuickstartPlan {
        minutes,
        data,
        recipe: args.recipe,
        pretrain_images,
        finetune_images,
        drift_images: Some(drift_images),
    })
}

/// Images of a run that was started before.
fn images_of(run: &Path) -> Option<u64> {
    Some(begun(run)?.train.images)
}

/// The folders of the runs in the folder of a quick start.
pub(super) fn runs(out: &Path) -> [PathBuf; 3] {
    STAGES.map(|(_, run)| out.join(run))
}

/// Takes fewer images when this machine would need longer than asked for; says so, and what that means for the pictures.
fn fit_to_time<B: Engine>(
    configs: &mut [RunConfig; 3],
    recipe: &QuickstartRecipe,
    minutes: f64,
    quiet: bool,
    device: &B::Device,
) -> Result<(), Error> {
    if !quiet {
        note("timing a few steps of each stage on this machine");
    }
    let mut seconds = [0.0; 3];
    for (config, seconds) in configs.iter().zip(&mut seconds) {
        // Speed does not depend on the pictures, and the generator of the third stage is not there yet.
        let prepared = prepared::prepare_random(config.clone(), TIMED_PICTURES)?;
        *seconds = dry_run::plan::<B>(&prepared, Some(device), Processes::ONE)?.seconds.unwrap_or(0.0);
    }
    let asked = configs.each_ref().map(|config| config.train.images);
    let total: f64 = seconds.iter().sum();
    let share = 60.0 * minutes / total.max(1e-9);
    if !quiet {
        let needed = format_duration(Duration::from_secs_f64(total.min(1e9)));
        note(&format!("{} images: about {needed} on this machine", listed(asked)));
    }
    if share < 1.0 {
        for config in configs.iter_mut() {
            config.train.images = ((config.train.images as f64 * share) as u64 / 1000).max(2) * 1000;
        }
        let images = configs.each_ref().map(|c| c.train.images);
        let instead = if images == asked {
            String::new()
        } else {
            format!("; training on {} images instead", listed(images))
        };
        note(&format!("warning: that is longer than {minutes} minutes{instead}"));
    }
    if configs[1].train.images < recipe.recognisable() {
        note(&format!(
            "warning: pictures after so few images cannot be recognised; for that this machine needs about {} minutes",
            minutes_to_recognise(recipe, total * recipe.budget.minutes() / minutes)
        ));
    }
    Ok(())
}

fn listed([first, second, third]: [u64; 3]) -> String {
    format!("{first}, {second} and {third}")
}

/// Whole minutes after which pictures can be recognised, as `--minutes` counts them, on a machine that takes so many seconds for the whole recipe.
fn minutes_to_recognise(recipe: &QuickstartRecipe, seconds: f64) -> u64 {
    let share = recipe.recognisable() as f64 / recipe.images[1] as f64;
    // A margin of a tenth, as a few timed steps are no exact measure.
    (share * (1.1 * seconds / 60.0).max(recipe.budget.minutes())).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minutes_are_those_of_the_machine() {
        // The recipe in ten minutes, and on a machine that is ten times as slow.
        let recipe = QuickstartRecipe::of(QuickstartData::Avatars, QuickstartBudget::Quick);
        assert_eq!(minutes_to_recognise(&recipe, 600.0), 4);
        assert_eq!(minutes_to_recognise(&recipe, 6000.0), 28);
    }

    #[test]
    fn a_plan_is_read_back_and_nonsense_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(PLAN);
        assert_eq!(read_plan(&path).unwrap(), None);
        let plan = QuickstartPlan {
            minutes: 0.5,
            data: "bundled:avatars".to_owned(),
            recipe: QuickstartBudget::Hour,
            pretrain_images: 2000,
            finetune_images: 3000,
            drift_images: Some(4000),
        };
        std::fs::write(&path, toml::to_string(&plan).unwrap()).unwrap();
        assert_eq!(read_plan(&path).unwrap(), Some(plan));
        std::fs::write(&path, "minutes = 1.0\npretrain_images = 2000\nfinetune_images = 3000\n").unwrap();
        let old = read_plan(&path).unwrap().unwrap();
        assert_eq!((old.data.as_str(), old.recipe, old.drift_images), ("bundled", QuickstartBudget::Quick, None));
        std::fs::write(&path, "minutes = 1").unwrap();
        assert!(read_plan(&path).unwrap_err().to_string().contains(PLAN));
    }
}
