//! `inspect`: what a preset, a run or a model file is, and what it costs.

use super::settings::find_preset;
use crate::cli::InspectArgs;
use crate::error::Error;
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::Parametrisation;
use pixgen_core::plan::{ForwardTotals, SiteCost, plan, plan_sites};
use pixgen_core::presets::PRESETS;
use pixgen_edge::model_file::{Content, ModelFile, ModelHeader};
use pixgen_edge::terminal::{print_json, print_text, printable};
use pixgen_edge::units::{counted, format_bytes, format_images, format_macs};
use serde::Serialize;
use std::fmt::Write;

/// A model in numbers, for one picture.
#[derive(Debug, Serialize)]
struct Description<'a> {
    /// Version of these keys.
    schema: u32,
    name: String,
    /// Parameters, macs (without the attention products), attention_macs, activations and workspace (both in values).
    #[serde(flatten)]
    totals: ForwardTotals,
    tokens: usize,
    image_values: usize,
    model: ModelConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a ModelHeader>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sites: Vec<SiteRow>,
}

/// A call of the network.
#[derive(Debug, Serialize)]
struct SiteRow {
    site: String,
    parameters: usize,
    macs: usize,
    attention_macs: usize,
    activations: usize,
    workspace: usize,
}

pub(super) fn run(args: &InspectArgs) -> Result<(), Error> {
    if args.presets {
        return presets(args.json);
    }
    match (&args.path, &args.preset) {
        (Some(path), _) => {
            let file = ModelFile::load(path)?;
            describe(path.display().to_string(), file.header.model, Some(&file.header), args)
        }
        (None, Some(name)) => describe(name.clone(), find_preset(name)?.model, None, args),
        (None, None) => Err(Error::Argument {
            what: "nothing to inspect".to_owned(),
            hint: Some("give a model file, a run folder, --preset NAME or --presets".to_owned()),
        }),
    }
}

fn presets(json: bool) -> Result<(), Error> {
    if json {
        let rows: Vec<_> = PRESETS
            .iter()
            .map(|p| serde_json::json!({ "name": p.name, "about": p.about, "shift": p.shift, "model": p.model, "totals": plan(&p.model) }))
            .collect();
        return Ok(print_json(&rows)?);
    }
    let mut text = format!("{:<16} {:>9} {:>9}  for\n", "name", "params M", "MACs G");
    for preset in PRESETS {
        let totals = plan(&preset.model);
        let (parameters, macs) = (totals.parameters as f64 / 1e6, totals.macs as f64 / 1e9);
        let _ = writeln!(text, "{:<16} {parameters:>9.2} {macs:>9.3}  {}", preset.name, preset.about); // a String takes everything
    }
    Ok(print_text(&text)?)
}

/// What the weights are, and where they come from.
fn weights(header: &ModelHeader) -> String {
    let content = match header.content {
        Content::Encoder => "encoder",
        Content::Generator => "one-step generator",
        Content::Denoiser => "diffusion model",
    };
    // An encoder gives features, no picture to which this would apply.
    let parametrisation = match (header.content, header.parametrisation) {
        (Content::Encoder, _) => "",
        (_, Parametrisation::Edm) => ", edm parametrisation",
        (_, Parametrisation::PlainX) => ", plain-x parametrisation",
    };
    format!(
        "{content}, average {}, {} seen, seed {}, data {}{parametrisation}, shift {}",
        header.ema,
        format_images(header.images),
        header.seed,
        header.data,
        header.noise.shift,
    )
}

fn describe(name: String, model: ModelConfig, file: Option<&ModelHeader>, args: &InspectArgs) -> Result<(), Error> {
    let mut sites = Vec::new();
    let mut row = |cost: &SiteCost| {
        sites.push(SiteRow {
            site: cost.site.name().as_str().to_owned(),
            parameters: cost.parameters,
            macs: cost.macs,
            attention_macs: cost.attention_macs,
            activations: cost.activations,
            workspace: cost.workspace,
        });
    };
    let totals = if args.sites { plan_sites(&model, &mut row) } else { plan(&model) };
    if args.json {
        let (tokens, image_values) = (model.tokens(), model.image_len());
        return Ok(print_json(&Description { schema: 1, name, totals, tokens, image_values, model, file, sites })?);
    }
    let tower = |t: pixgen_core::config::Tower| {
        format!("{} of {} channels, {}", counted(t.depth, "block", "blocks"), t.width, counted(t.heads, "head", "heads"))
    };
    let mut text = format!(
        "{name}\n  picture     {0}x{0}x{1}, patches of {2}, {3} tokens, {4} classes\n  encoder     {5}\n  decoder     {6}\n",
        model.size,
        model.channels,
        model.patch,
        model.tokens(),
        model.classes,
        tower(model.encoder),
        tower(model.decoder),
    );
    let _ = write!(
        text,
        "  parameters  {:.3} M ({} in f32)\n  MACs        {} a picture, and {} in attention products\n  workspace   {} in f32\n",
        totals.parameters as f64 / 1e6,
        format_bytes(4 * totals.parameters as u64),
        format_macs(totals.macs as u64),
        format_macs(totals.attention_macs as u64),
        format_bytes(4 * totals.workspace as u64),
    );
    if let Some(header) = file {
        let _ = writeln!(text, "  weights     {}", weights(header));
        let _ = writeln!(text, "  classes     {}", printable(&header.class_names.join(", ")));
    }
    for row in &sites {
        let _ = writeln!(
            text,
            "  {:<34} {:>11} params {:>13} MACs {:>11} attention {:>10} activations {:>10} workspace",
            row.site, row.parameters, row.macs, row.attention_macs, row.activations, row.workspace
        );
    }
    Ok(print_text(&text)?)
}
