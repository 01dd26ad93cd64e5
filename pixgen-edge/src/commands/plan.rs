//! `plan`: what a model takes on a chip, and on which boards it fits.

use crate::boards::{BOARDS, Board, board, instructions_per_mac};
use crate::cli::PlanArgs;
use crate::error::Error;
use crate::model_file::{Content, ModelFile};
use crate::npus::{NPUS, Npu, NpuFit, npu_fits};
use crate::offered::{board_names, meant_boards};
use crate::plan::{BATTERY, BOARD_COLUMNS, ChipPlan, Fit, file_len, fits, plan};
use crate::pxg_file::{PxgFile, is_pxg};
use crate::quantise::{QuantiseError, QuantiseOptions, class_lines, model_name};
use crate::terminal::{print_json, print_text};
use crate::units::format_bytes;
use pixgen_core::presets::{PRESETS, Preset, preset};
use pixgen_core::pxg::{Header, check_widths};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// What `--json` prints for a model.
#[derive(Debug, Serialize)]
struct PlanJson<'a> {
    /// Version of these keys.
    schema: u32,
    name: &'a str,
    #[serde(flatten)]
    plan: &'a ChipPlan,
    boards: Vec<Fit<'a>>,
    accelerators: Vec<NpuFit>,
}

/// What `--json` prints for a board.
#[derive(Debug, Serialize)]
struct BoardJson<'a> {
    /// Version of these keys.
    schema: u32,
    board: Board<'a>,
    presets: Vec<PresetFit<'a>>,
    accelerators: Vec<NpuFit>,
}

/// What `--json` prints for a board of which only the accelerator is planned for.
#[derive(Debug, Serialize)]
struct AcceleratorJson {
    /// Version of these keys.
    schema: u32,
    accelerators: Vec<NpuFit>,
}

/// A preset that fits.
#[derive(Debug, Serialize)]
struct PresetFit<'a> {
    preset: &'static str,
    about: &'static str,
    file_bytes: u64,
    workspace_bytes: u64,
    macs: u64,
    #[serde(flatten)]
    fit: Fit<'a>,
}

pub(super) fn run(args: &PlanArgs) -> Result<(), Error> {
    let boards = boards(args)?;
    match &args.model {
        Some(model) => plan_model(args, model, &boards),
        None => boards.first().map_or_else(|| accelerated(args), |board| presets_for(args, board)),
    }
}

/// The boards that are asked for, or all, with the current of the command line.
fn boards(args: &PlanArgs) -> Result<Vec<Board<'_>>, Error> {
    let boards = match (args.own.board(), &args.board) {
        (Some(own), _) => vec![own],
        (None, Some(name)) if !board_names().any(|known| known == name) => {
            return Err(unknown("board", name, meant_boards(name), board_names()));
        }
        (None, Some(name)) => match board(name) {
            Some(board) => vec![*board],
            None => return accelerator_only(args, name),
        },
        (None, None) => BOARDS.to_vec(),
    };
    let supply = args.own.supply();
    Ok(boards
        .into_iter()
        .map(|board| Board { supply: supply.or(board.supply), ..board })
        .collect())
}

/// No core is planned for, so that options of one are an error.
fn accelerator_only<'a>(args: &'a PlanArgs, name: &str) -> Result<Vec<Board<'a>>, Error> {
    let flags = [("--current", args.own.current.is_some()), ("--steps 2", args.steps != 1)];
    match flags.into_iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Error::AcceleratorOnly { flag, board: name.to_owned() }),
        None => Ok(Vec::new()),
    }
}

/// The accelerators of the boards that are asked for.
fn npus(args: &PlanArgs) -> impl Iterator<Item = &'static Npu> {
    NPUS.iter().filter(|npu| args.all_boards || args.board.as_deref() == Some(npu.board))
}

/// Lines about the accelerators that are asked for, under a head; nothing where there are none.
fn accelerators(args: &PlanArgs, fits: &[NpuFit], steps: usize) -> String {
    let mut text = String::new();
    if npus(args).next().is_none() {
        return text;
    }
    if steps != 1 {
        return "\nNo accelerators: the graphs for them draw in one step, and this is a plan of two.\n".to_owned();
    }
    text.push_str("\nAccelerators (docs/guides/onto-an-accelerator.md); nothing was run on one:\n");
    for fit in fits {
        let preset = fit.vela.as_ref().map_or("", |row| row.preset.as_str());
        let _ = writeln!(text, "  {preset:<14} {fit}"); // a String takes everything
    }
    let rows = || fits.iter().filter_map(|fit| fit.vela.as_ref());
    if let Some(row) = rows().next() {
        let systems: BTreeSet<String> = rows()
            .map(|row| {
                let kind = row.accelerator.split('-').nth(1).unwrap_or_default().to_uppercase();
                format!("{kind} {} with {}", row.system, row.memory)
            })
            .collect();
        let _ = writeln!(
            text,
            "Cycles are the estimate of Arm's compiler Vela {}, of a model with random weights, for one system of Arm's vela.ini:\n  {}\n\
             With other memories they are others. The file lies in flash, or in DRAM where the chip has it.",
            row.vela,
            Vec::from_iter(systems).join("; ")
        );
    }
    if fits.iter().any(|fit| fit.simulated.is_some()) {
        text.push_str(
            "Simulated are a few pictures of small-28-grey and small-32-rgb, trained (docs/guides/through-a-vendors-tools.md); other models differ.\n",
        );
    }
    text
}

/// The presets on the accelerators of the boards that are asked for: those of which Vela was asked, or one line for a vendor's tool.
fn preset_accelerators(args: &PlanArgs) -> Vec<NpuFit> {
    let of_preset = |preset: &Preset| npu_fits(&plan(&preset.model, usize::from(args.steps)), npus(args));
    let all = PRESETS.iter().flat_map(of_preset).filter(|fit| fit.vela.is_some());
    let tools = PRESETS.iter().take(1).flat_map(of_preset).filter(|fit| fit.simulated.is_some());
    all.chain(tools).collect()
}

/// The presets on a board of which only the accelerator is planned for.
fn accelerated(args: &PlanArgs) -> Result<(), Error> {
    let fits = preset_accelerators(args);
    if args.json {
        return Ok(print_json(&AcceleratorJson { schema: 1, accelerators: fits })?);
    }
    Ok(print_text(accelerators(args, &fits, 1).trim_start())?)
}

/// A model on boards.
fn plan_model(args: &PlanArgs, name: &str, boards: &[Board<'_>]) -> Result<(), Error> {
    let plan = read(name, args.steps)?;
    let fitting: Vec<Fit<'_>> = boards.iter().map(|board| fits(&plan, board)).collect();
    let listed = args.all_boards || args.board.is_some() || args.own.flash.is_some();
    if args.json {
        let boards = if listed { fitting } else { Vec::new() };
        return Ok(print_json(&PlanJson { schema: 1, name, plan: &plan, boards, accelerators: npu_fits(&plan, npus(args)) })?);
    }
    let model = &plan.model;
    let mut text = format!("{name}: {0}x{0}x{1}, {2} tokens\n{plan}\n", model.size, model.channels, model.tokens());
    if listed {
        if !fitting.is_empty() {
            let _ = writeln!(text, "\n  {BOARD_COLUMNS}"); // a String takes everything
            for fit in &fitting {
                let _ = writeln!(text, "  {fit}");
            }
            text.push_str(&assumptions(&fitting));
        }
        text.push_str(&accelerators(args, &npu_fits(&plan, npus(args)), plan.steps));
    } else {
        let fit = fitting.iter().filter(|fit| fit.fits).count();
        let _ = writeln!(text, "  boards     fits {fit} of {}; --all-boards lists them", fitting.len());
    }
    Ok(print_text(&text)?)
}

/// The presets that a board can hold, smallest first.
fn presets_for(args: &PlanArgs, board: &Board<'_>) -> Result<(), Error> {
    let mut presets = Vec::new();
    for preset in PRESETS {
        let plan = plan(&preset.model, usize::from(args.steps));
        let fit = fits(&plan, board);
        if fit.fits && check_widths(&preset.model).is_ok() {
            presets.push(PresetFit {
                preset: preset.name,
                about: preset.about,
                file_bytes: plan.file,
                workspace_bytes: plan.workspace,
                macs: plan.macs,
                fit,
            });
        }
    }
    presets.sort_by_key(|preset| preset.fit.flash_needed);
    if args.json {
        return Ok(print_json(&BoardJson { schema: 1, board: *board, presets, accelerators: preset_accelerators(args) })?);
    }
    let (flash, ram) = (format_bytes(board.flash), format_bytes(board.ram));
    let kept = board.system.map_or_else(String::new, |system| {
        let (flash, ram) = (format_bytes(system.flash), format_bytes(system.ram));
        format!("; {flash} and {ram} of them are kept for Linux")
    });
    let mut text = format!("{}: {}, {} MHz, {flash} of flash, {ram} of RAM{kept}\n\n", board.name, board.core.name(), board.mhz);
    let head = ["preset", "flash", "RAM", "picture", "longest slice", "energy", "per 1000 mAh"];
    // A String takes everything, here and below.
    let _ = writeln!(
        text,
        "  {:<14} {:>9} {:>9} {:>17} {:>16} {:>16} {:>14}",
        head[0], head[1], head[2], head[3], head[4], head[5], head[6]
    );
    for PresetFit { preset, about, fit, .. } in &presets {
        let (flash, ram) = (format_bytes(fit.flash_needed), format_bytes(fit.ram_needed));
        let (time, slice, energy, pictures) = (fit.time(), fit.slice_time(), fit.energy(), fit.pictures());
        let _ = writeln!(text, "  {preset:<14} {flash:>9} {ram:>9} {time:>17} {slice:>16} {energy:>16} {pictures:>14}   {about}");
    }
    let _ = writeln!(text, "\n  {} of {} presets fit, with 10 classes or as many as the paper's", presets.len(), PRESETS.len());
    if presets.is_empty() {
        let least = PRESETS
            .iter()
            .map(|preset| plan(&preset.model, usize::from(args.steps)))
            .map(|plan| fits(&plan, board));
        if let Some(least) = least.min_by_key(|fit| fit.flash_needed) {
            let (flash, ram) = (format_bytes(least.flash_needed), format_bytes(least.ram_needed));
            let _ = writeln!(text, "  The smallest takes {flash} of flash and {ram} of RAM{}", fewer_classes(&least));
        }
    } else {
        let fits: Vec<Fit<'_>> = presets.into_iter().map(|preset| preset.fit).collect();
        text.push_str(&assumptions(&fits));
    }
    text.push_str(&accelerators(args, &preset_accelerators(args), usize::from(args.steps)));
    Ok(print_text(&text)?)
}

/// What helps where the flash is too small. Nothing makes the RAM of a preset smaller.
fn fewer_classes(least: &Fit<'_>) -> &'static str {
    let lacks = least.flash_needed > least.board.free_flash();
    if lacks {
        "; fewer classes take less flash (`export --classes`)"
    } else {
        ""
    }
}

/// What the times rest on.
fn assumptions(fits: &[Fit<'_>]) -> String {
    let mut text = "\nTimes are estimates, MACs x instructions per MAC x cycles per instruction / clock, on one core:\n".to_owned();
    let mut seen = Vec::new();
    for fit in fits {
        let [low, high] = fit.board.cycles_per_instruction();
        let line = format!(
            "  {:<10} {:<8} {:.2} instructions per MAC, {low:.2} to {high:.2} cycles per instruction ({})",
            fit.board.core.name(),
            fit.kernel.name(),
            instructions_per_mac(fit.kernel),
            fit.board.weights.name(),
        );
        if !seen.contains(&line) {
            let _ = writeln!(text, "{line}"); // a String takes everything
            seen.push(line);
        }
    }
    text.push_str("Instructions were counted in an emulator, with the quick start's model; cycles are assumed.\n");
    if fits.iter().any(|fit| fit.board.system.is_none()) {
        text.push_str("RAM is the largest block without a gap, with nothing else in it.\n");
    }
    text.push_str(&kept_for_systems(fits));
    let supplies = fits.iter().filter_map(|fit| fit.board.supply.map(|supply| (fit.board.name, supply)));
    let mut seen: Vec<String> = supplies
        .map(|(name, supply)| format!("{name} {} mA at {} V", supply.milliamperes, supply.volts))
        .collect();
    seen.dedup();
    if seen.is_empty() {
        let one = fits.iter().all(|fit| Some(fit.board.name) == fits.first().map(|first| first.board.name));
        let boards = if one { "this board" } else { "these boards" };
        let _ = writeln!(text, "No energy: no current of {boards} is known; give it with --current 12mA and --voltage.");
    } else {
        let _ = writeln!(
            text,
            "Energies are estimates, time x current x voltage of the chip alone; so are the pictures from a battery of {BATTERY:.0} mAh:\n  {}",
            seen.join("; ")
        );
    }
    text
}

/// What is kept for Linux on boards that run it.
fn kept_for_systems(fits: &[Fit<'_>]) -> String {
    let boards = fits.iter().filter_map(|fit| fit.board.system.map(|system| (fit.board.name, system)));
    let mut kept: Vec<String> = boards
        .map(|(name, system)| format!("{name} {} of RAM, {} of the card", format_bytes(system.ram), format_bytes(system.flash)))
        .collect();
    kept.dedup();
    if kept.is_empty() {
        return String::new();
    }
    format!("Assumed and kept for Linux, so shares are of the rest:\n  {}\n", kept.join("\n  "))
}

/// The plan of a `.pxg` file, a model file, a run folder or a preset.
fn read(model: &str, steps: u8) -> Result<ChipPlan, Error> {
    let path = Path::new(model);
    if !path.exists() {
        let Some(preset) = preset(model) else {
            return Err(unknown("file or preset", model, Vec::new(), PRESETS.iter().map(|preset| preset.name)));
        };
        return Ok(plan(&preset.model, usize::from(steps)));
    }
    if is_pxg(path) {
        let file = PxgFile::load(path)?;
        let read = file.model()?;
        return Ok(ChipPlan { file: read.file_len() as u64, ..plan(read.config(), read.steps()) });
    }
    let file = ModelFile::load_content(path, Content::Generator)?;
    let header = &file.header;
    check_widths(&header.model).map_err(QuantiseError::from)?;
    // As `export` writes it when it is asked for nothing special.
    let class_names = class_lines(&file, &(0..header.model.classes).collect::<Vec<_>>())?;
    let exported = Header {
        model: header.model,
        steps,
        skips_input: false,
        tests: QuantiseOptions::default().tests,
        name: &model_name(&file),
        class_names: &class_names,
        images: header.images,
        source: crc32fast::hash(bytemuck::cast_slice(&file.params)),
    };
    Ok(ChipPlan { file: file_len(&exported), ..plan(&header.model, usize::from(steps)) })
}

/// A name that is not in a table, with those that may be meant, or else with the nearest.
fn unknown<'a>(kind: &str, name: &str, mut near: Vec<&'a str>, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    if near.is_empty() {
        let likeness = |known: &str| strsim::jaro_winkler(known, &name.to_lowercase());
        let nearest = known.clone().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        near.extend(nearest.filter(|nearest| likeness(nearest) > 0.8));
    }
    Error::NoName {
        kind: kind.to_owned(),
        name: name.to_owned(),
        near: near.into_iter().map(str::to_owned).collect(),
        known: known.map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::normalise::Normalisation;
    use crate::param_set::ParamSet;
    use crate::{model_file, quantise};
    use pixgen_core::noise::{NoiseConfig, Parametrisation};

    #[test]
    fn a_model_file_is_as_long_as_its_export() {
        let model = preset("nano-28-grey").unwrap().model;
        let set = ParamSet::generator(&model);
        let header = model_file::ModelHeader {
            format: model_file::FORMAT,
            content: Content::Generator,
            model,
            noise: NoiseConfig::with_shift(1.0),
            parametrisation: Parametrisation::Edm,
            normalisation: Normalisation::simple(),
            projector: None,
            ema: "raw".into(),
            images: 123_456_789,
            seed: 1,
            data: "none".into(),
            class_names: vec!["shirt".into(), "trousers".into()],
        };
        // Nothing stays zero, as after training.
        let params = set
            .initialise(3)
            .iter()
            .enumerate()
            .map(|(i, value)| value + 1e-4 * (i % 199) as f32)
            .collect();
        let file = ModelFile { header, params, set, statistics: None };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, file.to_bytes().unwrap()).unwrap();
        for steps in 1..=2 {
            let options = QuantiseOptions {
                pictures: 10,
                steps: usize::from(steps),
                name: model_name(&file),
                ..QuantiseOptions::default()
            };
            let exported = quantise::export(&file, None, &options).unwrap();
            assert_eq!(read(path.to_str().unwrap(), steps).unwrap().file, exported.bytes.len() as u64, "{steps} steps");
            let pxg = folder.path().join("model.pxg");
            std::fs::write(&pxg, &exported.bytes).unwrap();
            let from_pxg = read(pxg.to_str().unwrap(), 1).unwrap();
            assert_eq!((from_pxg.file, from_pxg.steps), (exported.bytes.len() as u64, usize::from(steps)));
        }
    }

    #[test]
    fn unknown_names_get_a_suggestion() {
        let error = unknown("board", "pico3", Vec::new(), BOARDS.iter().map(|board| board.name));
        assert_eq!(error.to_string(), "there is no board `pico3`");
        let hint = error.hint().unwrap();
        assert!(hint.starts_with("did you mean `pico`?") || hint.starts_with("did you mean `pico2`?"), "{hint}");
        assert!(hint.contains("nucleo-h743zi"), "{hint}");
        let hint = unknown("board", "commodore", Vec::new(), BOARDS.iter().map(|board| board.name))
            .hint()
            .unwrap();
        assert!(hint.starts_with("there are: "), "{hint}");
        let hint = unknown("board", "alif", meant_boards("alif"), board_names()).hint().unwrap();
        assert!(
            hint.starts_with("did you mean `ensemble-e7-devkit` or `ensemble-e3-devkit` or `ensemble-e8-devkit`? There are: pico, "),
            "{hint}"
        );
    }
}
