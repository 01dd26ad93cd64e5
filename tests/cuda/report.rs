//! The table of kernels, and what is wrong with them.

use super::assemble::Usage;
use super::run::{Arch, Kernel};
use serde_json::{Value, json};
use std::fmt::Write;

/// The kernels of one architecture, each with what the assembler said.
#[derive(Debug)]
pub struct Kernels {
    /// Architecture.
    pub arch: Arch,
    /// In the order of loading.
    pub rows: Vec<(Kernel, Result<Usage, String>)>,
    /// What went wrong in the program itself.
    pub complaints: Vec<String>,
}

impl Kernels {
    /// Everything that must not be, one line each; empty when all is well. `expected` are patterns of kernel names (see [`matches`]).
    pub fn problems(&self, expected: &[String]) -> Vec<String> {
        let mut problems = self.complaints.clone();
        for (kernel, usage) in &self.rows {
            let name = format!("{} ({})", kernel.name, kernel.variant);
            match usage {
                Err(message) => problems.push(format!("{name} does not assemble: {message}")),
                Ok(Usage { spill_stores, spill_loads, .. }) if spill_stores + spill_loads > 0 => {
                    problems.push(format!("{name} spills: {spill_stores} bytes stored, {spill_loads} loaded"));
                }
                Ok(_) => {}
            }
            if kernel.launches == 0 {
                problems.push(format!("{name} was compiled and never launched"));
            }
        }
        let missing = expected
            .iter()
            .filter(|pattern| !self.rows.iter().any(|(kernel, _)| matches(pattern, &kernel.name)));
        problems.extend(missing.map(|pattern| format!("no kernel is named {pattern}")));
        problems.iter().map(|it| format!("{}: {it}", self.arch.name())).collect()
    }

    /// One line: how many kernels, how many of them spill, the one with the most registers.
    pub fn summary(&self) -> String {
        let usages = || self.rows.iter().filter_map(|(kernel, usage)| Some((kernel, usage.as_ref().ok()?)));
        let spilled = usages().filter(|(_, it)| it.spill_stores + it.spill_loads > 0).count();
        let launches: u64 = self.rows.iter().map(|(kernel, _)| kernel.launches).sum();
        let most = usages().max_by_key(|(_, it)| it.registers);
        let most = most
            .map(|(kernel, it)| format!(", at most {} registers ({})", it.registers, kernel.name))
            .unwrap_or_default();
        format!("{}: {} kernels, {launches} launches, {spilled} with spills{most}", self.arch.name(), self.rows.len())
    }

    /// A Markdown section with the table.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("## {}\n\n{}.\n\n", self.arch.name(), self.summary());
        text.push_str("| kernel | variant | launches | threads | registers | shared, static | shared, dynamic | stack | spilled |\n");
        text.push_str("|---|---:|---:|---:|---:|---:|---:|---:|---:|\n");
        for (kernel, usage) in &self.rows {
            let Kernel { name, variant, launches, threads, dynamic_shared, .. } = kernel;
            let (registers, fixed, stack, spilled) = match usage {
                Ok(it) => (it.registers.to_string(), it.static_shared.to_string(), it.stack.to_string(), it.spill_stores + it.spill_loads),
                Err(_) => ("does not assemble".into(), "-".into(), "-".into(), 0),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| `{name}` | {variant} | {launches} | {threads} | {registers} | {fixed} | {dynamic_shared} | {stack} | {spilled} |"
            );
        }
        text
    }

    /// The same for programs.
    pub fn to_json(&self) -> Value {
        let row = |(kernel, usage): &(Kernel, Result<Usage, String>)| {
            let mut row = json!({
                "kernel": kernel.name, "variant": kernel.variant, "launches": kernel.launches, "threads": kernel.threads,
                "dynamic_shared_bytes": kernel.dynamic_shared,
            });
            match usage {
                Ok(it) => {
                    row["registers"] = it.registers.into();
                    row["static_shared_bytes"] = it.static_shared.into();
                    row["stack_bytes"] = it.stack.into();
                    row["spill_store_bytes"] = it.spill_stores.into();
                    row["spill_load_bytes"] = it.spill_loads.into();
                }
                Err(message) => row["error"] = message.as_str().into(),
            }
            row
        };
        json!({ "arch": self.arch.name(), "kernels": self.rows.iter().map(row).collect::<Vec<_>>() })
    }
}

/// The patterns of a file: one in each line, `#` starts a comment.
pub fn patterns(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Whether the whole name fits the pattern, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(head) else {
        return false;
    };
    (0..=name.len())
        .filter(|at| name.is_char_boundary(*at))
        .any(|at| matches(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, launches: u64, usage: Result<Usage, String>) -> (Kernel, Result<Usage, String>) {
        let kernel = Kernel {
            name: name.into(),
            variant: 1,
            ptx: "k.ptx".into(),
            launches,
            threads: 256,
            dynamic_shared: 1024,
        };
        (kernel, usage)
    }

    fn kernels() -> Kernels {
        let fine = Usage { registers: 64, static_shared: 128, ..Usage::default() };
        let rows = vec![
            row("layer_norm_f32", 3, Ok(fine)),
            row("attention", 1, Ok(Usage { registers: 255, stack: 8, spill_stores: 4, spill_loads: 12, ..fine })),
            row("gelu", 0, Ok(fine)),
            row("broken", 1, Err("ptxas fatal".into())),
        ];
        Kernels { arch: Arch::Sm80, rows, complaints: vec![] }
    }

    #[test]
    fn everything_wrong_is_named() {
        let expected = patterns("layer_norm_*\n\n# not there:\nadamw*  # comment\n");
        assert_eq!(
            kernels().problems(&expected),
            [
                "sm_80: attention (1) spills: 4 bytes stored, 12 loaded",
                "sm_80: gelu (1) was compiled and never launched",
                "sm_80: broken (1) does not assemble: ptxas fatal",
                "sm_80: no kernel is named adamw*",
            ]
        );
        let mut well = kernels();
        well.rows.truncate(1);
        assert!(well.problems(&patterns("layer_norm_*")).is_empty());
    }

    #[test]
    fn the_table_has_a_row_for_each_kernel() {
        let text = kernels().to_markdown();
        assert!(text.contains("sm_80: 4 kernels, 5 launches, 1 with spills, at most 255 registers (attention)"), "{text}");
        assert!(text.contains("| `attention` | 1 | 1 | 256 | 255 | 128 | 1024 | 8 | 16 |"), "{text}");
        assert!(text.contains("does not assemble"), "{text}");
        assert_eq!(kernels().to_json()["kernels"][1]["spill_load_bytes"], 12);
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "aab", true),
            ("a*c*", "abcd", true),
            ("a*c", "abcd", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
