//! What a picture costs on each kind of core, and the committed budget that it must keep: `tests/budgets.json`.
//!
//! The program `budgets` prints the table and, with `--write`, makes the measured numbers the budget; the test `budgets` measures again
//! and fails above one percent more.

use super::{FirmwareError, draw, machine, random_model};
use pixgen_core::config::ModelConfig;
use pixgen_core::integer::DrawRequest;
use pixgen_core::integer::plan::plan_sites;
use pixgen_core::presets::preset;
use pixgen_core::pxg::Model;
use pixgen_edge::aligned::AlignedBytes;
use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// One machine for each kind of core.
pub const CORES: [(&str, &str); 7] = [
    ("mps2-an385-m0plus", "Cortex-M0+"),
    ("mps2-an385", "Cortex-M3"),
    ("mps2-an386", "Cortex-M4"),
    ("mps2-an500", "Cortex-M7"),
    ("mps2-an505", "Cortex-M33"),
    ("mps3-an547", "Cortex-M55"),
    ("virt", "RV32IMC"),
];

/// The example model, the quick start's architecture, and 64x64 in colour; pictures that are compared with the host's.
pub const MODELS: [(&str, usize); 3] = [("nano-28-grey", 20), ("small-28-grey", 20), ("nano-64-rgb", 1)];

/// Share by which a budget may be passed.
const MARGIN: f64 = 0.01;

/// What a picture costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// Model.
    pub model: String,
    /// Core.
    pub core: String,
    /// Kernel that the core runs.
    pub kernel: String,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Instructions.
    pub instructions: u64,
    /// Bytes of workspace, measured.
    pub workspace: u64,
    /// Bytes of stack, measured.
    pub stack: u64,
    /// Bytes of flash: code, model and start values.
    pub flash: u64,
    /// Hash of the first picture.
    pub hash: u64,
}

impl Cost {
    /// Instructions for each multiply-accumulate.
    pub fn per_mac(&self) -> f64 {
        self.instructions as f64 / self.macs as f64
    }

    fn to_json(&self) -> Value {
        json!({
            "model": self.model, "core": self.core, "kernel": self.kernel, "macs": self.macs, "instructions": self.instructions,
            "workspace": self.workspace, "stack": self.stack, "flash": self.flash, "hash": format!("{:016x}", self.hash),
        })
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<14} {:<11} {:<8} {:>12} {:>12} {:>7.3} {:>10} {:>6} {:>8}",
            self.model,
            self.core,
            self.kernel,
            self.macs,
            self.instructions,
            self.per_mac(),
            self.workspace,
            self.stack,
            self.flash
        )
    }
}

/// Head of the table.
pub const HEAD: &str = "model          core        kernel           MACs instructions per MAC  workspace  stack    flash";

/// The file of a model: the trained example, or random weights.
fn model_file(name: &str) -> Result<AlignedBytes, FirmwareError> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../firmware-examples/models/{name}.pxg"));
    if example.exists() {
        let content = std::fs::read(&example);
        return content
            .map(|content| AlignedBytes::copy(&content))
            .map_err(|error| FirmwareError::Host(format!("{}: {error}", example.display())));
    }
    let config: ModelConfig = preset(name).ok_or_else(|| FirmwareError::Host(format!("no model {name}")))?.model;
    Ok(random_model(&config, 1, 11))
}

/// (class, seed) pairs of a model.
pub fn pairs(count: usize, classes: usize) -> Vec<(usize, u64)> {
    (0..count).map(|i| ((i * 3 + 1) % classes, 1 + 7 * i as u64)).collect()
}

/// Draws on every core, compares every picture with the host's, and shows each cost to `each`.
///
/// # Errors
/// Firmware that does not build or run, or a picture that is not the host's.
pub fn measure(each: &mut dyn FnMut(&Cost)) -> Result<Vec<Cost>, FirmwareError> {
    let mut costs = Vec::new();
    for (name, count) in MODELS {
        let bytes = model_file(name)?;
        let host = |error: &dyn fmt::Display| FirmwareError::Host(format!("{name}: {error}"));
        let model = Model::read(bytes.bytes()).map_err(|e| host(&e))?;
        let totals = plan_sites(model.config(), 1, &mut |_| ());
        let pairs = pairs(count, model.config().classes);
        let mut workspace = AlignedBytes::zeroed(model.workspace_len());
        let mut wanted = Vec::new();
        for &(class, seed) in &pairs {
            let request = DrawRequest { class, seed, number: 0 };
            wanted.push(model.picture_hash(&request, workspace.bytes_mut()).map_err(|e| host(&e))?);
        }
        let file = NamedTempFile::with_suffix(".pxg").map_err(|e| host(&e))?;
        std::fs::write(file.path(), bytes.bytes()).map_err(|e| host(&e))?;
        for (machine_name, core) in CORES {
            let machine = machine(machine_name).ok_or_else(|| host(&machine_name))?;
            let report = draw(machine, file.path(), &pairs)?;
            if report.hashes != wanted {
                let reason = format!("{name} on {core}: pictures {:x?} instead of the host's {wanted:x?}", report.hashes);
                return Err(FirmwareError::Run(reason, report.log));
            }
            if report.workspace != model.workspace_len() as u64 {
                let reason = format!("{name} on {core}: {} bytes of workspace, planned {}", report.workspace, model.workspace_len());
                return Err(FirmwareError::Run(reason, report.log));
            }
            let cost = Cost {
                model: name.into(),
                core: core.into(),
                kernel: report.kernel,
                macs: totals.macs,
                instructions: report.instructions,
                workspace: report.workspace,
                stack: report.stack,
                flash: report.sizes.flash,
                hash: wanted.first().copied().unwrap_or_default(),
            };
            each(&cost);
            costs.push(cost);
        }
    }
    Ok(costs)
}

/// Where the budget is.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("budgets.json")
}

/// Text of the budget file with these costs.
pub fn to_text(costs: &[Cost]) -> String {
    let lines: Vec<String> = costs.iter().map(|cost| format!("  {}", cost.to_json())).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// What passes the budget in `text`, a sentence for each; also what has none.
pub fn excess(text: &str, costs: &[Cost]) -> Vec<String> {
    let budget: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let mut found = Vec::new();
    for cost in costs {
        let entry = budget
            .iter()
            .find(|entry| entry["model"] == cost.model.as_str() && entry["core"] == cost.core.as_str());
        let Some(entry) = entry else {
            found.push(format!("{} on {}: no budget", cost.model, cost.core));
            continue;
        };
        for (what, value) in [("instructions", cost.instructions), ("stack", cost.stack), ("flash", cost.flash)] {
            let allowed = entry[what].as_u64().unwrap_or_default();
            if value as f64 > allowed as f64 * (1.0 + MARGIN) {
                found.push(format!("{} on {}: {value} {what}, the budget is {allowed}", cost.model, cost.core));
            }
        }
        if entry["workspace"].as_u64() != Some(cost.workspace) || entry["hash"] != format!("{:016x}", cost.hash).as_str() {
            found.push(format!("{} on {}: workspace or picture is not that of the budget", cost.model, cost.core));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_percent_is_allowed_and_more_is_named() {
        let cost = Cost {
            model: "m".into(),
            core: "c".into(),
            kernel: "k".into(),
            macs: 10,
            instructions: 1000,
            workspace: 16,
            stack: 100,
            flash: 100,
            hash: 7,
        };
        let text = to_text(std::slice::from_ref(&cost));
        let with = |change: &dyn Fn(&mut Cost)| {
            let mut changed = cost.clone();
            change(&mut changed);
            excess(&text, &[changed]).len()
        };
        assert_eq!(with(&|_| ()), 0);
        assert_eq!(with(&|c| c.instructions = 1010), 0);
        assert_eq!(with(&|c| c.instructions = 1011), 1);
        assert_eq!(with(&|c| c.instructions = 10), 0);
        assert_eq!(with(&|c| c.stack = 102), 1);
        assert_eq!(with(&|c| c.workspace = 32), 1);
        assert_eq!(with(&|c| c.hash = 8), 1);
        assert_eq!(with(&|c| c.core = "other".into()), 1);
        assert_eq!(excess("nonsense", std::slice::from_ref(&cost)).len(), 1);
    }
}
