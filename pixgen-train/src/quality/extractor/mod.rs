//! Features of pictures by a trained network: the project's own classifier, EfficientNet-Lite0, or the Inception network of the FID.
//!
//! `resize` brings byte images to the size that a network sees; `convolution` is what both published networks are made of,
//! `efficientnet` and `inception` how they are put together, and `weights` reads their files. A [`FeatureRecipe`] names what was done,
//! so that no number stands alone; an [`Extractor`] does it.

#[cfg(test)]
mod beside_burn;
mod convolution;
mod efficientnet;
#[cfg(test)]
mod golden;
mod inception;
mod resize;
mod weights;

use std::fmt;
use std::path::Path;

use rayon::prelude::*;

use crate::cache;
use crate::distributed::Collective;
use crate::quality::error::QualityError;
use crate::quality::features::Features;
use crate::quality::network::FeatureNetwork;
use convolution::Maps;
use pixgen_edge::data::ImageShape;
use pixgen_edge::eval::Classifier;
use pixgen_edge::eval::network::{FEATURES, SIDE};
use pixgen_edge::eval::{EvalError, FeatureInfo};
use weights::Weights;

pub use resize::Resize;

/// The smallest and largest side that EfficientNet-Lite0 is given: it halves five times.
const INPUTS: std::ops::RangeInclusive<usize> = 32..=1024;

/// Where features are taken.
#[derive(Clone, Copy, Debug)]
pub struct FeatureLayer {
    /// For people: the width, or `logits`.
    pub name: &'static str,
    /// Features of a picture.
    pub width: usize,
    tap: Tap,
}

#[derive(Clone, Copy, Debug)]
enum Tap {
    Fashion,
    EfficientNet(efficientnet::Tap),
    Inception(inception::Tap),
}

impl FeatureNetwork {
    /// Its layers, from the input to the output.
    pub fn layers(self) -> &'static [FeatureLayer] {
        const fn layer(name: &'static str, width: usize, tap: Tap) -> FeatureLayer {
            FeatureLayer { name, width, tap }
        }
        match self {
            Self::Fashion => const { &[layer("64", FEATURES, Tap::Fashion)] },
            Self::EfficientNetLite0 => {
                use efficientnet::Tap as Place;
                const {
                    &[
                        layer("40", 40, Tap::EfficientNet(Place::Block40)),
                        layer("112", 112, Tap::EfficientNet(Place::Block112)),
                        layer("1280", 1280, Tap::EfficientNet(Place::Head1280)),
                        layer("logits", 1000, Tap::EfficientNet(Place::Logits)),
                    ]
                }
            }
            Self::Inception => {
                use inception::Tap as Place;
                const {
                    &[
                        layer("64", 64, Tap::Inception(Place::Pool64)),
                        layer("192", 192, Tap::Inception(Place::Pool192)),
                        layer("768", 768, Tap::Inception(Place::Mixed768)),
                        layer("2048", 2048, Tap::Inception(Place::Pool2048)),
                        layer("logits", 1008, Tap::Inception(Place::Logits)),
                    ]
                }
            }
        }
    }

    /// The layer unless another is asked for: wide ones have a large Fréchet distance between few pictures of one kind.
    fn usual_layer(self) -> &'static str {
        match self {
            Self::Fashion => "64",
            Self::EfficientNetLite0 => "112",
            Self::Inception => "2048",
        }
    }
}

/// Everything about features but the weights.
#[derive(Clone, Copy, Debug)]
pub struct FeatureRecipe {
    /// Network.
    pub network: FeatureNetwork,
    /// Layer.
    pub layer: FeatureLayer,
    /// Side of the images that the network sees, pixels.
    pub input: usize,
    /// How they come to it.
    pub resize: Resize,
}

impl FeatureRecipe {
    /// The layer, input size and filter asked for, or the usual ones: 112 channels at 96 pixels for EfficientNet-Lite0, 2048 at 299 for
    /// Inception, both by PIL's bicubic filter.
    ///
    /// # Errors
    /// A layer that the network does not have, a size that it cannot see.
    pub fn new(network: FeatureNetwork, layer: Option<&str>, input: Option<usize>, resize: Option<Resize>) -> Result<Self, QualityError> {
        let wanted = layer.unwrap_or(network.usual_layer());
        let Some(&layer) = network.layers().iter().find(|layer| layer.name == wanted) else {
            let known = network.layers().iter().map(|layer| layer.name).collect::<Vec<_>>().join(", ");
            return Err(QualityError::Layer { network, layer: wanted.to_owned(), known });
        };
        let (fits, usual) = match network {
            FeatureNetwork::Fashion => (SIDE..=SIDE, SIDE),
            FeatureNetwork::EfficientNetLite0 => (INPUTS, 96),
            FeatureNetwork::Inception => (inception::SIDE..=inception::SIDE, inception::SIDE),
        };
        let input = input.unwrap_or(usual);
        if !fits.contains(&input) {
            return Err(QualityError::Input { network, input, low: *fits.start(), high: *fits.end() });
        }
        let resize = match network {
            FeatureNetwork::Fashion => Resize::None,
            _ => resize.unwrap_or(Resize::PilBicubic),
        };
        Ok(Self { network, layer, input, resize })
    }

    /// As a report has it.
    pub fn info(&self) -> FeatureInfo {
        let (frechet_name, kernel_name) = self.distance_names();
        let [network, layer, resize] = [self.network.to_string(), self.layer.name.to_owned(), self.resize.to_string()];
        FeatureInfo { network, layer, input: self.input, resize, frechet_name, kernel_name }
    }

    /// `FID` and `KID` for what has that name, and nothing else; `FD-` and `KD-` with network and layer for the rest.
    pub fn distance_names(&self) -> (String, String) {
        match (self.network, self.layer.name) {
            (FeatureNetwork::Inception, "2048") => ("FID".to_owned(), "KID".to_owned()),
            (FeatureNetwork::Fashion, _) => ("FD-fmnist".to_owned(), "KD-fmnist".to_owned()),
            (network, layer) => (format!("FD-{network}-{layer}"), format!("KD-{network}-{layer}")),
        }
    }
}

impl fmt::Display for FeatureRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, layer {}, input {}, resize {}", self.network, self.layer.name, self.input, self.resize)
    }
}

/// Images between two calls of a [`Watch`].
const WATCHED: usize = 256;

/// Gets the number of images whose features are done, and of all: 0 first, all of them last.
pub type Watch = Box<dyn Fn(usize, usize) + Send + Sync>;

/// A network with its weights, and a recipe.
pub struct Extractor {
    recipe: FeatureRecipe,
    network: LoadedNetwork,
    watch: Watch,
    ranks: Collective,
}

enum LoadedNetwork {
    Fashion(Box<Classifier>),
    EfficientNet(Box<efficientnet::EfficientNet>),
    Inception(Box<inception::Inception>),
}

impl Extractor {
    /// The classifier of Fashion-MNIST that is in the program.
    ///
    /// # Errors
    /// Only if its file was damaged before the build.
    pub fn fashion() -> Result<Self, QualityError> {
        let recipe = FeatureRecipe::new(FeatureNetwork::Fashion, None, None, None)?;
        Ok(Self {
            recipe,
            network: LoadedNetwork::Fashion(Box::new(Classifier::fashion()?)),
            watch: Box::new(|_, _| ()),
            ranks: Collective::default(),
        })
    }

    /// The network that pictures of a shape and their classes are measured by unless another is asked for, with the weights that
    /// `pixgen-train data get` fetched.
    ///
    /// # Errors
    /// [`QualityError::WeightsMissing`] if they were not fetched; those of [`load`](Self::load).
    pub fn usual(shape: ImageShape, class_names: &[String]) -> Result<Self, QualityError> {
        let recipe = FeatureRecipe::new(FeatureNetwork::usual(shape, class_names), None, None, None)?;
        Self::load(recipe, &cache::efficientnet_lite0())
    }

    /// Reads a weight file: safetensors in f32 with the names of the original PyTorch package. `fashion` needs none.
    ///
    /// # Errors
    /// [`QualityError::WeightsMissing`], [`QualityError::WeightFile`], [`QualityError::Weight`].
    pub fn load(recipe: FeatureRecipe, weights: &Path) -> Result<Self, QualityError> {
        if recipe.network == FeatureNetwork::Fashion {
            return Self::fashion();
        }
        let bytes = std::fs::read(weights).map_err(|source| QualityError::WeightsMissing {
            network: recipe.network,
            path: weights.to_owned(),
            source,
        })?;
        Self::new(recipe, &Weights::new(&bytes, weights)?)
    }

    fn new(recipe: FeatureRecipe, weights: &Weights<'_>) -> Result<Self, QualityError> {
        let network = match recipe.network {
            FeatureNetwork::Fashion => LoadedNetwork::Fashion(Box::new(Classifier::fashion()?)),
            FeatureNetwork::EfficientNetLite0 => LoadedNetwork::EfficientNet(Box::new(efficientnet::EfficientNet::load(weights)?)),
            FeatureNetwork::Inception => LoadedNetwork::Inception(Box::new(inception::Inception::load(weights)?)),
        };
        Ok(Self { recipe, network, watch: Box::new(|_, _| ()), ranks: Collective::default() })
    }

    /// The same, which tells `watch` how far every call of [`features`](Self::features) is.
    pub fn watched(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    /// The same, which shares the images of every call of [`features`](Self::features) among ranks, all of which make the same calls.
    pub fn shared(self, ranks: Collective) -> Self {
        Self { ranks, ..self }
    }

    /// What it does.
    pub fn recipe(&self) -> &FeatureRecipe {
        &self.recipe
    }

    /// The classifier of Fashion-MNIST, if it is that.
    pub fn classifier(&self) -> Option<&Classifier> {
        match &self.network {
            LoadedNetwork::Fashion(classifier) => Some(classifier),
            _ => None,
        }
    }

    /// Features of images of one `shape`, one after another, H W C bytes. Uses all rayon threads; an image's features do not depend on
    /// the others.
    ///
    /// # Errors
    /// [`EvalError::PartialImage`]; [`EvalError::ImageShape`] for `fashion`; [`EvalError::NonFinite`] if the weights overflow.
    pub fn features(&self, images: &[u8], shape: ImageShape) -> Result<Features, QualityError> {
        let length = shape.len();
        if length == 0 || !images.len().is_multiple_of(length) {
            return Err(EvalError::PartialImage { what: "images", bytes: images.len(), pixels: length }.into());
        }
        if let LoadedNetwork::Fashion(_) = &self.network {
            Classifier::check_shape(shape.channels, shape.height, shape.width)?;
        }
        let (width, count) = (self.recipe.layer.width, images.len() / length);
        let share = self.ranks.share();
        let part = share.part(count, 1);
        let own = self.values(&images[part.start * length..part.end * length], shape)?;
        let all = if self.ranks.is_alone() {
            own
        } else {
            self.ranks.all_parts(&own, share.length(count, 1) * width, count * width)
        };
        Ok(Features::new(all, width)?)
    }

    /// The features of images that were checked.
    fn values(&self, images: &[u8], shape: ImageShape) -> Result<Vec<f32>, QualityError> {
        let length = shape.len();
        if let LoadedNetwork::Fashion(classifier) = &self.network {
            return Ok(classifier.features(images)?);
        }
        let FeatureRecipe { layer, input, resize: how, .. } = self.recipe;
        // A few images fill a matrix product; Inception's are large enough alone.
        let (block, offset, scale) = match self.network {
            LoadedNetwork::Inception(_) => (1, 128.0, 1.0 / 128.0),
            _ => (4, 127.0, 1.0 / 128.0),
        };
        let run = |images: &[u8]| {
            let values: Vec<f32> = images
                .chunks_exact(length)
                .flat_map(|image| resize::resize(image, shape, input, how))
                .map(|value| (value - offset) * scale)
                .collect();
            let maps = Maps { n: images.len() / length, height: input, width: input, channels: 3, values };
            match (&self.network, layer.tap) {
                (LoadedNetwork::EfficientNet(network), Tap::EfficientNet(tap)) => network.features(&maps, tap),
                (LoadedNetwork::Inception(network), Tap::Inception(tap)) => network.features(&maps, tap),
                _ => unreachable!("a recipe has a layer of its network"),
            }
        };
        let count = images.len() / length;
        let mut values = Vec::with_capacity(count * layer.width);
        (self.watch)(0, count);
        for part in images.chunks(WATCHED * length) {
            values.par_extend(part.par_chunks(block * length).map(run).flatten_iter());
            (self.watch)(values.len() / layer.width, count);
        }
        Ok(values)
    }
}
