//! `quickstart`: bundled data, stage 1, stage 2b, a grid, a model file and a short report.

use super::quickstart_quality::QuickstartQuality;
use crate::cli::{QUICKSTART_MINUTES, QuickstartArgs, QuickstartData};
use crate::config::{RunConfig, StageKind};
use crate::device::{DeviceChoice, DeviceProblem, OnDevice, Requirements};
use crate::error::Error;
use crate::needs::{dry_run, memory};
use crate::prepared::{self, Prepared};
use crate::run::recorded::Recorded;
use crate::sampling::{Drawing, Generator, SampleRequest};
use crate::session::{self, End, SessionOptions};
use crate::training::Engine;
use pixgen_core::presets::preset;
use pixgen_core::pxg::Model;
use pixgen_edge::aligned::AlignedBytes;
use pixgen_edge::atomic::{make_folder, write_atomic};
use pixgen_edge::boards::board;
use pixgen_edge::data::{BundledSet, DataPart};
use pixgen_edge::file_error::FileError;
use pixgen_edge::interrupt;
use pixgen_edge::interrupt::Interrupt;
use pixgen_edge::model_file::{Content, ModelFile};
use pixgen_edge::output;
use pixgen_edge::picture::{Grid, Picture};
use pixgen_edge::plan::{fits, plan};
use pixgen_edge::pxg_file::{self, PxgFormat};
use pixgen_edge::quantise::draw::{draw_integer, requests};
use pixgen_edge::quantise::{self, QuantiseError, model_name};
use pixgen_edge::terminal::{note, print_bytes, print_json};
use pixgen_edge::units::{format_bytes, format_duration, format_images};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

/// What is trained on which pictures.
struct QuickstartRecipe {
    data: BundledSet,
    preset: &'static str,
    /// Images of both stages in [`QUICKSTART_MINUTES`] on two cores.
    images: [u64; 2],
    /// Images of stage 2 from which on pictures can be recognised.
    recognisable: u64,
}

const CLOTHES: QuickstartRecipe = QuickstartRecipe {
    data: BundledSet::FashionMnist,
    preset: "small-28-grey",
    images: [360_000, 600_000],
    // A classifier is right on two thirds of them (docs/results/experiments.md, longer runs of stage 2).
    recognisable: 160_000,
};
const AVATARS: QuickstartRecipe = QuickstartRecipe {
    data: BundledSet::Avatars(DataPart::Train),
    preset: "nano-32-rgb",
    images: [200_000, 360_000],
    // The style can be told, and hair from skin.
    recognisable: 130_000,
};

impl QuickstartRecipe {
    fn of(data: QuickstartData) -> &'static Self {
        match data {
            QuickstartData::FashionMnist => &CLOTHES,
            QuickstartData::Avatars => &AVATARS,
        }
    }
}

/// Ten weeks.
const MOST_MINUTES: f64 = 100_000.0;
/// The plan in the folder.
const PLAN: &str = "plan.toml";
/// Boards of the final plan; `pixgen-edge plan --all-boards` has more.
const BOARDS: [&str; 3] = ["pico2", "nrf52840-dk", "esp32-c3-devkitm-1"];

/// The report's numbers.
#[derive(Serialize)]
struct QuickstartReport {
    #[serde(flatten)]
    quality: QuickstartQuality,
    pretrain_images: u64,
    finetune_images: u64,
    seconds: f64,
}

/// Runs or resumes the quick start.
pub(super) fn run(args: &QuickstartArgs, quiet: bool) -> Result<End, Error> {
    let minutes = args.minutes.unwrap_or(QUICKSTART_MINUTES);
    if !(minutes > 0.0 && minutes <= MOST_MINUTES) {
        return Err(Error::Argument {
            what: format!("--minutes {minutes}: not a number above 0 and up to {MOST_MINUTES}"),
            hint: Some("for example --minutes 15".to_owned()),
        });
    }
    output::refuse_stdout("--out", &args.out, "writes a folder")?;
    let device = args.device.choice()?;
    let configs = recipe(args, minutes, device)?;
    let requirements = requirements(&configs)?;
    device.run(requirements, Work { args, quiet, configs })?
}

/// Both stages and the report, on one device.
struct Work<'a> {
    args: &'a QuickstartArgs,
    quiet: bool,
    configs: [RunConfig; 2],
}

impl OnDevice for Work<'_> {
    type Output = Result<End, Error>;

    fn run<B: Engine>(self, device: &B::Device) -> Result<End, Error> {
        let Self { args, quiet, configs } = self;
        let started = Instant::now();
        let [first, second] = planned::<B>(configs, args, quiet, device)?;
        let encoder_run = args.out.join("pretrain");
        let generator_run = args.out.join("finetune");

        let options = |title: &str| SessionOptions {
            quiet,
            title: title.to_owned(),
            interrupt: Interrupt::listen(),
            ..SessionOptions::default()
        };
        note("stage 1 of 2: pre-training the encoder without labels");
        let end = session::train::<B>(&prepared::prepare_in(first, Some(&encoder_run))?, &encoder_run, &options("1/2 pretrain"), device)?;
        if end != End::Finished {
            return Ok(end);
        }
        interrupt::saved(&format!("stage 1 in {}", encoder_run.display()));
        note("stage 2 of 2: consistency training of the one-step generator");
        let second = RunConfig { encoder: encoder_run.display().to_string(), ..second };
        let prepared = prepared::prepare_in(second, Some(&generator_run))?;
        let end = session::train::<B>(&prepared, &generator_run, &options("2/2 finetune"), device)?;
        if end != End::Finished {
            return Ok(end);
        }
        interrupt::saved(&format!("both stages in {}", args.out.display()));
        report::<B>(args, &generator_run, &prepared, started.elapsed(), device)?;
        Ok(End::Finished)
    }
}

/// Settings of both stages for the minutes that were asked for, if the machine is as fast as the usual one.
fn recipe(args: &QuickstartArgs, minutes: f64, device: DeviceChoice) -> Result<[RunConfig; 2], Error> {
    // The table of presets holds it, as the tests show.
    let QuickstartRecipe { data, preset: name, images, .. } = QuickstartRecipe::of(args.data);
    let preset = preset(name).ok_or_else(|| Error::Preset { name: (*name).to_owned(), suggestion: None })?;
    let mut configs = [StageKind::Pretrain, StageKind::Consistency].map(|stage| RunConfig::defaults(stage, preset));
    let share = minutes / QUICKSTART_MINUTES;
    for (config, images) in configs.iter_mut().zip(*images) {
        data.name().clone_into(&mut config.data.path);
        config.train.seed = args.seed;
        config.compute.device = device.to_string();
        config.train.images = ((images as f64 * share) as u64 / 1000).max(2) * 1000;
    }
    Ok(configs)
}

/// What the larger of both stages asks of the device.
fn requirements(configs: &[RunConfig; 2]) -> Result<Requirements, DeviceProblem> {
    let [first, second] = configs.each_ref().map(memory::requirements);
    let (first, second) = (first?, second?);
    Ok(Requirements { memory: first.memory.max(second.memory), bf16: first.bf16 || second.bf16, training: None })
}

/// What a quick start said that it would do; it holds when the same command goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuickstartPlan {
    minutes: f64,
    /// Quick starts of version 0.1 had no choice.
    #[serde(default = "only_data")]
    data: String,
    pretrain_images: u64,
    finetune_images: u64,
}

fn only_data() -> String {
    CLOTHES.data.name().to_owned()
}

/// The same with the images of the plan in the folder, or of a new one for the time that they take on this device, which is then written.
fn planned<B: Engine>(
    mut configs: [RunConfig; 2],
    args: &QuickstartArgs,
    quiet: bool,
    device: &B::Device,
) -> Result<[RunConfig; 2], Error> {
    let path = args.out.join(PLAN);
    let plan = match read_plan(&path)? {
        Some(plan) => {
            let data = QuickstartRecipe::of(args.data).data.name();
            if data != plan.data {
                return Err(Error::Argument {
                    what: format!("--data {data}: the quick start in {} was planned for {}", args.out.display(), plan.data),
                    hint: Some(format!("go on with --data {}, or give another --out", plan.data)),
                });
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
                        args.out.join("finetune").display()
                    )),
                });
            }
            plan
        }
        None => {
            // A folder that cannot be made is told before the steps are timed.
            make_folder(&args.out).map_err(FileError::write(&args.out))?;
            let plan = new_plan::<B>(&mut configs, args, quiet, device)?;
            let text = toml::to_string(&plan).map_err(|error| crate::settings::SettingsError::NotToml { message: error.to_string() })?;
            write_atomic(&path, |out| out.write_all(text.as_bytes()))?;
            plan
        }
    };
    interrupt::saved(&format!("the plan in {}", args.out.display()));
    let planned = [("pretrain", plan.pretrain_images), ("finetune", plan.finetune_images)];
    for (config, (run, images)) in configs.iter_mut().zip(planned) {
        // A run that was trained for longer is not to be shortened.
        config.train.images = images_of(&args.out.join(run)).map_or(images, |trained| trained.max(images));
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
    let plan = table.try_into().map_err(|error: toml::de::Error| crate::settings::SettingsError::Parse {
        path: path.to_owned(),
        line: 1,
        column: 1,
        message: error.message().to_owned(),
    });
    Ok(Some(plan?))
}

/// Of the runs that a quick start of version 0.1 has begun, or of what this device can do.
fn new_plan<B: Engine>(
    configs: &mut [RunConfig; 2],
    args: &QuickstartArgs,
    quiet: bool,
    device: &B::Device,
) -> Result<QuickstartPlan, Error> {
    let minutes = args.minutes.unwrap_or(QUICKSTART_MINUTES);
    let recipe = QuickstartRecipe::of(args.data);
    let data = recipe.data.name().to_owned();
    let found = ["pretrain", "finetune"].map(|run| images_of(&args.out.join(run)));
    if let [Some(first), second] = found {
        // The second run may not exist yet; its share follows from the first.
        let [of_first, of_second] = recipe.images;
        let finetune_images = second.unwrap_or(first * of_second / of_first);
        return Ok(QuickstartPlan { minutes, data, pretrain_images: first, finetune_images });
    }
    fit_to_time::<B>(configs, recipe, minutes, quiet, device)?;
    let [pretrain_images, finetune_images] = configs.each_ref().map(|config| config.train.images);
    Ok(QuickstartPlan { minutes, data, pretrain_images, finetune_images })
}

/// Images of a run that was started before. Settings that cannot be read are told when the run goes on.
fn images_of(run: &Path) -> Option<u64> {
    Some(Recorded::read(run).ok()??.config.train.images)
}

/// Takes fewer images when this machine would need longer than asked for; says so, and what that means for the pictures.
fn fit_to_time<B: Engine>(
    configs: &mut [RunConfig; 2],
    recipe: &QuickstartRecipe,
    minutes: f64,
    quiet: bool,
    device: &B::Device,
) -> Result<(), Error> {
    if !quiet {
        note("timing a few steps of both stages on this machine");
    }
    let mut seconds = [0.0; 2];
    for (config, seconds) in configs.iter().zip(&mut seconds) {
        let plan = dry_run::plan::<B>(&prepared::prepare(config.clone())?, Some(device))?;
        *seconds = plan.seconds.unwrap_or(0.0);
    }
    let asked = configs.each_ref().map(|config| config.train.images);
    let total = seconds.iter().sum::<f64>();
    let share = 60.0 * minutes / total.max(1e-9);
    if !quiet {
        let needed = format_duration(Duration::from_secs_f64(total.min(1e9)));
        note(&format!("{} and {} images: about {needed} on this machine", asked[0], asked[1]));
    }
    if share < 1.0 {
        for config in configs.iter_mut() {
            config.train.images = ((config.train.images as f64 * share) as u64 / 1000).max(2) * 1000;
        }
        let images = configs.each_ref().map(|c| c.train.images);
        let instead = if images == asked {
            String::new()
        } else {
            format!("; training on {} and {} images instead", images[0], images[1])
        };
        note(&format!("warning: that is longer than {minutes} minutes{instead}"));
    }
    if configs[1].train.images < recipe.recognisable {
        let per_image = [0, 1].map(|stage| seconds[stage] / asked[stage] as f64);
        note(&format!(
            "warning: pictures after so few images cannot be recognised; for that this machine needs about {} minutes",
            minutes_to_recognise(recipe, per_image)
        ));
    }
    Ok(())
}

/// Whole minutes after which pictures can be recognised, as `--minutes` counts them, on a machine that takes so many seconds for an image of
/// each stage.
fn minutes_to_recognise(recipe: &QuickstartRecipe, seconds_per_image: [f64; 2]) -> u64 {
    let share = recipe.recognisable as f64 / recipe.images[1] as f64;
    let seconds: f64 = seconds_per_image
        .iter()
        .zip(recipe.images)
        .map(|(seconds, images)| seconds * share * images as f64)
        .sum();
    // A margin of a tenth, as a few timed steps are no exact measure.
    (1.1 * seconds / 60.0).max(share * QUICKSTART_MINUTES).ceil() as u64
}

/// The final grid, the model file beside it, and the numbers.
fn report<B: Engine>(args: &QuickstartArgs, run: &Path, prepared: &Prepared, took: Duration, device: &B::Device) -> Result<(), Error> {
    let file = ModelFile::load_content(run, Content::Generator)?;
    let model = &file.header.model;
    let classes: Vec<usize> = (0..10 * model.classes).map(|i| i % model.classes).collect();
    let samples = args.out.join("samples");
    make_folder(&samples).map_err(FileError::write(&samples))?;
    let draw = |steps| {
        let wanted = SampleRequest { seed: args.seed, first: 0, classes: &classes, drawing: Drawing::Consistency { steps } };
        Generator::from(&file).draw::<B>(&file.params, None, device, &wanted)
    };
    let one_step = draw(1);
    for (steps, bytes) in [(1, &one_step), (2, &draw(2))] {
        let grid = Grid { columns: model.classes, scale: 2 };
        let names: Vec<&String> = classes.iter().filter_map(|&class| file.header.class_names.get(class)).collect();
        grid.save_named(&samples.join(format!("grid-{steps}step.png")), &Picture::squares(bytes, model.size, model.channels)?, &names)?;
    }
    let strip = std::fs::read(run.join("samples/strip.png"));
    if let Ok(strip) = strip {
        write_atomic(&samples.join("strip.png"), |out| out.write_all(&strip))?;
    }
    prepared::save_model(&file, &args.out.join("model.safetensors"))?;
    let chip = for_chips(args, &file, &classes, &one_step, &samples)?;

    let quality = QuickstartQuality::new::<B>(&args.out.display().to_string(), &file, prepared, device)?;
    let encoder = ModelFile::load_content(&args.out.join("pretrain"), Content::Encoder)?;
    let programs = Programs::beside(std::env::args_os().next().as_deref());
    let more = if quality.is_partial() {
        let (program, run) = (&programs.train, run.display());
        format!("            {program} data get efficientnet-lite0 && {program} eval {run}\n")
    } else {
        String::new()
    };
    let text = format!(
        "images      {} in stage 1, {} in stage 2, {} in this call\n{}\n\
         grid        {}\nmodel       {}\n{}\
         next        {} sample {} --class {} --seed 7\n            {} plan {} --all-boards\n{more}",
        format_images(encoder.header.images),
        format_images(file.header.images),
        format_duration(took),
        quality,
        samples.join("grid-1step.png").display(),
        args.out.join("model.safetensors").display(),
        chip,
        programs.train,
        args.out.display(),
        model.classes - 1,
        programs.edge,
        args.out.join("model.pxg").display(),
    );
    let report = QuickstartReport {
        quality,
        pretrain_images: encoder.header.images,
        finetune_images: file.header.images,
        seconds: took.as_secs_f64(),
    };
    write_atomic(&args.out.join("report.json"), |out| Ok(serde_json::to_writer_pretty(out, &report)?))?;
    write_atomic(&args.out.join("report.txt"), |out| out.write_all(text.as_bytes()))?;
    if args.json {
        print_json(&report)?;
    } else {
        print_bytes(text.as_bytes())?;
    }
    Ok(())
}

/// The int8 file, its pictures beside the `float` ones, and what it takes on three boards.
fn for_chips(args: &QuickstartArgs, file: &ModelFile, classes: &[usize], float: &[u8], samples: &Path) -> Result<String, Error> {
    let path = args.out.join("model.pxg");
    let exported =
        quantise::export(file, None, &quantise::QuantiseOptions { name: model_name(file), ..quantise::QuantiseOptions::default() })?;
    pxg_file::write(&path, &exported.bytes, PxgFormat::Pxg, "", None)?;

    let bytes = AlignedBytes::copy(&exported.bytes);
    let chip = Model::read(bytes.bytes()).map_err(QuantiseError::from)?;
    let int8 = draw_integer(&chip, &requests(args.seed, 0, classes))?;
    let model = &file.header.model;
    // Each row: float on the left, the same noise in int8 on the right.
    let row = model.classes * model.image_len();
    let both: Vec<u8> = float
        .chunks(row)
        .zip(int8.chunks(row))
        .flat_map(|(float, int8)| [float, int8].concat())
        .collect();
    let grid = Grid { columns: 2 * model.classes, scale: 2 };
    let picture = samples.join("grid-float-int8.png");
    let pictures = Picture::squares(&both, model.size, model.channels)?;
    let names: Vec<&String> = file.header.class_names.iter().cycle().take(pictures.len()).collect();
    grid.save_named(&picture, &pictures, &names)?;

    let plan = plan(&chip.header().model, 1);
    let boards = BOARDS.iter().filter_map(|name| board(name));
    let lines: Vec<String> = boards.map(|board| fits(&plan, board).summary()).collect();
    Ok(format!(
        "for chips   {}, {}; a picture takes {} of RAM\nfloat, int8 {}\nboards      {}\n",
        path.display(),
        format_bytes(exported.bytes.len() as u64),
        format_bytes(chip.workspace_len() as u64),
        picture.display(),
        lines.join("\n            ")
    ))
}

/// How the reader calls both programs: as this one was called.
struct Programs {
    train: String,
    edge: String,
}

impl Programs {
    fn beside(called: Option<&OsStr>) -> Self {
        let called = Path::new(called.unwrap_or(OsStr::new("pixgen-train")));
        let folder = called.parent().unwrap_or(Path::new(""));
        let sibling = called.with_file_name(format!("pixgen-edge{}", std::env::consts::EXE_SUFFIX));
        // Without a folder the shell has found this program, and finds the other. `cargo run` builds one of the two only.
        let edge = if folder.as_os_str().is_empty() || sibling.exists() {
            sibling.display().to_string()
        } else if folder.ends_with("release") {
            "cargo run --release -p pixgen-edge --".to_owned()
        } else {
            "pixgen-edge".to_owned()
        };
        Self { train: called.display().to_string(), edge }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minutes_are_those_of_the_machine() {
        // Both stages of the recipe in ten minutes: four minutes are asked for so many images.
        let usual = [600.0 / 960_000.0; 2];
        assert_eq!(minutes_to_recognise(&CLOTHES, usual), 4);
        // Ten times as slow.
        assert_eq!(minutes_to_recognise(&CLOTHES, usual.map(|seconds| 10.0 * seconds)), 30);
    }

    #[test]
    fn the_next_commands_are_those_of_the_reader() {
        let folder = tempfile::tempdir().unwrap();
        let called = |path: &Path| Programs::beside(Some(path.as_os_str()));
        assert_eq!(called(Path::new("pixgen-train")).edge, "pixgen-edge");
        assert_eq!(called(&folder.path().join("pixgen-train")).edge, "pixgen-edge");
        let release = folder.path().join("release");
        std::fs::create_dir_all(&release).unwrap();
        let program = release.join("pixgen-train");
        assert_eq!(called(&program).train, program.display().to_string());
        assert_eq!(called(&program).edge, "cargo run --release -p pixgen-edge --");
        std::fs::write(release.join("pixgen-edge"), "").unwrap();
        assert_eq!(called(&program).edge, release.join("pixgen-edge").display().to_string());
    }

    #[test]
    fn a_plan_is_read_back_and_nonsense_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(PLAN);
        assert_eq!(read_plan(&path).unwrap(), None);
        let plan = QuickstartPlan {
            minutes: 0.5,
            data: "bundled:avatars".to_owned(),
            pretrain_images: 2000,
            finetune_images: 3000,
        };
        std::fs::write(&path, toml::to_string(&plan).unwrap()).unwrap();
        assert_eq!(read_plan(&path).unwrap(), Some(plan));
        std::fs::write(&path, "minutes = 1.0\npretrain_images = 2000\nfinetune_images = 3000\n").unwrap();
        assert_eq!(read_plan(&path).unwrap().unwrap().data, "bundled");
        std::fs::write(&path, "minutes = 1").unwrap();
        assert!(read_plan(&path).unwrap_err().to_string().contains(PLAN));
    }
}
