//! Real pictures with their features, ready to measure any number of generated sets against.
//!
//! Real pictures are split in two that share none: a *reference*, which every set is compared with, and a *sample* of as many pictures
//! as will be generated, which is measured exactly as they are. Its metrics are what a perfect generator would get.

use crate::quality::error::QualityError;
use crate::quality::extractor::Extractor;
use crate::quality::features::Features;
use crate::quality::kernel::{self, SUBSET_SIZE, SUBSETS};
use crate::quality::neighbours::{ManifoldScores, NEIGHBOURS, RealManifold, vote};
use crate::quality::npz::Npz;
use crate::quality::reference::{Reference, reference_indices, training_statistics};
use pixgen_edge::data::ImageShape;
use pixgen_edge::eval::nearest::{Nearest, nearest};
use pixgen_edge::eval::report::accuracy;
use pixgen_edge::eval::sample::{RealSample, SEED, pick, sample as choose};
use pixgen_edge::eval::{ClassCounts, Classifier, EvalError, EvalRow, QualityMetrics, Subject};

/// Stream of [`SEED`] beyond those of the subsets, of [`RealSample`] and of the reference.
const MANIFOLD: u64 = (1 << 32) + 3;

/// Real pictures of one shape, H W C bytes.
#[derive(Clone, Copy, Debug)]
pub struct RealPictures<'a> {
    /// Where they come from, for people.
    pub name: &'a str,
    /// Of every picture.
    pub shape: ImageShape,
    /// What the generator learned from.
    pub training: &'a [u8],
    /// Its classes.
    pub labels: &'a [u16],
    /// What it did not learn from; may be empty.
    pub held_out: &'a [u8],
    /// Its classes.
    pub held_out_labels: &'a [u16],
    /// Names of the classes.
    pub class_names: &'a [String],
}

impl RealPictures<'_> {
    /// Refuses parts that do not fit together.
    fn check(&self) -> Result<(), EvalError> {
        let length = self.shape.len();
        for (what, pixels, labels) in [
            ("training images", self.training, self.labels),
            ("held-out images", self.held_out, self.held_out_labels),
        ] {
            if length == 0 || !pixels.len().is_multiple_of(length) {
                return Err(EvalError::PartialImage { what, bytes: pixels.len(), pixels: length });
            }
            if pixels.len() / length != labels.len() {
                return Err(EvalError::LabelCount { what, images: pixels.len() / length, labels: labels.len() });
            }
        }
        Ok(())
    }
}

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct ReferenceOptions {
    /// Pictures of a generated set.
    pub n: usize,
    /// Neighbour that the radii of precision, recall, density and coverage reach to, and number of neighbours that vote.
    pub neighbours: usize,
    /// The largest number of reference pictures.
    pub reference: usize,
    /// Whether training pictures may leave the reference to fill the sample of real ones up to `n`; never more than half of them.
    pub top_up: bool,
}

impl ReferenceOptions {
    /// The usual ones for sets of `n` pictures.
    pub fn new(n: usize) -> Self {
        Self { n, neighbours: NEIGHBOURS, reference: 10_000, top_up: true }
    }
}

/// One set of pictures, measured.
#[derive(Clone, Debug)]
pub struct MeasuredSet {
    /// Its metrics.
    pub metrics: QualityMetrics,
    /// The nearest training picture of each, by pixels.
    pub nearest: Option<Nearest>,
    /// The class that is seen in each; empty if nothing tells classes.
    pub seen: Vec<u16>,
}

/// What tells the class that a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClassJudge {
    Classifier,
    Vote,
    None,
}

/// Training pictures that are in the reference, with their features: they vote for classes.
struct Labelled {
    features: Features,
    labels: Vec<u16>,
}

/// Real pictures with their features.
pub struct ReferenceSet<'a> {
    extractor: Extractor,
    real: RealPictures<'a>,
    options: ReferenceOptions,
    judge: ClassJudge,
    labelled: Labelled,
    reference: Reference,
    manifold: Option<RealManifold>,
    sample: Option<QualityMetrics>,
}

impl<'a> ReferenceSet<'a> {
    /// Computes the features of the real pictures; `published` takes the place of the training pictures as reference.
    ///
    /// # Errors
    /// Pictures that the network cannot see, too few of them, statistics of other features.
    pub fn new(
        extractor: Extractor,
        real: RealPictures<'a>,
        options: ReferenceOptions,
        published: Option<(&str, Npz)>,
    ) -> Result<Self, QualityError> {
        real.check()?;
        let training = real.labels.len();
        if training == 0 && published.is_none() {
            return Err(EvalError::TooFew { what: "training images", needed: 2, found: 0 }.into());
        }
        let judge = match extractor.classifier() {
            Some(_) if Classifier::knows(real.shape, real.class_names) => ClassJudge::Classifier,
            _ if real.class_names.len() > 1 && training >= options.neighbours => ClassJudge::Vote,
            _ => ClassJudge::None,
        };
        let sample = RealSample::new(options.n, real.held_out_labels.len(), training, options.top_up);
        let kept = reference_indices(training, &sample.training, options.reference);
        let labelled = Labelled {
            features: extractor.features(&pick(real.training, &kept, real.shape.len()), real.shape)?,
            labels: kept.iter().map(|&index| real.labels[index]).collect(),
        };
        let reference = match published {
            Some((name, npz)) => Reference::published(&extractor, name, npz)?,
            None => {
                let (name, frechet) = training_statistics(&extractor, real.name, &labelled.features, real.shape, real.class_names)?;
                Reference { name, frechet, features: Some(labelled.features.clone()) }
            }
        };
        let manifold = match &reference.features {
            Some(features) => {
                let some = features.select(&choose(features.n, options.n, SEED, MANIFOLD));
                Some(RealManifold::new(&some, options.neighbours)?)
            }
            None => None,
        };
        let mut set = Self { extractor, real, options, judge, labelled, reference, manifold, sample: None };
        set.sample = set.measure_sample(&sample)?;
        Ok(set)
    }

    /// Metrics of the sample of real pictures; none if it is too small for all of them.
    fn measure_sample(&self, sample: &RealSample) -> Result<Option<QualityMetrics>, QualityError> {
        let (real, length) = (&self.real, self.real.shape.len());
        let asked = sample.labels(real.held_out_labels, real.labels);
        if asked.len() <= self.options.neighbours.max(3) {
            return Ok(None);
        }
        let pixels = sample.pixels(real.held_out, real.training, length);
        // Only the held-out ones say how near a picture comes that was not learned from.
        let near = (!sample.held_out.is_empty()).then_some(&pixels[..sample.held_out.len() * length]);
        Ok(Some(self.measure_near(&pixels, Some(&asked), near)?.metrics))
    }

    /// Measures a set of pictures of the real ones' shape; `asked` are the classes they should show.
    ///
    /// # Errors
    /// Bytes or labels that do not fit, or too few pictures.
    pub fn measure(&self, pictures: &[u8], asked: Option<&[u16]>) -> Result<MeasuredSet, QualityError> {
        self.measure_near(pictures, asked, Some(pictures))
    }

    /// The nearest training picture is looked for of those in `near`.
    fn measure_near(&self, pictures: &[u8], asked: Option<&[u16]>, near: Option<&[u8]>) -> Result<MeasuredSet, QualityError> {
        let features = self.extractor.features(pictures, self.real.shape)?;
        if let Some(asked) = asked
            && asked.len() != features.n
        {
            return Err(EvalError::LabelCount { what: "pictures", images: features.n, labels: asked.len() }.into());
        }
        let seen = match (self.judge, self.extractor.classifier()) {
            (ClassJudge::Classifier, Some(classifier)) => classifier.predict(pictures)?.into_iter().map(u16::from).collect(),
            (ClassJudge::Vote, _) => vote(&features, &self.labelled.features, &self.labelled.labels, self.options.neighbours)?,
            _ => Vec::new(),
        };
        let nearest = match near {
            Some(near) if !self.real.training.is_empty() => Some(nearest(near, self.real.training, self.real.shape.len())?),
            _ => None,
        };
        let quantile = |q: f64| nearest.as_ref().and_then(|nearest| nearest.quantile(q)).map(f64::from);
        let reference = self.reference.features.as_ref();
        let scores = self.manifold.as_ref().map(|manifold| manifold.measure(&features)).transpose()?;
        let metrics = QualityMetrics {
            n: features.n,
            frechet: self.reference.frechet.distance(&features.moments()?)?,
            kernel: reference.map(|reference| kernel::distance(&features, reference)).transpose()?,
            kernel_subsets: reference
                .map(|reference| kernel::subsets(&features, reference, SUBSETS, SUBSET_SIZE, SEED))
                .transpose()?,
            precision: scores.map(|ManifoldScores { precision, .. }| precision),
            recall: scores.map(|ManifoldScores { recall, .. }| recall),
            density: scores.map(|ManifoldScores { density, .. }| density),
            coverage: scores.map(|ManifoldScores { coverage, .. }| coverage),
            accuracy: asked.and_then(|asked| accuracy(asked, &seen)),
            nearest_median: quantile(0.5),
            nearest_p05: quantile(0.05),
        };
        Ok(MeasuredSet { metrics, nearest, seen })
    }

    /// The row of a report: the metrics of `subject` with everything that they depend on, and those of the real pictures beside them.
    pub fn row(&self, subject: Subject, set: &MeasuredSet, asked: Option<&[u16]>) -> EvalRow {
        let neighbours = self.options.neighbours;
        let votes = self.judge == ClassJudge::Vote;
        EvalRow {
            subject,
            features: self.extractor.recipe().info(),
            reference: self.reference.name.clone(),
            reference_pictures: self.reference.features.as_ref().map(|features| features.n),
            manifold_pictures: self.manifold.as_ref().map(RealManifold::len),
            neighbours: (votes || self.manifold.is_some()).then_some(neighbours),
            class_judge: match self.judge {
                ClassJudge::Classifier => Some("the bundled classifier".to_owned()),
                ClassJudge::Vote => {
                    let known = self.labelled.features.n;
                    Some(format!("the vote of the {neighbours} nearest of {known} training pictures, by features"))
                }
                ClassJudge::None => None,
            },
            generated: set.metrics.clone(),
            real: self.sample.clone(),
            classes: match asked {
                Some(asked) if !set.seen.is_empty() => ClassCounts::count(self.real.class_names, asked, &set.seen),
                _ => Vec::new(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_edge::data::{Dataset, FASHION_MNIST_CLASSES, bundled_split};
    use pixgen_edge::eval::FashionReference;
    use pixgen_edge::eval::frechet::FeatureMoments;

    const SHAPE: ImageShape = ImageShape { height: 28, width: 28, channels: 1 };

    /// Some pictures with their classes.
    struct Part {
        pixels: Vec<u8>,
        labels: Vec<u16>,
    }

    fn real<'a>(training: &'a Part, held_out: &'a Part, class_names: &'a [String]) -> RealPictures<'a> {
        RealPictures {
            name: "bundled",
            shape: SHAPE,
            training: &training.pixels,
            labels: &training.labels,
            held_out: &held_out.pixels,
            held_out_labels: &held_out.labels,
            class_names,
        }
    }

    /// Both parts of the bundled pictures, the first so many of each.
    fn parts(training: usize, held_out: usize) -> (Part, Part) {
        let (a, b) = bundled_split().unwrap();
        let cut = |data: Dataset, n: usize| Part {
            pixels: data.pixels().unwrap()[..n * SHAPE.len()].to_vec(),
            labels: data.labels[..n].to_vec(),
        };
        (cut(a, training), cut(b, held_out))
    }

    fn fashion_names() -> Vec<String> {
        FASHION_MNIST_CLASSES.map(String::from).to_vec()
    }

    #[test]
    fn real_pictures_are_near_the_sample_and_blank_ones_are_not() {
        let ((training, held_out), names) = (parts(2000, 600), fashion_names());
        let data = real(&training, &held_out, &names);
        let set = ReferenceSet::new(Extractor::fashion().unwrap(), data, ReferenceOptions::new(300), None).unwrap();
        let length = data.shape.len();
        let fresh = set.measure(&held_out.pixels[300 * length..], Some(&held_out.labels[300..])).unwrap();
        let row = set.row(Subject::pictures("held out"), &fresh, Some(&held_out.labels[300..]));
        let (found, floor) = (&row.generated, row.real.as_ref().unwrap());
        assert_eq!((found.n, floor.n, row.manifold_pictures, row.reference_pictures), (300, 300, Some(300), Some(2000)));
        assert!(found.frechet < 2.0 * floor.frechet, "{found:?} {floor:?}");
        assert!([found.precision, found.recall, found.coverage].iter().all(|share| *share > Some(0.8)), "{found:?}");
        assert!(found.accuracy.unwrap() > 0.85 && (found.nearest_median.unwrap() / floor.nearest_median.unwrap() - 1.0).abs() < 0.2);
        assert_eq!((fresh.seen.len(), fresh.nearest.unwrap().indices.len()), (300, 300));
        assert_eq!(row.class_judge.as_deref(), Some("the bundled classifier"));

        let blank = set.measure(&vec![0; 300 * length], None).unwrap().metrics;
        assert!(
            blank.frechet > 10.0 * floor.frechet && blank.kernel.unwrap() > 10.0 * floor.kernel.unwrap().abs(),
            "{blank:?}"
        );
        assert_eq!((blank.recall, blank.accuracy), (Some(0.0), None));
        let copies = set.measure(&training.pixels[..300 * length], None).unwrap().metrics;
        assert_eq!((copies.nearest_median, copies.nearest_p05), (Some(0.0), Some(0.0)));
    }

    /// `pixgen-edge report` measures by the classifier alone; what both programs measure is equal.
    #[test]
    fn the_report_of_an_export_has_the_same_numbers() {
        let (training, held_out) = bundled_split().unwrap();
        let (known, fresh) = (training.pixels().unwrap(), held_out.pixels().unwrap());
        let data = RealPictures {
            name: "bundled",
            shape: SHAPE,
            training: &known,
            labels: &training.labels,
            held_out: &fresh,
            held_out_labels: &held_out.labels,
            class_names: &training.class_names,
        };
        // More than are held out, so that training pictures fill the sample up.
        let n = held_out.len() + 20;
        let set = ReferenceSet::new(Extractor::fashion().unwrap(), data, ReferenceOptions::new(n), None).unwrap();
        let (pictures, asked) = (&known[..n * SHAPE.len()], &training.labels[..n]);
        let here = set.row(Subject::default(), &set.measure(pictures, Some(asked)).unwrap(), Some(asked));
        let edge = FashionReference::new(&training, &held_out, n).unwrap();
        let edge = edge.measure(Subject::default(), pictures, asked).unwrap();
        assert_eq!((&edge.features, &edge.class_judge, &edge.classes), (&here.features, &here.class_judge, &here.classes));
        let shared = |metrics: &QualityMetrics| {
            let QualityMetrics { n, frechet, accuracy, nearest_median, nearest_p05, .. } = *metrics;
            QualityMetrics { n, frechet, accuracy, nearest_median, nearest_p05, ..QualityMetrics::default() }
        };
        assert_eq!(edge.generated, shared(&here.generated));
        assert_eq!(edge.real.unwrap(), shared(here.real.as_ref().unwrap()));
    }

    #[test]
    fn the_sample_is_filled_up_from_training_and_shares_nothing_with_the_reference() {
        let (training, held_out) = parts(600, 50);
        // Other names for the classes, so that neighbours vote and training pictures are the reference.
        let names: Vec<String> = (0..10).map(|class| class.to_string()).collect();
        let data = real(&training, &held_out, &names);
        let measure = |options| ReferenceSet::new(Extractor::fashion().unwrap(), data, options, None).unwrap();
        let set = measure(ReferenceOptions::new(200));
        let row = set.row(Subject::pictures("x"), &set.measure(&held_out.pixels, None).unwrap(), None);
        assert_eq!((row.real.as_ref().unwrap().n, row.reference_pictures), (200, Some(450)));
        assert!(row.reference.contains("450 pictures of bundled"), "{}", row.reference);
        assert!(row.class_judge.unwrap().contains("vote of the 5 nearest of 450"));
        let floor = row.real.unwrap();
        // A shared picture would be its own nearest: precision near 1 and a vote that is always right.
        assert!((0.6..0.99).contains(&floor.accuracy.unwrap()), "{floor:?}");
        assert!(floor.nearest_p05.unwrap() > 0.02, "{floor:?}");
        // At most half may leave, and a cap is a cap.
        let set = measure(ReferenceOptions { reference: 100, ..ReferenceOptions::new(5000) });
        let floor = set.sample.as_ref().unwrap();
        assert_eq!((floor.n, set.labelled.features.n), (350, 100));
        let set = measure(ReferenceOptions { top_up: false, ..ReferenceOptions::new(200) });
        assert_eq!((set.sample.as_ref().unwrap().n, set.labelled.features.n), (50, 600));
    }

    #[test]
    fn published_references_take_the_place_of_training_pictures() {
        let ((training, held_out), names) = (parts(200, 100), fashion_names());
        let data = real(&training, &held_out, &names);
        let make = |npz| ReferenceSet::new(Extractor::fashion().unwrap(), data, ReferenceOptions::new(100), Some(("file.npz", npz)));
        let pictures = Some((data.shape, training.pixels.clone()));
        let set = make(Npz { moments: None, pictures }).unwrap();
        let row = set.row(Subject::pictures("x"), &set.measure(&held_out.pixels, None).unwrap(), None);
        assert_eq!((&row.reference[..], row.reference_pictures), ("file.npz", Some(200)));
        // Statistics of Inception say nothing about other features.
        let moments = Some(FeatureMoments::published(&[0.0; 64], &[0.0; 64 * 64]).unwrap());
        let error = make(Npz { moments, pictures: None }).err().unwrap();
        assert!(matches!(error, QualityError::PublishedFeatures { .. }) && error.hint().is_some(), "{error}");
    }

    #[test]
    fn bad_sets_are_errors() {
        let ((training, held_out), names) = (parts(100, 20), fashion_names());
        let data = real(&training, &held_out, &names);
        let make = |real, options| ReferenceSet::new(Extractor::fashion().unwrap(), real, options, None);
        let error = make(RealPictures { labels: &training.labels[1..], ..data }, ReferenceOptions::new(20))
            .err()
            .unwrap();
        assert!(matches!(error, QualityError::Eval(EvalError::LabelCount { what: "training images", .. })), "{error}");
        let error = make(RealPictures { held_out: &held_out.pixels[1..], ..data }, ReferenceOptions::new(20))
            .err()
            .unwrap();
        assert!(matches!(error, QualityError::Eval(EvalError::PartialImage { what: "held-out images", .. })), "{error}");
        let error = make(RealPictures { training: &[], labels: &[], ..data }, ReferenceOptions::new(20))
            .err()
            .unwrap();
        assert!(matches!(error, QualityError::Eval(EvalError::TooFew { .. })), "{error}");
        let error = make(data, ReferenceOptions { neighbours: 100, ..ReferenceOptions::new(20) })
            .err()
            .unwrap();
        assert!(matches!(error, QualityError::Eval(EvalError::TooFew { .. })), "{error}");
        let set = make(data, ReferenceOptions::new(20)).unwrap();
        assert!(matches!(set.measure(&held_out.pixels, Some(&[0; 3])), Err(QualityError::Eval(EvalError::LabelCount { .. }))));
        assert!(matches!(set.measure(&held_out.pixels[..784], None), Err(QualityError::Eval(EvalError::TooFew { .. }))));
    }
}
