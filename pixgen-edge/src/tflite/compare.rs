//! How far the pictures of an integer graph lie from the float network's.

use super::error::LiteError;
use super::values::Values;
use crate::model_file::ModelFile;
use crate::quantise::draw::{draw_float, rows_of};
use pixgen_core::accelerator::{NOISE_STEPS, ONE_HOT, inputs};
use pixgen_core::config::ModelConfig;
use pixgen_core::integer::DrawRequest;

/// Seed of the compared pictures: neither the calibration's nor a user's.
const SEED: u64 = 0x7069_7867_656e_0005;
/// Pictures that are compared: at least so many, and at most.
const PICTURES: [usize; 2] = [8, 32];
/// Grey levels of a class, root mean square, from which on integers spoil it. Trained models were measured at 3 to 12.
pub const SPOILT: f64 = 15.0;

/// The pictures that are compared: all classes, or as many as there are pictures.
pub fn requests(classes: usize) -> Vec<DrawRequest> {
    let count = classes.clamp(PICTURES[0], PICTURES[1]);
    (0..count)
        .map(|i| DrawRequest { class: i * classes / count, seed: SEED, number: i as u64 })
        .collect()
}

/// The inputs of a graph for some pictures; none where nothing is drawn.
#[derive(Clone, Debug, Default)]
pub struct DrawnInputs {
    /// Noise.
    pub noise: Values,
    /// One-hot classes.
    pub class: Values,
}

impl DrawnInputs {
    /// Of pictures of a graph with so many classes.
    ///
    /// # Errors
    /// A class that the graph does not have.
    pub fn new(model: &ModelConfig, classes: usize, requests: &[DrawRequest]) -> Result<Self, LiteError> {
        let (mut noises, mut rows) = (Vec::new(), Vec::new());
        for request in requests {
            let (mut noise, mut class) = (vec![0i8; model.image_len()], vec![0i16; classes]);
            inputs(request, &mut noise, &mut class)?;
            noises.push(noise.iter().map(|&n| f32::from(n) / NOISE_STEPS as f32).collect());
            rows.push(class.iter().map(|&c| f32::from(c) / f32::from(ONE_HOT)).collect());
        }
        Ok(Self { noise: Values::new(noises), class: Values::new(rows) })
    }
}

/// Grey levels between the two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiteDifference {
    /// Pictures compared.
    pub pictures: usize,
    /// Root mean square of all.
    pub rms: f64,
    /// The class with the largest, by its number in the graph.
    pub worst_class: usize,
    /// Root mean square of that class.
    pub worst_rms: f64,
}

impl LiteDifference {
    /// Of what a graph drew for `requests`; `classes` are the rows of the class embedding that it was made for.
    ///
    /// # Errors
    /// A class that the graph does not have, or the float network does not run.
    pub fn new(file: &ModelFile, classes: &[usize], requests: &[DrawRequest], drawn: &Values) -> Result<Self, LiteError> {
        let float = draw_float(file, &rows_of(classes, requests)?, 1)?;
        let len = file.header.model.image_len();
        let mut squares = vec![(0.0, 0usize); classes.len()];
        for (number, (request, float)) in requests.iter().zip(float.chunks_exact(len.max(1))).enumerate() {
            let levels = drawn
                .picture(number)
                .iter()
                .zip(float)
                .map(|(&drawn, &float)| f64::from(drawn) - f64::from(float));
            let sum = &mut squares[request.class];
            *sum = (sum.0 + levels.map(|level| level * level).sum::<f64>(), sum.1 + len);
        }
        let rms = |(sum, count): (f64, usize)| (sum / count.max(1) as f64).sqrt();
        let worst = squares
            .iter()
            .copied()
            .map(rms)
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or_default();
        let all = squares.iter().fold((0.0, 0), |all, of| (all.0 + of.0, all.1 + of.1));
        Ok(Self { pictures: requests.len(), rms: rms(all), worst_class: worst.0, worst_rms: worst.1 })
    }
}
