//! The networks whose features can be compared, by name.

use pixgen_edge::data::ImageShape;
use pixgen_edge::eval::Classifier;
use std::fmt;
use std::str::FromStr;

/// A network whose features can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureNetwork {
    /// The project's classifier of Fashion-MNIST; its weights are in the program. 28x28 grey pictures only.
    Fashion,
    /// EfficientNet-Lite0, trained on ImageNet.
    EfficientNetLite0,
    /// The Inception-v3 of the FID.
    Inception,
}

impl FeatureNetwork {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fashion, Self::EfficientNetLite0, Self::Inception];

    /// The network unless another is asked for: the project's classifier for the pictures and classes that it knows.
    pub fn usual(shape: ImageShape, class_names: &[String]) -> Self {
        if Classifier::knows(shape, class_names) {
            Self::Fashion
        } else {
            Self::EfficientNetLite0
        }
    }
}

impl fmt::Display for FeatureNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fashion => "fashion",
            Self::EfficientNetLite0 => "efficientnet-lite0",
            Self::Inception => "inception",
        })
    }
}

impl FromStr for FeatureNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(|network| network.to_string());
        let found = Self::ALL.into_iter().zip(&names).find(|(_, name)| *name == text);
        found
            .map(|(network, _)| network)
            .ok_or_else(|| format!("one of {} is needed", names.join(", ")))
    }
}
