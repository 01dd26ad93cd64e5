//! Accelerators of boards: what Arm's compiler Vela says of the presets on an Ethos-U, and the tool chains through which others are reached.
//!
//! Nothing of this was run on a board: cycles are Vela's estimate, of models with random weights. `tests/gen/ethos_u.py` makes the table,
//! and `tests/run.sh tflite` holds it to 1 %.

use crate::boards::board;
use crate::onnx::OnnxTarget;
use crate::plan::ChipPlan;
use crate::units::format_bytes;
use pixgen_core::presets::PRESETS;
use serde::{Deserialize, Serialize};
use std::fmt;

const TABLE: &str = include_str!("ethos_u.json");

/// An accelerator of a board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Npu {
    /// Name of the board; in [`BOARDS`](crate::boards::BOARDS) too where its core is planned for.
    pub board: &'static str,
    /// The chip.
    pub chip: &'static str,
    /// How a model gets there.
    pub route: NpuRoute,
    /// Where the configuration and the clock come from.
    pub source: &'static str,
}

/// How a model gets onto an accelerator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NpuRoute {
    /// `pixgen-edge tflite` and Vela.
    EthosU {
        /// Vela's name of the configuration.
        accelerator: &'static str,
        /// Its clock, MHz.
        mhz: f64,
    },
    /// `pixgen-edge onnx --target` and the vendor's tool chain.
    Tool {
        /// The target.
        target: OnnxTarget,
        /// How far its simulator's pictures of trained models were off.
        simulated: &'static str,
    },
}

use NpuRoute::{EthosU, Tool};
use OnnxTarget::{Esp, Nncase, Rknn, TpuMlir};

/// All of them, by route.
#[rustfmt::skip]
pub const NPUS: &[Npu] = &[
    Npu { board: "ensemble-e3-devkit", chip: "Alif E3",      route: EthosU { accelerator: "ethos-u55-256", mhz: 400.0 },  source: "Alif, Ensemble E3 Datasheet" },
    Npu { board: "ensemble-e7-devkit", chip: "Alif E7",      route: EthosU { accelerator: "ethos-u55-256", mhz: 400.0 },  source: "Alif, Ensemble E7 Datasheet" },
    Npu { board: "ensemble-e8-devkit", chip: "Alif E8",      route: EthosU { accelerator: "ethos-u85-256", mhz: 400.0 },  source: "Alif, Ensemble E8 Datasheet" },
    Npu { board: "grove-vision-ai-v2", chip: "Himax WE2",    route: EthosU { accelerator: "ethos-u55-64",  mhz: 400.0 },  source: "Himax, WiseEye2 HX6538; Seeed, Grove Vision AI V2" },
    Npu { board: "kit-pse84-eval",     chip: "PSoC Edge E84", route: EthosU { accelerator: "ethos-u55-128", mhz: 400.0 }, source: "Infineon, PSOC Edge E8x Datasheet" },
    Npu { board: "ek-ra8p1",           chip: "RA8P1",        route: EthosU { accelerator: "ethos-u55-256", mhz: 500.0 },  source: "Renesas, RA8P1 Datasheet" },
    Npu { board: "numaker-m55m1",      chip: "M55M1",        route: EthosU { accelerator: "ethos-u55-256", mhz: 220.0 },  source: "Nuvoton, M55M1 Datasheet" },
    Npu { board: "imx93-evk",          chip: "i.MX 93",      route: EthosU { accelerator: "ethos-u65-256", mhz: 1000.0 }, source: "NXP, IMX93CEC" },
    Npu { board: "rock-5b",            chip: "RK3588",       route: Tool { target: Rknn,    simulated: "at most 3 grey levels off in float, 3 to 5 in the mean in w8a8" }, source: "rknn-toolkit2 2.5.0" },
    Npu { board: "rv1126b-evb",        chip: "RV1126B",      route: Tool { target: Rknn,    simulated: "at most 3 grey levels off in float, 3 to 5 in the mean in w8a8" }, source: "rknn-toolkit2 2.5.0" },
    Npu { board: "milk-v-duo-256m",    chip: "SG2002",       route: Tool { target: TpuMlir, simulated: "at most 48 grey levels off in BF16, 0.5 in the mean" },           source: "tpu_mlir 1.30.2" },
    Npu { board: "canmv-k230",         chip: "K230",         route: Tool { target: Nncase,  simulated: "4 grey levels off in the mean in int16" },            source: "nncase 2.11.0" },
    Npu { board: "esp32-s3-devkitc-1", chip: "ESP32-S3",     route: Tool { target: Esp,     simulated: "at most 1 grey level off in 16 bits" },               source: "esp-ppq 1.3.12" },
    Npu { board: "esp32-p4-ev",        chip: "ESP32-P4",     route: Tool { target: Esp,     simulated: "at most 2 grey levels off in 16 bits" },              source: "esp-ppq 1.3.12" },
];

/// What Vela says of a preset on one configuration.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct VelaRow {
    /// The preset.
    pub preset: String,
    /// The configuration.
    pub accelerator: String,
    /// Vela's version.
    pub vela: String,
    /// The system of Arm's configuration file that was estimated: clock and bandwidths of the memories.
    pub system: String,
    /// Where that configuration keeps weights and activations.
    pub memory: String,
    /// Cycles of a picture.
    pub cycles: u64,
    /// Bytes of SRAM.
    pub sram_bytes: u64,
    /// Bytes of the compiled file: weights and commands.
    pub file_bytes: u64,
}

/// The table.
pub fn vela_rows() -> Vec<VelaRow> {
    serde_json::from_str(TABLE).unwrap_or_default() // part of the program, and a test reads it
}

/// A model on an accelerator.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NpuFit {
    /// Name of the board.
    pub board: &'static str,
    /// The chip.
    pub chip: &'static str,
    /// Whether the accelerator is the only way: no core of the chip is planned for.
    pub only: bool,
    /// `ethos-u`, or the target of `pixgen-edge onnx`.
    pub route: String,
    /// How far pictures of trained models in the simulator of a vendor's tool were off; none of an Ethos-U.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulated: Option<&'static str>,
    /// What Vela says; none for another route, and for an architecture that is no preset of the table.
    #[serde(flatten)]
    pub vela: Option<VelaRow>,
    /// Seconds of a picture by these cycles.
    pub seconds: Option<f64>,
}

/// A model on the accelerators of boards: none of a plan of two steps, because their graphs draw in one.
pub fn npu_fits<'a>(plan: &ChipPlan, npus: impl IntoIterator<Item = &'a Npu>) -> Vec<NpuFit> {
    if plan.steps != 1 {
        return Vec::new();
    }
    let rows = vela_rows();
    let preset = PRESETS.iter().find(|preset| preset.makes(&plan.model)).map(|preset| preset.name);
    let fit = |npu: &Npu| {
        let (route, simulated, vela, mhz) = match npu.route {
            EthosU { accelerator, mhz } => {
                let row = rows
                    .iter()
                    .find(|row| row.accelerator == accelerator && Some(row.preset.as_str()) == preset);
                ("ethos-u".to_owned(), None, row.cloned(), mhz)
            }
            Tool { target, simulated } => (target.name(), Some(simulated), None, 1.0),
        };
        let seconds = vela.as_ref().map(|row| row.cycles as f64 / (1e6 * mhz));
        NpuFit {
            board: npu.board,
            chip: npu.chip,
            only: board(npu.board).is_none(),
            route,
            simulated,
            vela,
            seconds,
        }
    };
    npus.into_iter().map(fit).collect()
}

/// One line of a list of accelerators.
impl fmt::Display for NpuFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<21} {:<13} ", self.board, self.chip)?;
        match (self.simulated, &self.vela, self.seconds) {
            (Some(simulated), ..) => write!(f, "through `pixgen-edge onnx --target {}`; simulated: {simulated}", self.route)?,
            (None, Some(row), Some(seconds)) => write!(
                f,
                "{:<13} {:>6.2} M cycles, {:>5.1} ms a picture, {} of SRAM, a file of {}",
                row.accelerator,
                row.cycles as f64 / 1e6,
                1e3 * seconds,
                format_bytes(row.sram_bytes),
                format_bytes(row.file_bytes)
            )?,
            _ => f.write_str("through `pixgen-edge tflite` and Vela, which was not asked about this architecture")?,
        }
        f.write_str(if self.only { "   NPU route only" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;
    use pixgen_core::presets::preset;

    #[test]
    fn the_table_is_whole() {
        let rows = vela_rows();
        assert!(!rows.is_empty());
        for npu in NPUS {
            assert_eq!(NPUS.iter().filter(|other| other.board == npu.board).count(), 1, "{}", npu.board);
            if let EthosU { accelerator, .. } = npu.route {
                assert!(rows.iter().any(|row| row.accelerator == accelerator), "{accelerator}");
            }
        }
        for row in &rows {
            assert!(preset(&row.preset).is_some() && row.cycles > 100_000, "{row:?}");
            assert_eq!(row.vela, rows[0].vela);
        }
    }

    #[test]
    fn presets_have_numbers_whatever_their_classes() {
        let mut small = plan(&preset("small-28-grey").unwrap().model, 1);
        small.model.classes = 3;
        let all = npu_fits(&small, NPUS);
        let of = |name: &str| all.iter().find(|fit| fit.board == name).unwrap();
        let e7 = of("ensemble-e7-devkit");
        let seconds = e7.seconds.unwrap();
        assert!((0.001..0.02).contains(&seconds) && !e7.only, "{e7}");
        assert_eq!(seconds, e7.vela.as_ref().unwrap().cycles as f64 / 400e6);
        for name in ["rv1126b-evb", "milk-v-duo-256m", "esp32-p4-ev", "ek-ra8p1"] {
            assert!(!of(name).only && !of(name).to_string().contains("NPU route only"), "{name}");
        }
        let xtensa = of("esp32-s3-devkitc-1");
        assert!(xtensa.only && xtensa.to_string().ends_with("NPU route only"));
        assert!(of("canmv-k230").vela.is_none() && of("canmv-k230").to_string().contains("--target nncase"));
        assert!(npu_fits(&plan(&small.model, 2), NPUS).is_empty());
        small.model.encoder.depth += 1;
        assert!(npu_fits(&small, NPUS).iter().all(|fit| fit.vela.is_none()));
    }
}
