//! The model card: a README.md as model hubs show it, beside the weights it describes.

use pixgen_core::config::Tower;
use pixgen_core::noise::Parametrisation;
use pixgen_core::plan::plan;
use pixgen_core::presets::PRESETS;
use pixgen_edge::model_file::{Content, ModelHeader};
use pixgen_edge::units::format_macs;
use std::fmt::{self, Display, Formatter, Write};

/// What the model file does not know.
#[derive(Clone, Debug)]
pub struct Extra<'a> {
    /// Name of the model, the title.
    pub name: &'a str,
    /// Identifier of the weights' licence, for example `mit` or `cc-by-nc-4.0`.
    pub license: &'a str,
    /// The first measurement that `pixgen-train eval --json` printed: dotted keys and values.
    pub evaluation: Option<&'a [(String, serde_json::Value)]>,
    /// Whether the tensors have the authors' names.
    pub authors_names: bool,
    /// Whether the tensors are in f16.
    pub half: bool,
}

/// A card in Markdown with a YAML front matter.
#[derive(Debug)]
pub struct ModelCard<'a> {
    /// Metadata of the model file.
    pub header: &'a ModelHeader,
    /// The rest.
    pub extra: Extra<'a>,
}

impl Display for ModelCard<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (header, extra) = (self.header, &self.extra);
        let (kind, tag, mut pipeline) = match header.content {
            Content::Encoder => (
                "An encoder pre-trained by representation consistency (stage 1)",
                "representation-learning",
                "image-feature-extraction",
            ),
            Content::Generator => ("A one-step image generator (stage 2b or 3)", "consistency-model", "unconditional-image-generation"),
            Content::Denoiser => ("A diffusion model of images (stage 2a)", "diffusion", "unconditional-image-generation"),
        };
        if header.content != Content::Encoder && header.model.classes > 1 {
            // Hubs have no tag for pictures of a class.
            pipeline = "";
        }
        let pipeline = if pipeline.is_empty() {
            String::new()
        } else {
            format!("pipeline_tag: {pipeline}\n")
        };
        writeln!(
            f,
            "---\nlicense: {}\nlibrary_name: pixgen\n{pipeline}tags:\n  - pixgen\n  - epg\n  - pixel-space\n  - {tag}\n---\n",
            extra.license
        )?;
        let model = &header.model;
        writeln!(f, "# {}\n", extra.name)?;
        writeln!(
            f,
            "{kind} that works on the pixels of {0}x{0} {1} pictures, without a VAE. Architecture: EPG (arXiv 2510.12586). Made with [Pixgen]({2}).\n",
            model.size,
            if model.channels == 1 { "grey" } else { "RGB" },
            env!("CARGO_PKG_REPOSITORY")
        )?;
        self.table(f)?;
        self.usage(f)?;
        if let Some(evaluation) = extra.evaluation {
            self.evaluation(f, evaluation)?;
        }
        writeln!(f, "## Configuration\n\n```json")?;
        writeln!(f, "{}", serde_json::to_string_pretty(header).map_err(|_| fmt::Error)?)?;
        writeln!(f, "```")
    }
}

impl ModelCard<'_> {
    fn table(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let header = self.header;
        let model = &header.model;
        let parameters: usize = header.params().len();
        let preset = PRESETS.iter().find(|preset| preset.makes(model)).map_or("none", |preset| preset.name);
        let tower = |t: Tower| format!("{} blocks of {} channels, {} heads", t.depth, t.width, t.heads);
        writeln!(f, "| | |\n|---|---|\n| Preset | {preset} |")?;
        writeln!(f, "| Parameters | {:.3} M |", parameters as f64 / 1e6)?;
        writeln!(f, "| Encoder | {} |", tower(model.encoder))?;
        if header.content != Content::Encoder {
            let parametrisation = match header.parametrisation {
                Parametrisation::Edm => "f = c_skip x + c_out F",
                Parametrisation::PlainX => "f = F",
            };
            writeln!(f, "| Decoder | {} |", tower(model.decoder))?;
            let totals = plan(model);
            let macs = format_macs((totals.macs + totals.attention_macs) as u64);
            writeln!(f, "| MACs | {macs} a picture, one evaluation |")?;
            writeln!(f, "| Parametrisation | {parametrisation} |")?;
            writeln!(f, "| Classes | {} |", model.classes)?;
        }
        writeln!(f, "| Patches | {0}x{0} pixels, {1} tokens |", model.patch, model.tokens())?;
        writeln!(f, "| Resolution shift | {} |", header.noise.shift)?;
        let precision = if self.extra.half { "f16" } else { "f32" };
        writeln!(f, "| Weights | {}, {precision} |", cell(&header.ema))?;
        let images = if header.images == 0 {
            "unknown".to_owned()
        } else {
            header.images.to_string()
        };
        writeln!(f, "| Images seen | {images} |")?;
        writeln!(f, "| Training data (fingerprint) | {} |\n", cell(&header.data))
    }

    fn usage(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.extra.authors_names {
            let objective = match self.header.content {
                Content::Encoder => "",
                Content::Generator => " --objective consistency",
                Content::Denoiser => " --objective diffusion",
            };
            writeln!(f, "The tensors have the names and layouts of the authors' PyTorch code. For Pixgen:\n")?;
            writeln!(f, "```sh\npixgen-train import model.safetensors{objective} --out pixgen.safetensors\n```\n")?;
            return Ok(());
        }
        let command = match self.header.content {
            Content::Encoder => "pixgen-train finetune --encoder model.safetensors --preset PRESET --data PICTURES --out run",
            Content::Generator => "pixgen-train sample model.safetensors --class all --seed 7 --out grid.png",
            Content::Denoiser => {
                "pixgen-train sample model.safetensors --class all --sampler heun --steps 32 --guidance 2.5 --out grid.png"
            }
        };
        let title = if self.header.content == Content::Encoder {
            "Fine-tuning"
        } else {
            "Sampling"
        };
        writeln!(f, "## {title}\n\n```sh\n{command}\n```\n")
    }

    /// Every number of the first measurement, and those one level below it by dotted names.
    fn evaluation(&self, f: &mut Formatter<'_>, cells: &[(String, serde_json::Value)]) -> fmt::Result {
        let mut rows = String::new();
        for (name, number) in cells.iter().filter(|(_, value)| value.is_number()) {
            writeln!(rows, "| {} | {number} |", cell(name))?;
        }
        writeln!(f, "## Evaluation\n\nAs printed by `pixgen-train eval --json`.\n\n| | |\n|---|---|\n{rows}")
    }
}

/// Text that cannot break a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::noise::NoiseConfig;
    use pixgen_core::presets::preset;
    use pixgen_edge::data::normalise::Normalisation;
    use pixgen_edge::model_file::FORMAT;

    #[test]
    fn a_card_says_what_it_is() {
        let header = ModelHeader {
            format: FORMAT,
            content: Content::Generator,
            model: preset("small-28-grey").expect("preset").model,
            noise: NoiseConfig::with_shift(1.0),
            parametrisation: Parametrisation::Edm,
            normalisation: Normalisation::simple(),
            projector: None,
            ema: "decay-0.99".into(),
            images: 250_000,
            seed: 1,
            data: "a|b".into(),
            class_names: vec![],
        };
        let cells = [
            ("evaluations", 1.into()),
            ("ema", "raw".into()),
            ("generated.frechet", 12.5.into()),
            ("real.frechet", 0.25.into()),
        ];
        let evaluation: Vec<(String, serde_json::Value)> = cells.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let extra = Extra {
            name: "shirts",
            license: "mit",
            evaluation: Some(&evaluation),
            authors_names: false,
            half: true,
        };
        let card = ModelCard { header: &header, extra }.to_string();
        for part in [
            "---\nlicense: mit\nlibrary_name: pixgen\n",
            "# shirts\n",
            "| Preset | small-28-grey |",
            "| Parameters | 0.", // of 4 x 64
            "| Weights | decay-0.99, f16 |",
            "| Images seen | 250000 |",
            "Made with [Pixgen](https://",
            "a\\|b",
            "| evaluations | 1 |",
            "| generated.frechet | 12.5 |",
            "| real.frechet | 0.25 |",
            "pixgen-train sample model.safetensors",
            "\"shift\": 1.0",
        ] {
            assert!(card.contains(part), "{part}: {card}");
        }
        assert!(!card.contains("pipeline_tag"), "a model of ten classes has no tag of hubs: {card}");
        assert_eq!(card.matches("---\n").count(), 2, "the ends of the front matter");
    }
}
