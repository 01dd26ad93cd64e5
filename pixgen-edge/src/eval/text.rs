//! A report for people: one set of pictures beside real ones, number by number, or several sets as a table.

use std::fmt;

use crate::eval::report::{ClassCounts, EvalReport, EvalRow, QualityMetrics, Subject};

/// A metric: its title in a table, its name in a list, and its value as text.
struct Shown {
    title: &'static str,
    name: &'static str,
    value: fn(&QualityMetrics) -> Option<String>,
}

const SHOWN: [Shown; 9] = [
    Shown { title: "FD", name: "", value: |m| Some(four_digits(m.frechet)) },
    Shown { title: "KD", name: "", value: |m| m.kernel.map(four_digits) },
    Shown { title: "precision", name: "precision", value: |m| m.precision.map(share) },
    Shown { title: "recall", name: "recall", value: |m| m.recall.map(share) },
    Shown { title: "density", name: "density", value: |m| m.density.map(share) },
    Shown { title: "coverage", name: "coverage", value: |m| m.coverage.map(share) },
    Shown {
        title: "class seen",
        name: "class seen as requested",
        value: |m| m.accuracy.map(|a| format!("{:.1}%", 100.0 * a)),
    },
    Shown {
        title: "nearest",
        name: "nearest training image, median",
        value: |m| m.nearest_median.map(|d| format!("{d:.4}")),
    },
    Shown {
        title: "1 in 20",
        name: "  one in twenty is nearer than",
        value: |m| m.nearest_p05.map(|d| format!("{d:.4}")),
    },
];

fn share(value: f64) -> String {
    format!("{value:.3}")
}

/// Four digits, whatever the size.
fn four_digits(value: f64) -> String {
    let whole = value.abs().max(1e-12).log10().floor() as i32;
    let decimals = (3 - whole).clamp(0, 6) as usize;
    format!("{value:.decimals$}")
}

impl fmt::Display for EvalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.rows.first() else {
            return Ok(());
        };
        dependencies(first, f)?;
        match &self.rows[..] {
            [row] => write!(f, "{}\n{row}", row.subject),
            rows => table(rows, f),
        }
    }
}

/// What the numbers of all rows depend on.
fn dependencies(row: &EvalRow, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let info = &row.features;
    writeln!(f, "features    {}, layer {}, input {}, resize {}", info.network, info.layer, info.input, info.resize)?;
    writeln!(f, "reference   {}", row.reference)?;
    writeln!(f, "FD          {}, Fréchet distance; depends on n = {}", info.frechet_name, row.generated.n)?;
    if let Some(pictures) = row.reference_pictures {
        writeln!(f, "KD          {}, unbiased kernel distance to {pictures} pictures", info.kernel_name)?;
    }
    if let (Some(pictures), Some(neighbours)) = (row.manifold_pictures, row.neighbours) {
        writeln!(f, "neighbours  {neighbours} for precision, recall, density and coverage, against {pictures} pictures")?;
    }
    if let Some(judge) = &row.class_judge {
        writeln!(f, "class seen  by {judge}")?;
    }
    writeln!(f, "nearest     training picture by pixels, median; one in twenty is nearer than the last number\n")
}

/// A line for each row, and one for real pictures.
fn table(rows: &[EvalRow], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut lines: Vec<(String, &QualityMetrics)> = rows.iter().map(|row| (row.subject.short_name(), &row.generated)).collect();
    if let Some(real) = rows.first().and_then(|first| first.real.as_ref()) {
        lines.push((format!("real pictures, n = {}", real.n), real));
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let shown: Vec<&Shown> = SHOWN
        .iter()
        .filter(|shown| lines.iter().any(|(_, m)| (shown.value)(m).is_some()))
        .collect();
    write!(f, "{:width$}", "")?;
    for Shown { title, .. } in &shown {
        write!(f, "{title:>11}")?;
    }
    writeln!(f)?;
    for (name, metrics) in lines {
        write!(f, "{name:width$}")?;
        for shown in &shown {
            write!(f, "{:>11}", (shown.value)(metrics).unwrap_or_else(|| "-".to_owned()))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

impl fmt::Display for EvalRow {
    /// Every metric on a line of its own, real pictures on the right, then the classes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = || "-".to_owned();
        let Self { generated, real, features, .. } = self;
        let beside = |value: &dyn Fn(&QualityMetrics) -> Option<String>| real.as_ref().map(|real| value(real).unwrap_or_else(none));
        let mut line = |name: &str, value: &dyn Fn(&QualityMetrics) -> Option<String>| match (value(generated), beside(value)) {
            (None, _) => Ok(()),
            (Some(generated), Some(real)) => writeln!(f, "{name:30}{generated:>10}{real:>10}"),
            (Some(generated), None) => writeln!(f, "{name:30}{generated:>10}"),
        };
        let title = |m: &QualityMetrics| Some(if std::ptr::eq(m, generated) { "generated" } else { "real" }.to_owned());
        line("", &title)?;
        line("images", &|m| Some(m.n.to_string()))?;
        for Shown { title, name, value } in &SHOWN {
            let name = match *title {
                "FD" => &features.frechet_name,
                "KD" => &features.kernel_name,
                _ => *name,
            };
            line(name, value)?;
        }
        if !self.classes.is_empty() {
            writeln!(f, "\n{:30}{:>10}{:>10}{:>10}", "class", "asked", "correct", "seen")?;
        }
        for ClassCounts { name, asked, correct, seen } in &self.classes {
            writeln!(f, "  {name:28}{asked:>10}{correct:>10}{seen:>10}")?;
        }
        Ok(())
    }
}

impl Subject {
    /// What tells it from the other rows of a table.
    fn short_name(&self) -> String {
        let arithmetic = self.arithmetic.filter(|&name| name != "f32");
        let guidance = self.guidance.map(|weight| format!("guidance {weight}"));
        let evaluations = self
            .evaluations
            .map(|count| format!("{count} evaluation{}", if count == 1 { "" } else { "s" }));
        let parts = [self.ema.clone(), arithmetic.map(str::to_owned), guidance, evaluations];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { self.source.clone() } else { parts.join(", ") }
    }
}

impl fmt::Display for Subject {
    /// All that is known of it, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(images) = self.images_seen {
            write!(f, ", {images} images seen")?;
        }
        let name = self.short_name();
        if name != self.source {
            write!(f, ", {name}")?;
        }
        self.seed.map_or(Ok(()), |seed| write!(f, ", seed {seed}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::report::FeatureInfo;

    fn metrics(frechet: f64) -> QualityMetrics {
        QualityMetrics {
            n: 100,
            frechet,
            kernel: Some(0.00123456),
            precision: Some(0.5),
            recall: Some(0.25),
            density: Some(1.125),
            coverage: Some(0.75),
            nearest_median: Some(0.1),
            nearest_p05: Some(0.05),
            ..QualityMetrics::default()
        }
    }

    fn row() -> EvalRow {
        EvalRow {
            subject: Subject {
                source: "run".into(),
                ema: Some("share-0.02".into()),
                images_seen: Some(7),
                arithmetic: Some("f32"),
                seed: Some(1),
                evaluations: Some(75),
                guidance: Some(1.5),
            },
            features: FeatureInfo {
                network: "efficientnet-lite0".into(),
                layer: "112".into(),
                input: 96,
                resize: "pil-bicubic".into(),
                frechet_name: "FD-efficientnet-lite0-112".into(),
                kernel_name: "KD-efficientnet-lite0-112".into(),
            },
            reference: "900 training pictures of here".into(),
            reference_pictures: Some(900),
            manifold_pictures: Some(100),
            neighbours: Some(5),
            class_judge: None,
            generated: metrics(12.345678),
            real: Some(metrics(1234.5678)),
            classes: Vec::new(),
        }
    }

    #[test]
    fn several_sets_are_a_table_that_names_everything() {
        let other = EvalRow { subject: Subject { guidance: Some(3.0), ..row().subject }, ..row() };
        let text = EvalReport::new(vec![row(), other]).to_string();
        for part in [
            "efficientnet-lite0, layer 112, input 96, resize pil-bicubic",
            "900 training pictures of here",
            "FD-efficientnet-lite0-112, Fréchet distance; depends on n = 100",
            "share-0.02, guidance 1.5, 75 evaluations",
            "share-0.02, guidance 3, 75 evaluations",
            "12.35",
            "1235",
            "0.001235",
            "real pictures, n = 100",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        // Nothing told classes, so there is no such column.
        assert!(!text.contains("class seen"), "{text}");
        assert_eq!(EvalReport::new(Vec::new()).to_string(), "");
    }

    #[test]
    fn one_set_is_a_list_with_its_classes() {
        let mut row = row();
        row.generated.accuracy = Some(0.5);
        row.classes = ClassCounts::count(&["Ankle boot".into()], &[0, 0], &[0, 1]);
        let text = EvalReport::new(vec![row.clone()]).to_string();
        for part in [
            "run, 7 images seen, share-0.02, guidance 1.5, 75 evaluations, seed 1\n",
            "                               generated      real\n",
            "FD-efficientnet-lite0-112          12.35      1235\n",
            "class seen as requested            50.0%         -\n",
            "nearest training image, median    0.1000    0.1000\n",
            "  Ankle boot                           2         1         1\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        row.real = None;
        let text = row.to_string();
        assert!(text.contains("recall                             0.250\n") && !text.contains("real"), "{text}");
    }

    #[test]
    fn arithmetic_tells_rows_apart() {
        let mut subject = row().subject;
        subject.arithmetic = Some("int8");
        assert_eq!(subject.short_name(), "share-0.02, int8, guidance 1.5, 75 evaluations");
        assert_eq!(Subject::pictures("folder").to_string(), "folder");
    }
}
