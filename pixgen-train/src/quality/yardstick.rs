//! Real pictures with their features, ready to measure any number of generated sets against.
//!
//! Real pictures are split in two that share none: a *reference*, which every set is compared with, and a *sample* of as many pictures
//! as will be generated, which is measured exactly as they are. Its numbers are what a perfect generator would get.

use serde::Serialize;

use crate::quality::error::QualityError;
use crate::quality::extractor::Extractor;
use crate::quality::features::Features;
use crate::quality::kernel::{self, SUBSET_SIZE, SUBSETS, Subsets, sample};
use crate::quality::measurement::{Measurement, Subject};
use crate::quality::neighbours::{Balls, Manifolds, NEIGHBOURS, vote};
use crate::quality::npz::Npz;
use pixgen_edge::data::{FASHION_MNIST_CLASSES, ImageShape};
use pixgen_edge::eval::EvalError;
use pixgen_edge::eval::frechet::Origin;
use pixgen_edge::eval::nearest::{Nearest, nearest};

/// Seed of every random choice of real pictures, so that all measurements of a data set see the same ones.
const SEED: u64 = 0x7265_616C;
/// Streams of that seed beyond those of the subsets.
const TOP_UP: u64 = 1 << 32;
const CAP: u64 = TOP_UP + 1;
const HELD_OUT: u64 = TOP_UP + 2;
const BALLS: u64 = TOP_UP + 3;

/// Real pictures of one shape, H W C bytes.
#[derive(Clone, Copy, Debug)]
pub struct Real<'a> {
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

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Pictures of a generated set.
    pub n: usize,
    /// k of the balls and of the vote.
    pub neighbours: usize,
    /// The largest number of reference pictures.
    pub reference: usize,
    /// Whether training pictures may leave the reference to fill the sample of real ones up to `n`; never more than half of them.
    pub top_up: bool,
}

impl Options {
    /// The usual ones for sets of `n` pictures.
    pub fn new(n: usize) -> Self {
        Self { n, neighbours: NEIGHBOURS, reference: 10_000, top_up: true }
    }
}

/// The numbers of one set of pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Numbers {
    /// Pictures.
    pub n: usize,
    /// Frechet distance to the reference.
    pub frechet: f64,
    /// Unbiased kernel distance to the reference, from all pairs.
    pub kernel: Option<f64>,
    /// The same on random subsets.
    pub kernel_subsets: Option<Subsets>,
    /// Precision, recall, density and coverage, against as many reference pictures if there are.
    #[serde(flatten)]
    pub manifolds: Option<Manifolds>,
    /// Share of pictures in which the class is seen that was asked for.
    pub accuracy: Option<f64>,
    /// Median distance to the nearest training picture, root mean square of pixels on [0, 1]; of real pictures, of the held-out ones.
    pub nearest_median: Option<f64>,
    /// The distance that one picture in twenty does not exceed.
    pub nearest_p05: Option<f64>,
}

/// One set of pictures, measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Its numbers.
    pub numbers: Numbers,
    /// The nearest training picture of each, by pixels.
    pub nearest: Option<Nearest>,
    /// The class that is seen in each; empty if there is nobody to tell.
    pub seen: Vec<u16>,
}

/// Who tells classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judge {
    Classifier,
    Vote,
    Nobody,
}

/// Real pictures with their features.
pub struct Yardstick<'a> {
    extractor: Extractor,
    real: Real<'a>,
    options: Options,
    judge: Judge,
    /// Who votes.
    labelled: Features,
    labels: Vec<u16>,
    /// What sets are compared with.
    origin: Origin,
    reference: Option<Features>,
    balls: Option<Balls>,
    name: String,
    sample: Option<Numbers>,
}

impl<'a> Yardstick<'a> {
    /// Computes the features of the real pictures; `published` takes the place of the training pictures as reference.
    ///
    /// # Errors
    /// Pictures that the network cannot see, too few of them, statistics of other features.
    pub fn new(extractor: Extractor, real: Real<'a>, options: Options, published: Option<(&str, Npz)>) -> Result<Self, QualityError> {
        let length = real.shape.len();
        let training = real.labels.len();
        for (what, pixels, labels) in [
            ("training images", real.training, real.labels),
            ("held-out images", real.held_out, real.held_out_labels),
        ] {
            if length == 0 || !pixels.len().is_multiple_of(length) {
                return Err(EvalError::PartialImage { what, bytes: pixels.len(), pixels: length }.into());
            }
            if pixels.len() / length != labels.len() {
                return Err(EvalError::LabelCount { what, images: pixels.len() / length, labels: labels.len() }.into());
            }
        }
        if training == 0 && published.is_none() {
            return Err(EvalError::TooFew { what: "training images", needed: 2, found: 0 }.into());
        }
        let fashion = real.class_names.iter().map(String::as_str).eq(FASHION_MNIST_CLASSES);
        let judge = match extractor.classifier() {
            Some(_) if fashion => Judge::Classifier,
            _ if real.class_names.len() > 1 && training >= options.neighbours => Judge::Vote,
            _ => Judge::Nobody,
        };

        // The sample of real pictures: held-out ones, and training ones that are no reference then.
        let held_out = sample(real.held_out_labels.len(), options.n, SEED, HELD_OUT);
        let missing = if options.top_up { options.n - held_out.len() } else { 0 };
        let moved = sample(training, missing.min(training / 2), SEED, TOP_UP);
        let mut stays = vec![true; training];
        moved.iter().for_each(|&index| stays[index] = false);
        let rest: Vec<usize> = (0..training).filter(|&index| stays[index]).collect();
        let mut kept: Vec<usize> = sample(rest.len(), options.reference, SEED, CAP)
            .into_iter()
            .map(|index| rest[index])
            .collect();
        kept.sort_unstable();
        let labelled = extractor.features(&pick(real.training, length, &kept), real.shape)?;
        let labels: Vec<u16> = kept.iter().map(|&index| real.labels[index]).collect();

        let (name, moments, reference) = match published {
            Some((name, npz)) => {
                let features = match &npz.pictures {
                    Some((shape, pixels)) => Some(extractor.features(pixels, *shape)?),
                    None => None,
                };
                let moments = match (npz.moments, &features) {
                    (Some(moments), _) if extractor.recipe().distance_names().0 == "FID" => moments,
                    (_, Some(features)) => features.moments()?,
                    _ => return Err(QualityError::PublishedFeatures { recipe: extractor.recipe().to_string() }),
                };
                (name.to_owned(), moments, features)
            }
            // As in the quick start's report: its reference are pictures that the classifier did not learn from.
            None if judge == Judge::Classifier => {
                let moments = extractor
                    .classifier()
                    .map_or_else(|| labelled.moments(), |known| Ok(known.reference().clone()))?;
                let name = format!("{} Fashion-MNIST test pictures (Frechet), {} training pictures", moments.n(), labelled.n);
                (name, moments, Some(labelled.clone()))
            }
            None => (format!("{} pictures of {}", labelled.n, real.name), labelled.moments()?, Some(labelled.clone())),
        };
        let balls = match &reference {
            Some(features) => {
                let some = features.select(&sample(features.n, options.n, SEED, BALLS));
                Some(Balls::new(&some, options.neighbours)?)
            }
            None => None,
        };
        let mut yardstick = Self {
            extractor,
            real,
            options,
            judge,
            labelled,
            labels,
            origin: Origin::new(moments)?,
            reference,
            balls,
            name,
            sample: None,
        };

        let pixels = [pick(real.held_out, length, &held_out), pick(real.training, length, &moved)].concat();
        let asked: Vec<u16> = held_out
            .iter()
            .map(|&index| real.held_out_labels[index])
            .chain(moved.iter().map(|&index| real.labels[index]))
            .collect();
        if asked.len() > options.neighbours.max(3) {
            // Only the held-out ones say how near a picture comes that was not learned from.
            let near = (!held_out.is_empty()).then_some(&pixels[..held_out.len() * length]);
            yardstick.sample = Some(yardstick.numbers(&pixels, Some(&asked), near)?.numbers);
        }
        Ok(yardstick)
    }

    /// Measures a set of pictures of the real ones' shape; `asked` are the classes they should show.
    ///
    /// # Errors
    /// Bytes or labels that do not fit, or too few pictures.
    pub fn measure(&self, pictures: &[u8], asked: Option<&[u16]>) -> Result<Measured, QualityError> {
        self.numbers(pictures, asked, Some(pictures))
    }

    fn numbers(&self, pictures: &[u8], asked: Option<&[u16]>, near: Option<&[u8]>) -> Result<Measured, QualityError> {
        let Options { neighbours: k, .. } = self.options;
        let features = self.extractor.features(pictures, self.real.shape)?;
        if let Some(asked) = asked
            && asked.len() != features.n
        {
            return Err(EvalError::LabelCount { what: "pictures", images: features.n, labels: asked.len() }.into());
        }
        let seen = match (self.judge, self.extractor.classifier()) {
            (Judge::Classifier, Some(classifier)) => classifier.predict(pictures)?.into_iter().map(u16::from).collect(),
            (Judge::Vote, _) => vote(&features, &self.labelled, &self.labels, k)?,
            _ => Vec::new(),
        };
        let right = |asked: &[u16]| asked.iter().zip(&seen).filter(|(a, s)| a == s).count() as f64 / asked.len() as f64;
        let nearest = match near {
            Some(near) if !self.real.training.is_empty() => Some(nearest(near, self.real.training, self.real.shape.len())?),
            _ => None,
        };
        let quantile = |q: f64| nearest.as_ref().and_then(|nearest| nearest.quantile(q)).map(f64::from);
        let reference = self.reference.as_ref();
        let numbers = Numbers {
            n: features.n,
            frechet: self.origin.distance(&features.moments()?)?,
            kernel: reference.map(|reference| kernel::distance(&features, reference)).transpose()?,
            kernel_subsets: reference
                .map(|reference| kernel::subsets(&features, reference, SUBSETS, SUBSET_SIZE, SEED))
                .transpose()?,
            manifolds: self.balls.as_ref().map(|balls| balls.measure(&features)).transpose()?,
            accuracy: asked.filter(|asked| !asked.is_empty() && !seen.is_empty()).map(right),
            nearest_median: quantile(0.5),
            nearest_p05: quantile(0.05),
        };
        Ok(Measured { numbers, nearest, seen })
    }

    /// The numbers of `subject` with everything that they depend on, and those of the real pictures beside them.
    pub fn report(&self, subject: Subject, numbers: Numbers) -> Measurement {
        let (frechet_name, kernel_name) = self.extractor.recipe().distance_names();
        let k = self.options.neighbours;
        Measurement {
            subject,
            recipe: *self.extractor.recipe(),
            frechet_name,
            kernel_name,
            reference: self.name.clone(),
            reference_pictures: self.reference.as_ref().map(|reference| reference.n),
            ball_pictures: self.balls.as_ref().map(Balls::len),
            neighbours: k,
            judge: match self.judge {
                Judge::Classifier => Some("the committed classifier".to_owned()),
                Judge::Vote => Some(format!("the vote of the {k} nearest of {} training pictures, by features", self.labelled.n)),
                Judge::Nobody => None,
            },
            generated: numbers,
            real: self.sample.clone(),
        }
    }
}

/// The pictures at `indices`.
fn pick(pixels: &[u8], length: usize, indices: &[usize]) -> Vec<u8> {
    indices.iter().flat_map(|&index| &pixels[index * length..][..length]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_edge::data::{Dataset, bundled_split};
    use pixgen_edge::eval::frechet::Moments;

    const SHAPE: ImageShape = ImageShape { height: 28, width: 28, channels: 1 };

    /// Some pictures with their classes.
    struct Part {
        pixels: Vec<u8>,
        labels: Vec<u16>,
    }

    fn real<'a>(training: &'a Part, held_out: &'a Part, class_names: &'a [String]) -> Real<'a> {
        Real {
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
        let yardstick = Yardstick::new(Extractor::fashion().unwrap(), data, Options::new(300), None).unwrap();
        let length = data.shape.len();
        let fresh = yardstick
            .measure(&held_out.pixels[300 * length..], Some(&held_out.labels[300..]))
            .unwrap();
        let report = yardstick.report(Subject::pictures("held out"), fresh.numbers.clone());
        let (found, floor) = (fresh.numbers, report.real.clone().unwrap());
        assert_eq!((found.n, floor.n, report.ball_pictures, report.reference_pictures), (300, 300, Some(300), Some(2000)));
        assert!(found.frechet < 2.0 * floor.frechet, "{found:?} {floor:?}");
        let manifolds = found.manifolds.unwrap();
        assert!(manifolds.precision > 0.8 && manifolds.recall > 0.8 && manifolds.coverage > 0.8, "{manifolds:?}");
        assert!(found.accuracy.unwrap() > 0.85 && (found.nearest_median.unwrap() / floor.nearest_median.unwrap() - 1.0).abs() < 0.2);
        assert_eq!((fresh.seen.len(), fresh.nearest.unwrap().indices.len()), (300, 300));
        assert_eq!(report.judge.as_deref(), Some("the committed classifier"));

        let blank = yardstick.measure(&vec![0; 300 * length], None).unwrap().numbers;
        assert!(
            blank.frechet > 10.0 * floor.frechet && blank.kernel.unwrap() > 10.0 * floor.kernel.unwrap().abs(),
            "{blank:?}"
        );
        assert_eq!((blank.manifolds.unwrap().recall, blank.accuracy), (0.0, None));
        let copies = yardstick.measure(&training.pixels[..300 * length], None).unwrap().numbers;
        assert_eq!((copies.nearest_median, copies.nearest_p05), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn the_sample_is_filled_up_from_training_and_shares_nothing_with_the_reference() {
        let (training, held_out) = parts(600, 50);
        // Other names for the classes, so that neighbours vote and training pictures are the reference.
        let names: Vec<String> = (0..10).map(|class| class.to_string()).collect();
        let data = real(&training, &held_out, &names);
        let measure = |options| Yardstick::new(Extractor::fashion().unwrap(), data, options, None).unwrap();
        let yardstick = measure(Options::new(200));
        let report = yardstick.report(Subject::pictures("x"), yardstick.sample.clone().unwrap());
        assert_eq!((report.real.as_ref().unwrap().n, report.reference_pictures), (200, Some(450)));
        assert!(report.reference.contains("450 pictures of bundled"), "{}", report.reference);
        assert!(report.judge.unwrap().contains("vote of the 5 nearest of 450"));
        let floor = report.real.unwrap();
        // A shared picture would be its own nearest: precision near 1 and a vote that is always right.
        assert!((0.6..0.99).contains(&floor.accuracy.unwrap()), "{floor:?}");
        assert!(floor.nearest_p05.unwrap() > 0.02, "{floor:?}");
        // At most half may leave, and a cap is a cap.
        let yardstick = measure(Options { reference: 100, ..Options::new(5000) });
        let floor = yardstick.sample.as_ref().unwrap();
        assert_eq!((floor.n, yardstick.labelled.n), (350, 100));
        let yardstick = measure(Options { top_up: false, ..Options::new(200) });
        assert_eq!((yardstick.sample.as_ref().unwrap().n, yardstick.labelled.n), (50, 600));
    }

    #[test]
    fn published_references_take_the_place_of_training_pictures() {
        let ((training, held_out), names) = (parts(200, 100), fashion_names());
        let data = real(&training, &held_out, &names);
        let make = |npz| Yardstick::new(Extractor::fashion().unwrap(), data, Options::new(100), Some(("file.npz", npz)));
        let pictures = Some((data.shape, training.pixels.clone()));
        let yardstick = make(Npz { moments: None, pictures }).unwrap();
        let report = yardstick.report(Subject::pictures("x"), yardstick.measure(&held_out.pixels, None).unwrap().numbers);
        assert_eq!((&report.reference[..], report.reference_pictures), ("file.npz", Some(200)));
        // Statistics of Inception say nothing about other features.
        let moments = Some(Moments::published(&[0.0; 64], &[0.0; 64 * 64]).unwrap());
        let error = make(Npz { moments, pictures: None }).err().unwrap();
        assert!(matches!(error, QualityError::PublishedFeatures { .. }) && error.hint().is_some(), "{error}");
    }

    #[test]
    fn bad_sets_are_errors() {
        let ((training, held_out), names) = (parts(100, 20), fashion_names());
        let data = real(&training, &held_out, &names);
        let make = |real, options| Yardstick::new(Extractor::fashion().unwrap(), real, options, None);
        let error = make(Real { labels: &training.labels[1..], ..data }, Options::new(20)).err().unwrap();
        assert!(matches!(error, QualityError::Eval(EvalError::LabelCount { what: "training images", .. })), "{error}");
        let error = make(Real { held_out: &held_out.pixels[1..], ..data }, Options::new(20)).err().unwrap();
        assert!(matches!(error, QualityError::Eval(EvalError::PartialImage { what: "held-out images", .. })), "{error}");
        let error = make(Real { training: &[], labels: &[], ..data }, Options::new(20)).err().unwrap();
        assert!(matches!(error, QualityError::Eval(EvalError::TooFew { .. })), "{error}");
        let error = make(data, Options { neighbours: 100, ..Options::new(20) }).err().unwrap();
        assert!(matches!(error, QualityError::Eval(EvalError::TooFew { .. })), "{error}");
        let yardstick = make(data, Options::new(20)).unwrap();
        assert!(matches!(
            yardstick.measure(&held_out.pixels, Some(&[0; 3])),
            Err(QualityError::Eval(EvalError::LabelCount { .. }))
        ));
        assert!(matches!(yardstick.measure(&held_out.pixels[..784], None), Err(QualityError::Eval(EvalError::TooFew { .. }))));
    }
}
