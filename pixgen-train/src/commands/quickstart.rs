//! `quickstart`: bundled data, stages 1, 2b and 3, a grid, a model file and a short report.

use super::quickstart_plan::{MOST_MINUTES, STAGES, planned, recipe, requirements, runs};
use super::quickstart_quality::QuickstartQuality;
use crate::cli::QuickstartArgs;
use crate::config::RunConfig;
use crate::device::OnDevice;
use crate::error::Error;
use crate::prepared::{self, Prepared};
use crate::sampling::{Drawing, Generator, SampleRequest};
use crate::session::{self, End, SessionOptions};
use crate::training::Engine;
use pixgen_core::pxg::Model;
use pixgen_edge::aligned::AlignedBytes;
use pixgen_edge::atomic::{make_folder, write_atomic};
use pixgen_edge::boards::board;
use pixgen_edge::file_error::FileError;
use pixgen_edge::interrupt::{self, Interrupt};
use pixgen_edge::model_file::{Content, ModelFile};
use pixgen_edge::output;
use pixgen_edge::picture::{Grid, Picture};
use pixgen_edge::plan::{fits, plan};
use pixgen_edge::pxg_file::{self, PxgFormat};
use pixgen_edge::quantise::draw::{draw_integer, requests};
use pixgen_edge::quantise::{self, QuantiseError, model_name};
use pixgen_edge::terminal::{note, print_json, print_text};
use pixgen_edge::units::{format_bytes, format_duration, format_images};
use serde::Serialize;
use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Boards of the final plan; `pixgen-edge plan --all-boards` has more.
const BOARDS: [&str; 3] = ["pico2", "nrf52840-dk", "esp32-c3-devkitm-1"];

/// The report's numbers.
#[derive(Serialize)]
struct QuickstartReport {
    #[serde(flatten)]
    quality: QuickstartQuality,
    pretrain_images: u64,
    finetune_images: u64,
    drift_images: u64,
    seconds: f64,
}

/// Runs or resumes the quick start.
pub(super) fn run(args: &QuickstartArgs, quiet: bool) -> Result<End, Error> {
    let minutes = args.minutes.unwrap_or(args.recipe.minutes());
    if !(minutes > 0.0 && minutes <= MOST_MINUTES) {
        return Err(Error::Argument {
            what: format!("--minutes {minutes}: not a number above 0 and up to {MOST_MINUTES}"),
            hint: Some(format!("for example --minutes {}", args.recipe.minutes())),
        });
    }
    output::refuse_stdout("--out", &args.out, "writes a folder")?;
    let device = args.device.choice()?;
    let configs = recipe(args, minutes, device)?;
    let requirements = requirements(&configs)?;
    device.run(requirements, Work { args, quiet, configs })?
}

/// All stages and the report, on one device.
struct Work<'a> {
    args: &'a QuickstartArgs,
    quiet: bool,
    configs: [RunConfig; 3],
}

impl OnDevice for Work<'_> {
    type Output = Result<End, Error>;

    fn run<B: Engine>(self, device: &B::Device) -> Result<End, Error> {
        let Self { args, quiet, configs } = self;
        let started = Instant::now();
        let [encoder, generator, drift] = planned::<B>(configs, args, quiet, device)?;
        let [encoder_run, generator_run, drift_run] = runs(&args.out);
        let train = |number: usize, what: &str, config: RunConfig, run: &Path| {
            note(&format!("stage {number} of 3: {what}"));
            let options = SessionOptions {
                quiet,
                title: format!("{number}/3 {}", STAGES[number - 1].1),
                interrupt: Interrupt::listen(),
                ..SessionOptions::default()
            };
            let prepared = prepared::prepare_in(config, Some(run))?;
            let end = session::train::<B>(&prepared, run, &options, device)?;
            interrupt::saved(&format!("{number} of 3 stages in {}", args.out.display()));
            Ok::<_, Error>((end, prepared))
        };
        let (end, _) = train(1, "pre-training the encoder without labels", encoder, &encoder_run)?;
        if end != End::Finished {
            return Ok(end);
        }
        let generator = RunConfig { encoder: encoder_run.display().to_string(), ..generator };
        let (end, _) = train(2, "consistency training of the one-step generator", generator, &generator_run)?;
        if end != End::Finished {
            return Ok(end);
        }
        let drift = RunConfig { from: generator_run.display().to_string(), ..drift };
        let (end, prepared) = train(3, "matching its pictures with real ones", drift, &drift_run)?;
        if end == End::Finished {
            report::<B>(args, &prepared, started.elapsed(), device)?;
        }
        Ok(end)
    }
}

/// The final grid, the model file beside it, and the numbers.
fn report<B: Engine>(args: &QuickstartArgs, prepared: &Prepared, took: Duration, device: &B::Device) -> Result<(), Error> {
    let [encoder, generator, run] = runs(&args.out);
    let file = ModelFile::load_content(&run, Content::Generator)?;
    let model = &file.header.model;
    let classes: Vec<usize> = (0..10 * model.classes).map(|i| i % model.classes).collect();
    let samples = args.out.join("samples");
    make_folder(&samples).map_err(FileError::write(&samples))?;
    let wanted = SampleRequest { seed: args.seed, first: 0, classes: &classes, drawing: Drawing::Consistency { steps: 1 } };
    let drawn = Generator::from(&file).draw::<B>(&file.params, None, device, &wanted);
    let grid = Grid { columns: model.classes, scale: 2 };
    let names: Vec<&String> = classes.iter().filter_map(|&class| file.header.class_names.get(class)).collect();
    grid.save_named(&samples.join("grid.png"), &Picture::squares(&drawn, model.size, model.channels)?, &names)?;
    prepared::save_model(&file, &args.out.join("model.safetensors"))?;
    let chip = for_chips(args, &file, &classes, &drawn, &samples)?;

    let quality = QuickstartQuality::new::<B>(&args.out.display().to_string(), &file, prepared, device)?;
    let encoder = ModelFile::load_content(&encoder, Content::Encoder)?;
    let generator = ModelFile::load_content(&generator, Content::Generator)?;
    let programs = Programs::beside(std::env::args_os().next().as_deref());
    let more = if quality.is_partial() {
        let (program, run) = (&programs.train, run.display());
        format!("            {program} data get efficientnet-lite0 && {program} eval {run}\n")
    } else {
        String::new()
    };
    let text = format!(
        "images      {}, {} and {} in stages 1 to 3, {} in this call\n{}\n\
         grid        {}\nmodel       {}\n{}\
         next        {} sample {} --class {} --seed 7\n            {} plan {} --all-boards\n{more}",
        format_images(encoder.header.images),
        format_images(generator.header.images),
        format_images(file.header.images),
        format_duration(took),
        quality,
        samples.join("grid.png").display(),
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
        finetune_images: generator.header.images,
        drift_images: file.header.images,
        seconds: took.as_secs_f64(),
    };
    write_atomic(&args.out.join("report.json"), |out| Ok(serde_json::to_writer_pretty(out, &report)?))?;
    write_atomic(&args.out.join("report.txt"), |out| out.write_all(text.as_bytes()))?;
    if args.json {
        print_json(&report)?;
    } else {
        print_text(&text)?;
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
}
