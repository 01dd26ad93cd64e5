//! Figures of `boards` and `plan` that were measured elsewhere, compared with the measurements: the budget of the emulated firmware
//! (`tests/budgets.json`) and the machines that it runs on.

#[allow(dead_code)]
#[path = "../../firmware-examples/qemu/machines.rs"]
mod machines;

use pixgen_edge::boards::{BOARDS, ChipKernel, instructions_per_mac};
use pixgen_edge::plan::{CODE, STACK};
use serde_json::Value;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A measured row for each model and core.
fn budget() -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("tests/budgets.json")).expect("the budget");
    serde_json::from_str(&text).expect("the budget is JSON")
}

fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or_else(|| panic!("{key} in {row}"))
}

/// The costliest core of a kernel, rounded to two digits behind the point.
#[test]
fn instructions_per_mac_are_those_of_the_quick_start_model() {
    for kernel in [
        ChipKernel::Armv6m,
        ChipKernel::Armv7m,
        ChipKernel::Dsp,
        ChipKernel::Mve,
        ChipKernel::Riscv32,
    ] {
        let rows = budget();
        let rows = rows
            .iter()
            .filter(|row| row["model"] == "small-28-grey" && row["kernel"] == kernel.name());
        let measured = rows
            .map(|row| number(row, "instructions") as f64 / number(row, "macs") as f64)
            .fold(0.0, f64::max);
        let planned = instructions_per_mac(kernel);
        assert!((planned - measured).abs() <= 0.005, "{}: {planned} planned, {measured:.3} measured", kernel.name());
    }
}

#[test]
fn code_is_the_largest_firmware_less_its_model() {
    let model = root().join("firmware-examples/models/nano-28-grey.pxg");
    let model = std::fs::metadata(model).expect("the example model").len();
    let rows = budget();
    let code = rows
        .iter()
        .filter(|row| row["model"] == "nano-28-grey")
        .map(|row| number(row, "flash") - model);
    let most = code.max().expect("a row");
    // Room for a compiler's moods, and no more.
    assert!(most <= CODE && CODE < most + 4096, "{CODE} bytes of code planned, {most} measured");
}

#[test]
fn stack_is_what_the_linker_keeps_free_and_suffices() {
    assert_eq!(STACK, machines::STACK);
    let most = budget().iter().map(|row| number(row, "stack")).max().expect("a row");
    assert!(most <= STACK, "{STACK} bytes of stack planned, {most} used");
}

/// Every kernel that a board is planned with has been measured; `tests/run.sh linux-boards` measures those of Linux.
#[test]
fn boards_have_measured_kernels() {
    for board in BOARDS.iter().filter(|board| !board.core.runs_linux()) {
        let kernel = board.core.kernel().name();
        assert!(budget().iter().any(|row| row["kernel"] == kernel), "{}: {kernel}", board.name);
    }
}
