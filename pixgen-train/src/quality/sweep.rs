//! Draws sets of pictures and measures each against the same yardstick: one set for every average and every weight of guidance.

use crate::ops::Ops as Fused;
use crate::quality::error::QualityError;
use crate::quality::measurement::{Measurement, Subject};
use crate::quality::yardstick::{Measured, Yardstick};
use crate::sampling::{Drawing, Generator, Request};
use pixgen_edge::eval::nearest::Nearest;
use pixgen_edge::model_file::ModelFile;

/// One way to draw.
#[derive(Debug)]
pub struct Way {
    /// Steps and guidance.
    pub drawing: Drawing,
    /// The weaker model of autoguidance.
    pub weak: Option<ModelFile>,
}

impl Way {
    /// The weight of guidance: 1 for none.
    fn guidance(&self) -> Option<f64> {
        match self.drawing {
            Drawing::Consistency { .. } => None,
            Drawing::Diffusion { guidance, .. } => Some(guidance.map_or(1.0, |guidance| guidance.weight)),
        }
    }
}

/// A measured set with its pictures.
#[derive(Debug)]
pub struct Evaluated {
    /// The numbers and what they depend on.
    pub measurement: Measurement,
    /// Pictures, bytes H W C, one after another.
    pub pictures: Vec<u8>,
    /// The class that each should show.
    pub asked: Vec<u16>,
    /// The class that is seen in each; empty if there is nobody to tell.
    pub seen: Vec<u16>,
    /// The nearest training picture of each, by pixels.
    pub nearest: Option<Nearest>,
}

/// Draws a set for every model and way, from the same noise, and measures it.
///
/// `models` are averages of one model, `source` is their name for people. All of `asked` is drawn for each.
///
/// # Errors
/// Those of [`Yardstick::measure`].
pub fn evaluate<B: Fused>(
    yardstick: &Yardstick<'_>,
    (source, models): (&str, &[ModelFile]),
    ways: &[Way],
    asked: &[usize],
    seed: u64,
    device: &B::Device,
) -> Result<Vec<Evaluated>, QualityError> {
    let labels: Vec<u16> = asked.iter().map(|&class| class as u16).collect();
    let mut sets = Vec::new();
    for file in models {
        for way in ways {
            let wanted = Request { seed, first: 0, classes: asked, drawing: way.drawing };
            let pictures = Generator::from(file).draw::<B>(&file.params, way.weak.as_ref(), device, &wanted);
            let Measured { numbers, nearest, seen } = yardstick.measure(&pictures, Some(&labels))?;
            let subject = Subject {
                source: source.to_owned(),
                ema: Some(file.header.ema.clone()),
                images_seen: Some(file.header.images),
                seed: Some(seed),
                evaluations: Some(way.drawing.evaluations(&file.header.noise)),
                guidance: way.guidance(),
            };
            let measurement = yardstick.report(subject, numbers);
            sets.push(Evaluated { measurement, pictures, asked: labels.clone(), seen, nearest });
        }
    }
    Ok(sets)
}

/// `count` classes as often as `real` has them, so that a distance does not tell other frequencies; any first part of them too.
pub fn proportional(real: &[usize], count: usize) -> Vec<usize> {
    let total: usize = real.iter().sum();
    let mut given = vec![0usize; real.len()];
    (1..=count)
        .map(|drawn| {
            // The class that is the farthest behind; the first among equals.
            let behind = |class: usize| real[class] as i128 * drawn as i128 - given[class] as i128 * total as i128;
            let class = (0..real.len()).rev().max_by_key(|&class| behind(class)).unwrap_or(0);
            given[class] += 1;
            class
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_come_as_often_as_in_the_data() {
        assert_eq!(proportional(&[7, 7, 7], 7), [0, 1, 2, 0, 1, 2, 0]);
        let classes = proportional(&[600, 300, 100, 0], 50);
        let count = |class: usize| classes.iter().filter(|&&c| c == class).count();
        assert_eq!([count(0), count(1), count(2), count(3)], [30, 15, 5, 0]);
        assert_eq!(proportional(&[5], 3), [0; 3]);
        assert!(proportional(&[1, 1], 0).is_empty());
    }
}
