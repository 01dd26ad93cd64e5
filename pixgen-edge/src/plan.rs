//! What a model takes on a chip, before anything is flashed: bytes of flash and RAM, exact where they can be, and estimated time.

use crate::boards::{Board, ChipKernel, Supply, instructions_per_mac};
use crate::units::{counted, format_duration};
use pixgen_core::ALIGN;
use pixgen_core::config::ModelConfig;
use pixgen_core::integer::plan::plan_sites;
use pixgen_core::params::{Layer, Site};
use pixgen_core::pxg::layout::Layout;
use pixgen_core::pxg::{Header, PREFIX_LEN};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Bytes of flash of firmware without its model, at most: that of `firmware-examples/qemu`, start-up code and log included, takes 76.5 KiB
/// on RV32IMC, 77 KiB on a Cortex-M4 and 80.6 KiB on a Cortex-M0+. Drivers of a display come on top.
pub const CODE: u64 = 82 * 1024;

/// Bytes of stack of that firmware, at most: what its linker keeps free. Up to 5,116 were used (`tests/budgets.json`).
pub const STACK: u64 = 6656;

/// What a model takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChipPlan {
    /// Architecture.
    pub model: ModelConfig,
    /// Evaluations of the network for a picture.
    pub steps: usize,
    /// Bytes of the `.pxg` file.
    #[serde(rename = "file_bytes")]
    pub file: u64,
    /// Bytes of code, at most.
    #[serde(rename = "code_bytes")]
    pub code: u64,
    /// Bytes of workspace, exact.
    #[serde(rename = "workspace_bytes")]
    pub workspace: u64,
    /// Bytes of stack, at most.
    #[serde(rename = "stack_bytes")]
    pub stack: u64,
    /// Multiply-accumulates of a picture.
    pub macs: u64,
    /// Slices of a picture that is drawn in slices.
    pub slices: usize,
    /// The longest of them, in multiply-accumulates or what takes as long.
    #[serde(rename = "longest_slice_macs")]
    pub longest_slice: u64,
    /// The calls of one evaluation, in order.
    pub sites: Vec<SiteRow>,
}

/// A call of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SiteRow {
    /// Name.
    pub site: String,
    /// The block that it belongs to; its own name outside blocks.
    #[serde(skip)]
    pub group: String,
    /// Bytes of the file that only this call reads.
    #[serde(rename = "flash_bytes")]
    pub flash: u64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of workspace in use at most.
    #[serde(rename = "workspace_bytes")]
    pub workspace: u64,
}

/// Counts a picture drawn in `steps` steps. The file is taken to hold no self-test vectors and no names; [`file_len`] tells the length
/// of one that does.
pub fn plan(config: &ModelConfig, steps: usize) -> ChipPlan {
    let mut sites = Vec::new();
    let totals = plan_sites(config, steps, &mut |cost| {
        sites.push(SiteRow {
            site: cost.site.name().as_str().to_owned(),
            group: group(cost.site),
            flash: cost.flash,
            macs: cost.macs,
            workspace: cost.workspace as u64,
        });
    });
    let header = Header {
        model: *config,
        steps: u8::try_from(steps).unwrap_or(u8::MAX),
        skips_input: false,
        tests: 0,
        name: "",
        class_names: "",
        images: 0,
        source: 0,
    };
    ChipPlan {
        model: *config,
        steps,
        file: file_len(&header),
        code: CODE,
        workspace: totals.workspace as u64,
        stack: STACK,
        macs: totals.macs,
        slices: totals.slices,
        longest_slice: totals.longest_slice,
        sites,
    }
}

/// Bytes of the `.pxg` file with this header.
pub fn file_len(header: &Header<'_>) -> u64 {
    let encoded = postcard::experimental::serialized_size(header).unwrap_or_default(); // plain data: it has a size
    let body_start = (PREFIX_LEN + encoded).next_multiple_of(ALIGN) as u64;
    body_start + Layout::new(&header.model, usize::from(header.steps)).body_len(usize::from(header.tests))
}

/// `encoder.blocks.3` for the calls of a block.
fn group(site: Site) -> String {
    let name = site.name();
    let parts: Vec<&str> = name.split('.').collect();
    match parts[..] {
        [side, "blocks", block, ..] if site.layer != Layer::Position => format!("{side}.blocks.{block}"),
        _ => name.as_str().to_owned(),
    }
}

/// How a plan lies in a board.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fit<'a> {
    /// The board.
    #[serde(flatten)]
    pub board: Board<'a>,
    /// The kernel that is counted with.
    pub kernel: ChipKernel,
    /// True when flash and RAM suffice.
    pub fits: bool,
    /// Bytes of flash needed: file and code.
    #[serde(rename = "flash_needed_bytes")]
    pub flash_needed: u64,
    /// Bytes of RAM needed: workspace and stack, and under Linux the file and its packed weights.
    #[serde(rename = "ram_needed_bytes")]
    pub ram_needed: u64,
    /// Instructions of a picture, estimated.
    pub instructions: u64,
    /// Seconds of a picture, from and to, estimated.
    pub seconds: [f64; 2],
    /// Seconds of the longest slice, from and to, estimated; none under Linux, where slices have no use.
    pub slice_seconds: Option<[f64; 2]>,
    /// What a picture takes from the supply, estimated; none for a board whose current is not known.
    pub energy: Option<Energy>,
}

/// Energy of a picture, estimated from a current of the data sheet and the estimated time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Energy {
    /// Millijoules, from and to.
    pub millijoules: [f64; 2],
    /// Pictures that a battery of [`BATTERY`] mAh at the voltage of the current lasts for, from and to, with nothing else on it.
    pub pictures_per_battery: [f64; 2],
}

/// Charge of the battery that pictures are counted for, mAh.
pub const BATTERY: f64 = 1000.0;

/// Energy of pictures that take `seconds`.
fn energy(supply: Supply, seconds: [f64; 2]) -> Energy {
    let charge = seconds.map(|seconds| supply.milliamperes * seconds); // mA s
    let [most, least] = charge.map(|charge| 3600.0 * BATTERY / charge);
    Energy {
        millijoules: charge.map(|charge| charge * supply.volts),
        pictures_per_battery: [least, most],
    }
}

/// Compares a plan with a board: `MACs * instructions per MAC * cycles per instruction / clock`, on one core.
pub fn fits<'a>(plan: &ChipPlan, board: &Board<'a>) -> Fit<'a> {
    let kernel = board.core.kernel();
    let linux = board.core.runs_linux();
    let loaded = match (linux, kernel) {
        (false, _) => 0,
        (true, ChipKernel::Portable) => plan.file,
        // The packed weights are about as many bytes.
        (true, _) => 2 * plan.file,
    };
    let (flash_needed, ram_needed) = (plan.file + plan.code, plan.workspace + plan.stack + loaded);
    let instructions = plan.macs as f64 * instructions_per_mac(kernel);
    let time = |macs: u64| {
        let instructions = macs as f64 * instructions_per_mac(kernel);
        board.cycles_per_instruction().map(|cycles| instructions * cycles / (1e6 * board.mhz))
    };
    let seconds = time(plan.macs);
    Fit {
        board: *board,
        kernel,
        fits: flash_needed <= board.free_flash() && ram_needed <= board.free_ram(),
        flash_needed,
        ram_needed,
        instructions: instructions as u64,
        seconds,
        slice_seconds: (!linux).then(|| time(plan.longest_slice)),
        energy: board.supply.map(|supply| energy(supply, seconds)),
    }
}

/// Rounded up: what does not fit takes more than 100 %.
fn share(needed: u64, have: u64) -> String {
    format!("{} %", (100 * needed).div_ceil(have.max(1)))
}

impl Fit<'_> {
    /// `fits`, or what is missing.
    pub fn verdict(&self) -> String {
        let missing = |needed: u64, have: u64, what: &str| {
            let kib = needed.saturating_sub(have).div_ceil(1024);
            (kib > 0).then(|| format!("{kib} KiB of {what}"))
        };
        let flash = missing(self.flash_needed, self.board.free_flash(), "flash");
        let ram = missing(self.ram_needed, self.board.free_ram(), "RAM");
        let missing: Vec<String> = flash.into_iter().chain(ram).collect();
        if missing.is_empty() {
            "fits".to_owned()
        } else {
            format!("does not fit, by {}", missing.join(" and "))
        }
    }

    /// A short line: `pico2: fits, 15 % of flash, 4 % of RAM, 84-123 ms a picture`.
    pub fn summary(&self) -> String {
        let flash = share(self.flash_needed, self.board.free_flash());
        let ram = share(self.ram_needed, self.board.free_ram());
        format!("{}: {}, {flash} of flash, {ram} of RAM, {} a picture", self.board.name, self.verdict(), self.time())
    }

    /// Time of a picture: `140-170 ms`.
    pub fn time(&self) -> String {
        span_of(self.seconds)
    }

    /// Time of the longest slice, or `-`.
    pub fn slice_time(&self) -> String {
        self.slice_seconds.map_or_else(|| "-".to_owned(), span_of)
    }

    /// `0.34-0.41 mJ`, or `-` where no current is known.
    pub fn energy(&self) -> String {
        self.energy
            .map_or_else(|| "-".to_owned(), |energy| format!("{} mJ", range(energy.millijoules)))
    }

    /// `8.8-11 M`, or `-` where no current is known.
    pub fn pictures(&self) -> String {
        let Some(energy) = self.energy else { return "-".to_owned() };
        let [least, most] = energy.pictures_per_battery;
        let (scale, unit) = match least {
            1e6.. => (1e6, " M"),
            1e4.. => (1e3, " k"),
            _ => (1.0, ""),
        };
        format!("{}{unit}", range([least / scale, most / scale]))
    }
}

/// Two numbers in two or three digits.
fn range([low, high]: [f64; 2]) -> String {
    match high {
        ..1.0 => format!("{low:.2}-{high:.2}"),
        ..10.0 => format!("{low:.1}-{high:.1}"),
        _ => format!("{low:.0}-{high:.0}"),
    }
}

/// `140-170 ms`.
fn span_of([low, high]: [f64; 2]) -> String {
    match high {
        ..0.1 => format!("{:.1}-{:.1} ms", 1e3 * low, 1e3 * high),
        ..1.0 => format!("{:.0}-{:.0} ms", 1e3 * low, 1e3 * high),
        ..10.0 => format!("{low:.2}-{high:.2} s"),
        _ => {
            let [low, high] = [low, high].map(|seconds| format_duration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9))));
            format!("{low} to {high}")
        }
    }
}

/// Heads of the columns of a table of boards.
pub const BOARD_COLUMNS: &str = "board                 chip          core                   of flash     of RAM           picture    longest slice           energy   per 1000 mAh";

/// One line of a table of boards.
impl fmt::Display for Fit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = format!("{} {} MHz", self.board.core.name(), self.board.mhz);
        write!(
            f,
            "{:<21} {:<13} {core:<19} {:>11} {:>10} {:>17} {:>16} {:>16} {:>14}   {}",
            self.board.name,
            self.board.chip,
            share(self.flash_needed, self.board.free_flash()),
            share(self.ram_needed, self.board.free_ram()),
            self.time(),
            self.slice_time(),
            self.energy(),
            self.pictures(),
            self.verdict()
        )
    }
}

/// Blocks and totals.
impl fmt::Display for ChipPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<24} {:>12} {:>14} {:>13}", "", "flash B", "MACs", "workspace B")?;
        for rows in self.sites.chunk_by(|a, b| a.group == b.group) {
            let (flash, macs): (u64, u64) = (rows.iter().map(|row| row.flash).sum(), rows.iter().map(|row| row.macs).sum());
            let workspace = rows.iter().map(|row| row.workspace).max().unwrap_or_default();
            let group = rows.first().map_or("", |row| &row.group);
            writeln!(f, "  {group:<24} {flash:>12} {macs:>14} {workspace:>13}")?;
        }
        let weights: u64 = self.sites.iter().map(|row| row.flash).sum();
        writeln!(f, "  {:<24} {:>12}", "prefix, header, tests", self.file - weights)?;
        writeln!(f, "\n  file       {} bytes", self.file)?;
        writeln!(f, "  code       at most {} KiB on a chip, linked with --gc-sections, without drivers", self.code / 1024)?;
        writeln!(f, "  workspace  {} bytes, exact", self.workspace)?;
        writeln!(f, "  stack      at most {} bytes", self.stack)?;
        writeln!(f, "  picture    {:.3} M MACs in {}", self.macs as f64 / 1e6, counted(self.steps, "step", "steps"))?;
        write!(f, "  in slices  {} on a chip, the longest of {:.3} M MACs", self.slices, self.longest_slice as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligned::AlignedBytes;
    use crate::boards::BOARDS;
    use pixgen_core::integer::Prepared;
    use pixgen_core::presets::{PRESETS, preset};
    use pixgen_core::pxg::{Model, encode};

    /// One for each class.
    const NAMES: &str = "shirt\ntrousers\n\n\n\n\n\n\n\nboot";

    #[test]
    fn file_and_workspace_are_those_of_an_encoded_file() {
        for (name, steps, tests, names) in [("nano-28-grey", 1, 0, ""), ("nano-16-rgb", 2, 4, NAMES)] {
            let model = preset(name).unwrap().model;
            let header = Header {
                model,
                steps,
                skips_input: true,
                tests,
                name,
                class_names: names,
                images: 1 << 40,
                source: 7,
            };
            let layout = Layout::new(&model, usize::from(steps));
            let body = vec![0; layout.body_len(usize::from(tests)) as usize];
            let mut bytes = AlignedBytes::zeroed(body.len() + 1024);
            let bytes = bytes.bytes_mut();
            let len = encode(&header, &body, bytes).unwrap();
            assert_eq!(file_len(&header), len as u64, "{name}");

            let read = Model::read(&bytes[..len]).unwrap();
            let plan = plan(&model, usize::from(steps));
            assert_eq!(plan.workspace, read.workspace_len() as u64, "{name}");
            let bare = Header { tests: 0, name: "", class_names: "", images: 0, source: 0, ..header };
            assert_eq!(plan.file, encode(&bare, &body[..layout.body_len(0) as usize], bytes).unwrap() as u64, "{name}");
        }
    }

    /// What a Linux board loads: the file, and the packed weights with the scratch of a picture for all kernels but the portable one.
    #[test]
    fn packed_weights_take_what_is_planned() {
        let bytes = include_bytes!("../../firmware-examples/models/nano-28-grey.pxg");
        let mut memory = AlignedBytes::zeroed(bytes.len());
        memory.bytes_mut().copy_from_slice(bytes);
        let model = Model::read(memory.bytes()).unwrap();
        let plan = plan(model.config(), 1);
        let packed = Prepared::panels_len(&model) + Prepared::scratch_len(&model);
        let needed = |name| fits(&plan, crate::boards::board(name).unwrap()).ram_needed - plan.workspace - plan.stack;
        assert!(needed("raspberry-pi-5") >= plan.file + packed as u64, "{packed} bytes packed of {}", plan.file);
        assert_eq!(needed("visionfive-2"), plan.file);
        assert_eq!(needed("pico2"), 0);
    }

    /// A model that would take the RAM to the last megabyte leaves none for the system.
    #[test]
    fn linux_keeps_its_share() {
        let board = crate::boards::board("imx93-evk").unwrap();
        let mut plan = plan(&preset("EPG-XXL-16-256").unwrap().model, 1);
        let fit = fits(&plan, board);
        assert!(fit.ram_needed < board.ram && !fit.fits, "{}", fit.summary());
        plan.workspace -= fit.ram_needed - board.free_ram();
        assert!(fits(&plan, board).fits);
        plan.workspace += 1;
        assert_eq!(fits(&plan, board).verdict(), "does not fit, by 1 KiB of RAM");
    }

    #[test]
    fn one_byte_decides() {
        let board = crate::boards::board("nucleo-f411re").unwrap();
        let mut plan = plan(&preset("nano-28-grey").unwrap().model, 1);
        assert_eq!(fits(&plan, board).verdict(), "fits");
        (plan.file, plan.workspace) = (board.flash - plan.code, board.ram - plan.stack);
        assert!(fits(&plan, board).fits);
        assert_eq!(fits(&plan, board).verdict(), "fits");
        plan.file += 1;
        assert!(!fits(&plan, board).fits);
        assert_eq!(fits(&plan, board).verdict(), "does not fit, by 1 KiB of flash");
        plan.workspace += 1025;
        assert_eq!(fits(&plan, board).verdict(), "does not fit, by 1 KiB of flash and 2 KiB of RAM");
        plan.file -= 1;
        assert!(!fits(&plan, board).fits);
        assert_eq!(fits(&plan, board).verdict(), "does not fit, by 2 KiB of RAM");
    }

    #[test]
    fn every_preset_on_every_board() {
        for preset in PRESETS {
            for steps in 1..=2 {
                let plan = plan(&preset.model, steps);
                assert!(plan.to_string().contains("decoder.blocks.0 "), "{}", preset.name);
                for board in BOARDS {
                    let fit = fits(&plan, board);
                    assert_eq!(fit.fits, fit.verdict() == "fits", "{} {}", preset.name, board.name);
                    assert!(board.chip.len() <= 13, "{}", board.chip);
                    assert!(0.0 < fit.seconds[0] && fit.seconds[0] < fit.seconds[1] && !fit.to_string().is_empty());
                }
            }
        }
    }

    /// 256 KiB of flash, 128 KiB of RAM: what the smallest preset is for.
    #[test]
    fn the_smallest_preset_is_small() {
        let plan = plan(&preset("nano-28-grey").unwrap().model, 1);
        assert!(plan.file < 256 * 1024 && plan.workspace < 32 * 1024, "{plan}");
    }
}
