//! What generated pictures are compared with: features of real pictures, and the statistics of them.

use crate::quality::error::QualityError;
use crate::quality::extractor::Extractor;
use crate::quality::features::Features;
use crate::quality::npz::Npz;
use pixgen_edge::data::ImageShape;
use pixgen_edge::eval::Classifier;
use pixgen_edge::eval::frechet::FrechetReference;
use pixgen_edge::eval::sample::{SEED, sample as choose};

/// Stream of [`SEED`] for the choice of reference pictures.
const CAP: u64 = (1 << 32) + 1;

/// Real pictures as features, with the side of the Fréchet distance that does not change.
pub(super) struct Reference {
    /// For people.
    pub name: String,
    pub frechet: FrechetReference,
    /// None if there are only statistics.
    pub features: Option<Features>,
}

impl Reference {
    /// A reference file.
    pub fn published(extractor: &Extractor, name: &str, npz: Npz) -> Result<Self, QualityError> {
        let features = match &npz.pictures {
            Some((shape, pixels)) => Some(extractor.features(pixels, *shape)?),
            None => None,
        };
        let moments = match (npz.moments, &features) {
            (Some(moments), _) if extractor.recipe().distance_names().0 == "FID" => moments,
            (_, Some(features)) => features.moments()?,
            _ => return Err(QualityError::PublishedFeatures { recipe: extractor.recipe().to_string() }),
        };
        Ok(Self { name: name.to_owned(), frechet: FrechetReference::new(moments)?, features })
    }
}

/// Name and statistics of training pictures of `source` by their features; for the Fréchet distance of Fashion-MNIST, those of the test
/// pictures that the classifier did not learn from.
pub(super) fn training_statistics(
    extractor: &Extractor,
    source: &str,
    features: &Features,
    shape: ImageShape,
    class_names: &[String],
) -> Result<(String, FrechetReference), QualityError> {
    let n = features.n;
    let (name, moments) = match extractor.classifier() {
        Some(classifier) if Classifier::knows(shape, class_names) => {
            let moments = classifier.reference().clone();
            (format!("{} Fashion-MNIST test pictures (Fréchet), {n} training pictures", moments.n()), moments)
        }
        _ => (format!("{n} pictures of {source}"), features.moments()?),
    };
    Ok((name, FrechetReference::new(moments)?))
}

/// Numbers of at most `cap` of `training` pictures, in their order, without those `taken` for something else.
pub(super) fn reference_indices(training: usize, taken: &[usize], cap: usize) -> Vec<usize> {
    let mut stays = vec![true; training];
    taken.iter().for_each(|&index| stays[index] = false);
    let rest: Vec<usize> = (0..training).filter(|&index| stays[index]).collect();
    let mut kept: Vec<usize> = choose(rest.len(), cap, SEED, CAP).into_iter().map(|index| rest[index]).collect();
    kept.sort_unstable();
    kept
}
