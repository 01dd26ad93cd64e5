//! `bench --roofline`: what a step would cost on a GPU with published peaks.

use super::settings::find_preset;
use super::{print_bytes, print_json};
use crate::cli::Roofline;
use crate::error::Error;
use crate::roofline::device::{DEVICES, Device, device};
use crate::roofline::{Report, Request};
use crate::settings::suggest::closest;
use pixgen_core::presets::{PRESETS, Preset};

fn find_device(name: &str) -> Result<&'static Device, Error> {
    device(name).ok_or_else(|| {
        let names: Vec<&str> = DEVICES.iter().map(|device| device.name).collect();
        let near = closest(&name.to_lowercase(), names.iter().copied()).map_or(String::new(), |name| format!("did you mean `{name}`? "));
        let hint = format!("{near}known are {}", names.join(", "));
        Error::Argument { what: format!("--roofline {name}: there is no such device"), hint: Some(hint) }
    })
}

/// A preset in upper or lower case; the error names what is near.
fn find_model(name: &str) -> Result<&'static Preset, Error> {
    let any_case = PRESETS.iter().find(|preset| preset.name.eq_ignore_ascii_case(name));
    any_case.map_or_else(|| find_preset(name), Ok)
}

pub(super) fn run(args: &Roofline) -> Result<(), Error> {
    let out_of_range = |what: String, hint: &str| Err(Error::Argument { what, hint: Some(hint.to_owned()) });
    if !(args.launch_us.is_finite() && args.launch_us >= 0.0) {
        return out_of_range(format!("--launch-us {}: no time of a launch", args.launch_us), "give microseconds, for example 4");
    }
    if !(args.matmul_efficiency > 0.0 && args.matmul_efficiency <= 1.0) {
        return out_of_range(
            format!("--matmul-efficiency {}: no share of a peak", args.matmul_efficiency),
            "give a number above 0, at most 1",
        );
    }
    let Some(name) = &args.roofline else {
        return out_of_range("nothing to compute: no device given".to_owned(), "add --roofline h100, for example");
    };
    let report = Report::new(&Request {
        preset: find_model(&args.model)?,
        device: find_device(name)?,
        precision: args.precision,
        batch: args.batch.map(|batch| batch as usize),
        micro_batch: args.micro_batch.map(|batch| batch as usize),
        recompute: args.recompute,
        launch: 1e-6 * args.launch_us,
        efficiency: args.matmul_efficiency,
        gpus: args.gpus as usize,
    });
    if args.json {
        return Ok(print_json(&report)?);
    }
    Ok(print_bytes(report.to_string().as_bytes())?)
}
