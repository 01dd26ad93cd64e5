//! The one report on the quality of pictures: `pixgen-train eval` and `quickstart` print it, and `pixgen-edge report` does.
//!
//! A row is one set of pictures. Every row has every key, so that a reader never has to ask how a number was measured; what was not
//! measured is null. docs/reference/evaluation.md describes the keys.

use serde::Serialize;

/// Version of the keys of [`EvalReport`]. A change of their names or meaning raises it.
pub const SCHEMA: u32 = 2;

/// One row for each set of pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// In the order in which they were measured.
    pub rows: Vec<EvalRow>,
}

impl EvalReport {
    /// A report of these rows.
    pub fn new(rows: Vec<EvalRow>) -> Self {
        Self { schema: SCHEMA, rows }
    }
}

/// One set of pictures with its metrics and everything that they depend on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalRow {
    /// Whose pictures.
    #[serde(flatten)]
    pub subject: Subject,
    /// What the features are.
    #[serde(flatten)]
    pub features: FeatureInfo,
    /// What the pictures were compared with.
    pub reference: String,
    /// Reference pictures of the kernel distance; none if there were only statistics.
    pub reference_pictures: Option<usize>,
    /// Reference pictures of precision, recall, density and coverage.
    pub manifold_pictures: Option<usize>,
    /// Neighbour that the radii of precision, recall, density and coverage reach to, and number of neighbours that vote.
    pub neighbours: Option<usize>,
    /// What tells the class that a picture shows.
    pub class_judge: Option<String>,
    /// Metrics of the set.
    pub generated: QualityMetrics,
    /// The same of real pictures that are not in the reference: what a perfect generator would get.
    pub real: Option<QualityMetrics>,
    /// Asked and seen, by class; empty if nothing tells classes.
    pub classes: Vec<ClassCounts>,
}

/// Whose pictures were measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Subject {
    /// Model file, run or folder.
    pub source: String,
    /// Which average of the weights.
    pub ema: Option<String>,
    /// Images seen in training.
    pub images_seen: Option<u64>,
    /// `f32`, or `int8` for what a chip draws.
    pub arithmetic: Option<&'static str>,
    /// Seed of the noise.
    pub seed: Option<u64>,
    /// Network evaluations for each picture.
    pub evaluations: Option<u32>,
    /// Weight of guidance, 1 for none; null for models that take none.
    pub guidance: Option<f64>,
}

impl Subject {
    /// Pictures of a folder, which no model drew here.
    pub fn pictures(source: &str) -> Self {
        Self { source: source.to_owned(), ..Self::default() }
    }
}

/// The network whose features are compared, and how pictures come to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureInfo {
    /// Network.
    pub network: String,
    /// Layer.
    pub layer: String,
    /// Side of the pictures that the network sees, in pixels.
    pub input: usize,
    /// How they come to it.
    pub resize: String,
    /// Name of the Fréchet distance on these features: `FID` only if it is one.
    pub frechet_name: String,
    /// Name of the kernel distance: `KID` only if it is one.
    pub kernel_name: String,
}

/// Metrics of one set of pictures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct QualityMetrics {
    /// Pictures.
    pub n: usize,
    /// Fréchet distance of the features to the reference. It falls as `n` grows: compare equal `n` only.
    pub frechet: f64,
    /// Unbiased kernel distance to the reference, from all pairs.
    pub kernel: Option<f64>,
    /// The same over random subsets.
    pub kernel_subsets: Option<KernelSubsets>,
    /// Share of the pictures that are among the real ones.
    pub precision: Option<f64>,
    /// Share of the real pictures that are among these.
    pub recall: Option<f64>,
    /// As precision, counting every real picture that a picture is near to; about 1 for real pictures, and may be above.
    pub density: Option<f64>,
    /// Share of the real pictures that one of these is near to.
    pub coverage: Option<f64>,
    /// Share of pictures that show the class asked for.
    pub accuracy: Option<f64>,
    /// Median distance to the nearest training picture, root mean square of pixels on [0, 1]; of real pictures, of the held-out ones.
    pub nearest_median: Option<f64>,
    /// The distance that one picture in twenty does not exceed.
    pub nearest_p05: Option<f64>,
}

/// The kernel distance over random subsets of both sets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KernelSubsets {
    /// Mean over the subsets.
    pub mean: f64,
    /// Standard deviation over the subsets, divisor their number.
    pub std: f64,
    /// How many.
    pub count: usize,
    /// Pictures of each set in a subset.
    pub size: usize,
}

/// One class of a set of pictures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCounts {
    /// Its name.
    pub name: String,
    /// Pictures that were asked to show it.
    pub asked: usize,
    /// Those of them in which it is seen.
    pub correct: usize,
    /// All pictures in which it is seen.
    pub seen: usize,
}

impl ClassCounts {
    /// Counts every class of `names` among the classes asked for and those seen, picture by picture.
    pub fn count(names: &[String], asked: &[u16], seen: &[u16]) -> Vec<Self> {
        let class = |(class, name): (usize, &String)| {
            let is = |label: &u16| usize::from(*label) == class;
            Self {
                name: name.clone(),
                asked: asked.iter().filter(|a| is(a)).count(),
                correct: asked.iter().zip(seen).filter(|(a, s)| is(a) && is(s)).count(),
                seen: seen.iter().filter(|s| is(s)).count(),
            }
        };
        names.iter().enumerate().map(class).collect()
    }
}

/// The share of equal classes; none if there are none to compare.
pub fn accuracy(asked: &[u16], seen: &[u16]) -> Option<f64> {
    let right = asked.iter().zip(seen).filter(|(a, s)| a == s).count();
    (!asked.is_empty() && !seen.is_empty()).then(|| right as f64 / asked.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_there_whatever_was_measured() {
        let features = FeatureInfo {
            network: "inception".into(),
            layer: "2048".into(),
            input: 299,
            resize: "pil-bicubic".into(),
            frechet_name: "FID".into(),
            kernel_name: "KID".into(),
        };
        let bare = EvalRow {
            subject: Subject::pictures("folder"),
            features,
            reference: "file.npz".into(),
            reference_pictures: None,
            manifold_pictures: None,
            neighbours: None,
            class_judge: None,
            generated: QualityMetrics::default(),
            real: None,
            classes: Vec::new(),
        };
        let full = EvalRow {
            subject: Subject { ema: Some("raw".into()), seed: Some(1), guidance: Some(1.5), ..bare.subject.clone() },
            generated: QualityMetrics { kernel: Some(0.5), precision: Some(0.25), ..QualityMetrics::default() },
            classes: ClassCounts::count(&["a".into()], &[0], &[0]),
            ..bare.clone()
        };
        let json = serde_json::to_value(EvalReport::new(vec![bare, full])).unwrap();
        assert_eq!(json["schema"], SCHEMA);
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let [bare, full] = [&json["rows"][0], &json["rows"][1]];
        assert_eq!(keys(bare), keys(full));
        assert_eq!(keys(&bare["generated"]), keys(&full["generated"]));
        assert_eq!((&full["ema"], &full["layer"], &full["generated"]["kernel"]), (&"raw".into(), &"2048".into(), &0.5.into()));
        assert!(bare["ema"].is_null() && bare["generated"]["kernel"].is_null() && bare["real"].is_null());
    }

    #[test]
    fn classes_are_counted() {
        let names = ["a", "b"].map(String::from);
        let counts = ClassCounts::count(&names, &[0, 0, 1, 1, 1], &[0, 1, 1, 1, 0]);
        let numbers: Vec<_> = counts.iter().map(|c| (c.asked, c.correct, c.seen)).collect();
        assert_eq!(numbers, [(2, 1, 2), (3, 2, 3)]);
        assert_eq!(accuracy(&[0, 0, 1, 1, 1], &[0, 1, 1, 1, 0]), Some(0.6));
        assert_eq!((accuracy(&[], &[]), accuracy(&[1], &[])), (None, None));
    }
}
