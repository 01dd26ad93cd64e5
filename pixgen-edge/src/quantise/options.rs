//! How to quantise.

use super::range::RangeMethod;
use pixgen_core::config::ModelConfig;
use pixgen_core::params::Site;
use pixgen_core::pxg::MAX_STEPS;
use std::fmt;

/// How to quantise.
#[derive(Clone, Debug)]
pub struct QuantiseOptions {
    /// Network evaluations of a picture: 1 or 2.
    pub steps: usize,
    /// Classes to export, in this order; all when empty.
    pub classes: Vec<usize>,
    /// Pictures of the calibration.
    pub pictures: usize,
    /// How ranges are chosen.
    pub method: RangeMethod,
    /// Another method for sites whose name ends like this.
    pub site_methods: Vec<(String, RangeMethod)>,
    /// Moves the quantisation error of weights out of the mean of each output.
    pub bias_correction: bool,
    /// Share of a channel's range that moves from the activations after norms to the weights, 0 to 1; `None` leaves channels alone.
    pub equalise: Option<f64>,
    /// Self-test vectors.
    pub tests: u16,
    /// Name in the header.
    pub name: String,
}

impl Default for QuantiseOptions {
    fn default() -> Self {
        Self {
            steps: 1,
            classes: Vec::new(),
            pictures: 256,
            method: RangeMethod::Mse,
            site_methods: Vec::new(),
            bias_correction: true,
            equalise: Some(0.5),
            tests: 2,
            name: String::new(),
        }
    }
}

/// Why options cannot be used.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OptionError {
    /// Neither one step nor two.
    Steps {
        /// Asked for.
        steps: usize,
    },
    /// The model has no such class.
    Class {
        /// Asked for.
        class: usize,
        /// Classes of the model.
        classes: usize,
    },
    /// No pictures to calibrate with.
    Pictures,
    /// A share of equalisation outside 0 to 1.
    Equalise {
        /// Asked for.
        share: f64,
    },
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps { steps } => write!(f, "{steps} steps: a chip draws in 1 or 2"),
            Self::Class { class, classes } => write!(f, "class {class}: the model has classes 0 to {}", classes - 1),
            Self::Pictures => f.write_str("calibration needs at least one picture"),
            Self::Equalise { share } => write!(f, "equalise {share}: a share is between 0 and 1"),
        }
    }
}

impl std::error::Error for OptionError {}

impl QuantiseOptions {
    /// The method for a site.
    pub fn method_of(&self, site: Site) -> RangeMethod {
        let name = site.name();
        let special = self.site_methods.iter().rev().find(|(end, _)| name.ends_with(end.as_str()));
        special.map_or(self.method, |(_, method)| *method)
    }

    /// Whether a model can be quantised like this.
    ///
    /// # Errors
    /// The first option out of range.
    pub fn validate(&self, model: &ModelConfig) -> Result<(), OptionError> {
        if self.steps == 0 || self.steps > MAX_STEPS {
            return Err(OptionError::Steps { steps: self.steps });
        }
        if let Some(&class) = self.classes.iter().find(|&&class| class >= model.classes) {
            return Err(OptionError::Class { class, classes: model.classes });
        }
        if self.pictures == 0 {
            return Err(OptionError::Pictures);
        }
        match self.equalise {
            Some(share) if !(0.0..=1.0).contains(&share) => Err(OptionError::Equalise { share }),
            _ => Ok(()),
        }
    }
}
