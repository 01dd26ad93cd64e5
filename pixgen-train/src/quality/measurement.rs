//! Results that never stand alone: each set's numbers with everything that they depend on, for machines and as a table for people.

use std::fmt;

use serde::Serialize;

use crate::quality::extractor::Recipe;
use crate::quality::yardstick::Numbers;

/// Whose pictures were measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Subject {
    /// Model file, run or folder.
    pub source: String,
    /// Which average the weights are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<String>,
    /// Images seen in training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_seen: Option<u64>,
    /// Seed of the noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Network evaluations for each picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluations: Option<u32>,
    /// Weight of guidance, 1 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance: Option<f64>,
}

impl Subject {
    /// Pictures that no model drew here.
    pub fn pictures(source: &str) -> Self {
        Self { source: source.to_owned(), ..Self::default() }
    }
}

/// One set of pictures, measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// Whose.
    #[serde(flatten)]
    pub subject: Subject,
    /// Network, layer, input size, resizing.
    #[serde(flatten)]
    pub recipe: Recipe,
    /// What the Frechet distance on these features is called: `FID` only if it is one.
    pub frechet_name: String,
    /// What the kernel distance is called.
    pub kernel_name: String,
    /// What the pictures were compared with.
    pub reference: String,
    /// Reference pictures of the kernel distance; none if only statistics were there.
    pub reference_pictures: Option<usize>,
    /// Those of them in precision, recall, density and coverage.
    pub ball_pictures: Option<usize>,
    /// k of the balls and of the vote.
    pub neighbours: usize,
    /// Who told which class a picture shows.
    pub judge: Option<String>,
    /// The numbers.
    pub generated: Numbers,
    /// Those of real pictures: held-out ones, and training ones that were left out of the reference.
    pub real: Option<Numbers>,
}

/// Measurements against one yardstick: what they share, then a row for each, and one for real pictures.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a>(pub &'a [Measurement]);

/// Columns of numbers: title, and the number.
type Column = (&'static str, fn(&Numbers) -> Option<String>);

const COLUMNS: [Column; 9] = [
    ("FD", |n| Some(short(n.frechet))),
    ("KD", |n| n.kernel.map(short)),
    ("precision", |n| n.manifolds.map(|m| format!("{:.3}", m.precision))),
    ("recall", |n| n.manifolds.map(|m| format!("{:.3}", m.recall))),
    ("density", |n| n.manifolds.map(|m| format!("{:.3}", m.density))),
    ("coverage", |n| n.manifolds.map(|m| format!("{:.3}", m.coverage))),
    ("class seen", |n| n.accuracy.map(|a| format!("{:.1}%", 100.0 * a))),
    ("nearest", |n| n.nearest_median.map(|d| format!("{d:.4}"))),
    ("1 in 20", |n| n.nearest_p05.map(|d| format!("{d:.4}"))),
];

/// Four digits, whatever the size.
fn short(value: f64) -> String {
    let whole = value.abs().max(1e-12).log10().floor() as i32;
    let decimals = (3 - whole).clamp(0, 6) as usize;
    format!("{value:.decimals$}")
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.0.first() else {
            return Ok(());
        };
        writeln!(f, "features    {}", first.recipe)?;
        writeln!(f, "reference   {}", first.reference)?;
        writeln!(f, "FD          {}, Frechet distance; depends on n = {}", first.frechet_name, first.generated.n)?;
        if let Some(pictures) = first.reference_pictures {
            writeln!(f, "KD          {}, unbiased kernel distance to {pictures} pictures", first.kernel_name)?;
        }
        if let Some(pictures) = first.ball_pictures {
            writeln!(f, "precision.. balls to neighbour {}, against {pictures} pictures", first.neighbours)?;
        }
        if let Some(judge) = &first.judge {
            writeln!(f, "class seen  as asked for, told by {judge}")?;
        }
        writeln!(f, "nearest     training picture by pixels, median; one in twenty is nearer than the last column\n")?;

        let mut rows: Vec<(String, &Numbers)> = self.0.iter().map(|m| (m.subject.to_string(), &m.generated)).collect();
        if let Some(real) = &first.real {
            rows.push((format!("real pictures, n = {}", real.n), real));
        }
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let shown: Vec<&Column> = COLUMNS
            .iter()
            .filter(|(_, number)| rows.iter().any(|(_, n)| number(n).is_some()))
            .collect();
        write!(f, "{:width$}", "")?;
        for (title, _) in &shown {
            write!(f, "{title:>11}")?;
        }
        writeln!(f)?;
        for (name, numbers) in rows {
            write!(f, "{name:width$}")?;
            for (_, number) in &shown {
                write!(f, "{:>11}", number(numbers).unwrap_or_else(|| "-".to_owned()))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Subject {
    /// What tells it from others in a table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ema) = &self.ema else {
            return f.write_str(&self.source);
        };
        write!(f, "{ema}")?;
        if let Some(guidance) = self.guidance {
            write!(f, ", guidance {guidance}")?;
        }
        match self.evaluations {
            Some(count) => write!(f, ", {count} evaluation{}", if count == 1 { "" } else { "s" }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::neighbours::Manifolds;
    use crate::quality::network::Network;

    fn numbers(frechet: f64) -> Numbers {
        Numbers {
            n: 100,
            frechet,
            kernel: Some(0.00123456),
            kernel_subsets: None,
            manifolds: Some(Manifolds { precision: 0.5, recall: 0.25, density: 1.125, coverage: 0.75 }),
            accuracy: None,
            nearest_median: Some(0.1),
            nearest_p05: Some(0.05),
        }
    }

    fn measurement() -> Measurement {
        let recipe = Recipe::new(Network::EfficientNetLite0, None, None, None).unwrap();
        let (frechet_name, kernel_name) = recipe.distance_names();
        Measurement {
            subject: Subject {
                source: "run".into(),
                ema: Some("share-0.02".into()),
                images_seen: Some(7),
                seed: Some(1),
                evaluations: Some(75),
                guidance: Some(1.5),
            },
            recipe,
            frechet_name,
            kernel_name,
            reference: "900 training pictures of here".into(),
            reference_pictures: Some(900),
            ball_pictures: Some(100),
            neighbours: 5,
            judge: None,
            generated: numbers(12.345678),
            real: Some(numbers(1234.5678)),
        }
    }

    #[test]
    fn a_table_names_everything() {
        let text = Table(&[measurement()]).to_string();
        for part in [
            "efficientnet-lite0, layer 112, input 96, resize pil-bicubic",
            "900 training pictures of here",
            "FD-efficientnet-lite0-112, Frechet distance; depends on n = 100",
            "share-0.02, guidance 1.5, 75 evaluations",
            "12.35",
            "1235",
            "0.001235",
            "real pictures, n = 100",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        // Nobody told classes, so there is no such column.
        assert!(!text.contains("class seen"), "{text}");
        assert_eq!(Table(&[]).to_string(), "");
    }

    #[test]
    fn json_has_one_level_for_what_numbers_depend_on() {
        let json = serde_json::to_value(measurement()).unwrap();
        assert_eq!((&json["ema"], &json["layer"], &json["evaluations"]), (&"share-0.02".into(), &"112".into(), &75.into()));
        assert_eq!((&json["generated"]["n"], &json["generated"]["recall"]), (&100.into(), &0.25.into()));
        assert_eq!(json["real"]["nearest_median"], 0.1);
        let mut pictures = measurement();
        pictures.subject = Subject::pictures("folder");
        let json = serde_json::to_value(pictures).unwrap();
        assert!(json.get("ema").is_none() && json["source"] == "folder");
    }
}
