//! Inception-v3 as the Fréchet inception distance uses it: the TensorFlow graph of 2015-12-05 in its PyTorch port.
//!
//! Names and shapes are those of torch-fidelity's `FeatureExtractorInceptionV3` and pytorch-fid's `pt_inception-2015-12-05`. It differs
//! from torchvision's in two places: zeros around a map do not count in average pools, and the last block pools by maximum. It sees
//! (rgb - 128) / 128 at 299 x 299.

use super::convolution::{Activation, Convolution, Linear, Maps, Padding, Pooling, WindowShape, pool};
use super::weights::Weights;
use crate::quality::error::QualityError;

/// Side of the images it sees.
pub(super) const SIDE: usize = 299;
/// Width of the last features, and number of classes of the graph.
const FEATURES: usize = 2048;
const CLASSES: usize = 1008;

/// Where its features are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tap {
    /// Behind the first pool, averaged over places.
    Pool64,
    /// Behind the second pool.
    Pool192,
    /// Before the auxiliary classifier.
    Mixed768,
    /// Behind the last pool: the features of the FID.
    Pool2048,
    /// The scores of the graph's classes.
    Logits,
}

/// The network.
#[derive(Debug)]
pub(super) struct Inception {
    /// Up to the first pool, then up to the second.
    stem: [Vec<Convolution>; 2],
    /// Up to `Mixed_6e`, then up to `Mixed_7c`.
    mixed: [Vec<Mixed>; 2],
    classifier: Linear,
}

/// Branches side by side.
#[derive(Debug)]
struct Mixed {
    branches: Vec<Branch>,
}

#[derive(Debug)]
struct Branch {
    pool: Option<Pool>,
    convolutions: Vec<Convolution>,
    /// Two convolutions of the same input whose outputs stand behind each other.
    fork: Vec<Convolution>,
}

/// Pools of 3 x 3 at the start of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
    /// The mean around each place.
    Mean,
    /// The largest around each place.
    Max,
    /// The largest of every second place's surroundings; the branch has no convolution.
    Halve,
}

/// `<name>.conv` and `<name>.bn`.
fn read(weights: &Weights<'_>, name: &str, shape: WindowShape) -> Result<Convolution, QualityError> {
    Convolution::load(weights, &format!("{name}.conv"), &format!("{name}.bn"), shape, Activation::Relu)
}

/// Reads convolutions of one block.
struct Reader<'a> {
    weights: &'a Weights<'a>,
    block: String,
}

impl Reader<'_> {
    /// The convolution `name` of the block.
    fn one(&self, name: &str, inputs: usize, outputs: usize, kernel: (usize, usize), stride: usize) -> Result<Convolution, QualityError> {
        // Whatever halves the map is not padded, all else keeps its size.
        let padding = if stride == 1 {
            Padding::Each(kernel.0 / 2, kernel.1 / 2)
        } else {
            Padding::Each(0, 0)
        };
        let shape = WindowShape { kernel, stride, padding, inputs, outputs };
        read(self.weights, &format!("{}.{name}", self.block), shape)
    }

    /// A branch: each convolution's name, outputs, window and stride.
    fn branch(&self, inputs: usize, steps: &[(&str, usize, (usize, usize), usize)]) -> Result<Branch, QualityError> {
        let mut inputs = inputs;
        let mut convolutions = Vec::new();
        for &(name, outputs, kernel, stride) in steps {
            convolutions.push(self.one(name, inputs, outputs, kernel, stride)?);
            inputs = outputs;
        }
        Ok(Branch { pool: None, convolutions, fork: Vec::new() })
    }

    /// A pool and a convolution of single places.
    fn pooled(&self, pool: Pool, inputs: usize, outputs: usize) -> Result<Branch, QualityError> {
        Ok(Branch { pool: Some(pool), ..self.branch(inputs, &[("branch_pool", outputs, (1, 1), 1)])? })
    }

    /// A branch that ends in a row and a column of 384 channels each.
    fn forked(&self, inputs: usize, steps: &[(&str, usize, (usize, usize), usize)], fork: [&str; 2]) -> Result<Branch, QualityError> {
        let fork = vec![self.one(fork[0], 384, 384, (1, 3), 1)?, self.one(fork[1], 384, 384, (3, 1), 1)?];
        Ok(Branch { fork, ..self.branch(inputs, steps)? })
    }

    /// 35 x 35.
    fn a(&self, inputs: usize, pool: usize) -> Result<Mixed, QualityError> {
        let branches = vec![
            self.branch(inputs, &[("branch1x1", 64, (1, 1), 1)])?,
            self.branch(inputs, &[("branch5x5_1", 48, (1, 1), 1), ("branch5x5_2", 64, (5, 5), 1)])?,
            self.branch(
                inputs,
                &[
                    ("branch3x3dbl_1", 64, (1, 1), 1),
                    ("branch3x3dbl_2", 96, (3, 3), 1),
                    ("branch3x3dbl_3", 96, (3, 3), 1),
                ],
            )?,
            self.pooled(Pool::Mean, inputs, pool)?,
        ];
        Ok(Mixed { branches })
    }

    /// 35 x 35 to 17 x 17.
    fn b(&self, inputs: usize) -> Result<Mixed, QualityError> {
        let branches = vec![
            self.branch(inputs, &[("branch3x3", 384, (3, 3), 2)])?,
            self.branch(
                inputs,
                &[
                    ("branch3x3dbl_1", 64, (1, 1), 1),
                    ("branch3x3dbl_2", 96, (3, 3), 1),
                    ("branch3x3dbl_3", 96, (3, 3), 2),
                ],
            )?,
            Branch::HALVE,
        ];
        Ok(Mixed { branches })
    }

    /// 17 x 17, with `c` channels inside.
    fn c(&self, inputs: usize, c: usize) -> Result<Mixed, QualityError> {
        let branches = vec![
            self.branch(inputs, &[("branch1x1", 192, (1, 1), 1)])?,
            self.branch(
                inputs,
                &[
                    ("branch7x7_1", c, (1, 1), 1),
                    ("branch7x7_2", c, (1, 7), 1),
                    ("branch7x7_3", 192, (7, 1), 1),
                ],
            )?,
            self.branch(
                inputs,
                &[
                    ("branch7x7dbl_1", c, (1, 1), 1),
                    ("branch7x7dbl_2", c, (7, 1), 1),
                    ("branch7x7dbl_3", c, (1, 7), 1),
                    ("branch7x7dbl_4", c, (7, 1), 1),
                    ("branch7x7dbl_5", 192, (1, 7), 1),
                ],
            )?,
            self.pooled(Pool::Mean, inputs, 192)?,
        ];
        Ok(Mixed { branches })
    }

    /// 17 x 17 to 8 x 8.
    fn d(&self, inputs: usize) -> Result<Mixed, QualityError> {
        let branches = vec![
            self.branch(inputs, &[("branch3x3_1", 192, (1, 1), 1), ("branch3x3_2", 320, (3, 3), 2)])?,
            self.branch(
                inputs,
                &[
                    ("branch7x7x3_1", 192, (1, 1), 1),
                    ("branch7x7x3_2", 192, (1, 7), 1),
                    ("branch7x7x3_3", 192, (7, 1), 1),
                    ("branch7x7x3_4", 192, (3, 3), 2),
                ],
            )?,
            Branch::HALVE,
        ];
        Ok(Mixed { branches })
    }

    /// 8 x 8.
    fn e(&self, inputs: usize, pool: Pool) -> Result<Mixed, QualityError> {
        let branches = vec![
            self.branch(inputs, &[("branch1x1", 320, (1, 1), 1)])?,
            self.forked(inputs, &[("branch3x3_1", 384, (1, 1), 1)], ["branch3x3_2a", "branch3x3_2b"])?,
            self.forked(
                inputs,
                &[("branch3x3dbl_1", 448, (1, 1), 1), ("branch3x3dbl_2", 384, (3, 3), 1)],
                ["branch3x3dbl_3a", "branch3x3dbl_3b"],
            )?,
            self.pooled(pool, inputs, 192)?,
        ];
        Ok(Mixed { branches })
    }
}

impl Branch {
    const HALVE: Self = Self { pool: Some(Pool::Halve), convolutions: Vec::new(), fork: Vec::new() };

    fn apply(&self, maps: &Maps) -> Vec<Maps> {
        let pooled = self.pool.map(|kind| match kind {
            Pool::Mean => pool(maps, 1, 1, Pooling::Mean),
            Pool::Max => pool(maps, 1, 1, Pooling::Max),
            Pool::Halve => pool(maps, 2, 0, Pooling::Max),
        });
        let mut current = pooled;
        for convolution in &self.convolutions {
            current = Some(convolution.apply(current.as_ref().unwrap_or(maps)));
        }
        match &self.fork[..] {
            [] => current.into_iter().collect(),
            fork => fork
                .iter()
                .map(|convolution| convolution.apply(current.as_ref().unwrap_or(maps)))
                .collect(),
        }
    }
}

impl Mixed {
    fn apply(&self, maps: &Maps) -> Maps {
        let outputs: Vec<Maps> = self.branches.iter().flat_map(|branch| branch.apply(maps)).collect();
        Maps::concat(&outputs)
    }
}

impl Inception {
    /// Reads all tensors.
    pub fn load(weights: &Weights<'_>) -> Result<Self, QualityError> {
        let block = |name: &str| Reader { weights, block: name.to_owned() };
        // The stem's convolutions have no padding but one.
        let stem = |name: &str, inputs, outputs, kernel: usize, stride, padding: usize| {
            let shape = WindowShape {
                kernel: (kernel, kernel),
                stride,
                padding: Padding::Each(padding, padding),
                inputs,
                outputs,
            };
            read(weights, name, shape)
        };
        Ok(Self {
            stem: [
                vec![
                    stem("Conv2d_1a_3x3", 3, 32, 3, 2, 0)?,
                    stem("Conv2d_2a_3x3", 32, 32, 3, 1, 0)?,
                    stem("Conv2d_2b_3x3", 32, 64, 3, 1, 1)?,
                ],
                vec![stem("Conv2d_3b_1x1", 64, 80, 1, 1, 0)?, stem("Conv2d_4a_3x3", 80, 192, 3, 1, 0)?],
            ],
            mixed: [
                vec![
                    block("Mixed_5b").a(192, 32)?,
                    block("Mixed_5c").a(256, 64)?,
                    block("Mixed_5d").a(288, 64)?,
                    block("Mixed_6a").b(288)?,
                    block("Mixed_6b").c(768, 128)?,
                    block("Mixed_6c").c(768, 160)?,
                    block("Mixed_6d").c(768, 160)?,
                    block("Mixed_6e").c(768, 192)?,
                ],
                vec![
                    block("Mixed_7a").d(768)?,
                    block("Mixed_7b").e(1280, Pool::Mean)?,
                    block("Mixed_7c").e(2048, Pool::Max)?,
                ],
            ],
            classifier: Linear::load(weights, "fc", FEATURES, CLASSES)?,
        })
    }

    /// n x width features of maps (rgb - 128) / 128 of [`SIDE`] x [`SIDE`]; stops where they are taken.
    pub fn features(&self, images: &Maps, tap: Tap) -> Vec<f32> {
        let stem = |maps: Maps, part: &[Convolution]| {
            let last = part.iter().fold(maps, |maps, convolution| convolution.apply(&maps));
            pool(&last, 2, 0, Pooling::Max)
        };
        let mixed = |maps: Maps, part: &[Mixed]| part.iter().fold(maps, |maps, block| block.apply(&maps));
        let maps = stem(images.clone(), &self.stem[0]);
        if tap == Tap::Pool64 {
            return maps.means();
        }
        let maps = stem(maps, &self.stem[1]);
        if tap == Tap::Pool192 {
            return maps.means();
        }
        let maps = mixed(maps, &self.mixed[0]);
        if tap == Tap::Mixed768 {
            return maps.means();
        }
        let features = mixed(maps, &self.mixed[1]).means();
        match tap {
            Tap::Logits => self.classifier.apply(&features),
            _ => features,
        }
    }
}
