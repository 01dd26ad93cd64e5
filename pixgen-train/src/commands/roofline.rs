//! `bench --roofline`: what a step would cost on a GPU with published peaks.

use super::settings::find_preset;
use crate::cli::BenchArgs;
use crate::error::Error;
use crate::precision::Precision;
use crate::roofline::exchange::{Cluster, Interconnect, NotJoined};
use crate::roofline::gpu::{GPUS, GpuPeaks, gpu};
use crate::roofline::report::{RooflineReport, RooflineRequest};
use crate::settings::suggest::closest;
use pixgen_core::presets::{PRESETS, Preset};
use pixgen_edge::terminal::{print_json, print_text};

/// GPUs of the paper's recipe.
const PAPER_GPUS: u32 = 8;

fn find_gpu(name: &str) -> Result<&'static GpuPeaks, Error> {
    gpu(name).ok_or_else(|| {
        let names: Vec<&str> = GPUS.iter().map(|gpu| gpu.name).collect();
        let near = closest(&name.to_lowercase(), names.iter().copied()).map_or(String::new(), |name| format!("did you mean `{name}`? "));
        let hint = format!("{near}known are {}", names.join(", "));
        Error::Argument { what: format!("--roofline {name}: unknown device"), hint: Some(hint) }
    })
}

/// A preset in upper or lower case; the error names what is near.
fn find_model(name: &str) -> Result<&'static Preset, Error> {
    let any_case = PRESETS.iter().find(|preset| preset.name.eq_ignore_ascii_case(name));
    any_case.map_or_else(|| find_preset(name), Ok)
}

fn join(gpu: &GpuPeaks, gpus: usize, interconnect: Interconnect) -> Result<Cluster, Error> {
    Cluster::new(gpu, gpus, interconnect).map_err(|problem| {
        let (what, hint) = match problem {
            NotJoined::NoNvlink => (
                format!("{} has no NVLink", gpu.name),
                "with 400gb or 100gbe, up to 8 GPUs of one host are joined by its PCIe alone",
            ),
            NotJoined::SeveralHosts => (format!("{gpus} GPUs are several hosts of 8"), "give 400gb or 100gbe, or --gpus 8"),
        };
        Error::Argument { what: format!("--interconnect nvlink: {what}"), hint: Some(hint.to_owned()) }
    })
}

/// Images that a flag names.
fn images(flag: &str, text: Option<&str>) -> Result<Option<usize>, Error> {
    let parse = |text: &str| match text.parse() {
        Ok(count @ 1..=0x10_0000) => Ok(count),
        _ => Err(Error::Argument {
            what: format!("{flag} {text}: not a number of images"),
            hint: Some("give a whole number from 1 to 1048576".to_owned()),
        }),
    };
    text.map(parse).transpose()
}

pub(super) fn run(device: &str, args: &BenchArgs) -> Result<(), Error> {
    let BenchArgs { settings, roofline, .. } = args;
    let out_of_range = |what: String, hint: &str| Err(Error::Argument { what, hint: Some(hint.to_owned()) });
    if !(roofline.matmul_efficiency > 0.0 && roofline.matmul_efficiency <= 1.0) {
        return out_of_range(
            format!("--matmul-efficiency {}: no share of a peak", roofline.matmul_efficiency),
            "give a number above 0, at most 1",
        );
    }
    let Some(model) = roofline.model.as_ref().or(settings.preset.as_ref()) else {
        return out_of_range("--roofline: no model given".to_owned(), "add --model EPG-XL-16-256, for example");
    };
    if roofline.interconnect.is_some() && roofline.gpus.is_none() {
        return out_of_range(
            "--interconnect: nothing says how many GPUs it joins".to_owned(),
            "add --gpus 8 for one host, or --gpus 64, for example",
        );
    }
    let (gpu, gpus) = (find_gpu(device)?, roofline.gpus.unwrap_or(PAPER_GPUS) as usize);
    let report = RooflineReport::new(&RooflineRequest {
        preset: find_model(model)?,
        gpu,
        precision: settings.precision.unwrap_or(Precision::Bf16),
        batch: images("--batch", settings.batch.as_deref())?,
        micro_batch: images("--micro-batch", settings.micro_batch.as_deref())?,
        recompute: settings.recompute,
        efficiency: roofline.matmul_efficiency,
        gpus,
        cluster: roofline.interconnect.map(|interconnect| join(gpu, gpus, interconnect)).transpose()?,
    });
    if args.json {
        return Ok(print_json(&report)?);
    }
    Ok(print_text(&report.to_string())?)
}
