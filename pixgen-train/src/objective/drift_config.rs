//! Settings of stage 3, and which classes and real pictures a step takes (docs/reference/method.md section 8).

use crate::data::order::index_of;
use crate::distributed::Collective;
use crate::ops::DriftKernel;
use pixgen_core::noise::Parametrisation;
use pixgen_core::rng::Rng;
use pixgen_core::streams::{Purpose, stream};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Settings of stage 3.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftConfig {
    /// How F becomes a picture: as in the generator that training starts from.
    pub parametrisation: Parametrisation,
    /// N: generated pictures of a set, which have one class; divides `train.batch`.
    pub generated: usize,
    /// P: real pictures of the set's class.
    pub real: usize,
    /// Temperatures tau of the kernel; their fields are added up.
    pub temperatures: [f64; 3],
    /// alpha: how much the real pictures of a step's other sets push, so that each class keeps away from the others; at 1 they do not.
    pub guidance: f64,
    /// Match the network's patches.
    pub patches: bool,
    /// Match windows with sides of so many pixels, half a side apart; 0 for none.
    pub windows: [usize; 2],
    /// Match pictures as a whole.
    pub whole: bool,
}

impl DriftConfig {
    /// What weighs pictures in the field of so many sets, which these ranks compute together.
    pub fn kernel(&self, sets: usize, ranks: &Collective) -> DriftKernel<'_> {
        DriftKernel { temperatures: &self.temperatures, guidance: self.guidance, sets, ranks: ranks.clone() }
    }

    /// Sides of the windows that there are.
    pub fn window_sides(&self) -> impl Iterator<Item = usize> {
        self.windows.into_iter().filter(|&side| side > 0)
    }
}

/// The pictures of each class that has any.
#[derive(Clone, Debug)]
pub struct ClassLists {
    classes: Arc<[(usize, Vec<usize>)]>,
}

impl ClassLists {
    /// From the class of each picture.
    pub fn new(labels: &[u16]) -> Self {
        let count = labels.iter().max().map_or(0, |&label| usize::from(label) + 1);
        let mut lists = vec![Vec::new(); count];
        for (picture, &label) in labels.iter().enumerate() {
            lists[usize::from(label)].push(picture);
        }
        Self {
            classes: lists.into_iter().enumerate().filter(|(_, pictures)| !pictures.is_empty()).collect(),
        }
    }

    /// The class of set `number` of a run, and `real` pictures of it.
    ///
    /// Each class comes once before any comes again, and so does each of its pictures; both orders differ from round to round.
    pub fn set(&self, seed: u64, number: u64, real: usize) -> (usize, Vec<usize>) {
        let order = Rng::new(seed, stream(Purpose::ClassOrder, 0));
        let (class, pictures) = &self.classes[index_of(order, self.classes.len(), number)];
        let order = Rng::new(seed, stream(Purpose::OrderInClass, *class as u64));
        let start = number / self.classes.len() as u64 * real as u64;
        let chosen = (start..).take(real).map(|at| pictures[index_of(order, pictures.len(), at)]);
        (*class, chosen.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Three classes of 5, 1 and 20 pictures, and one without any: every class is as frequent, and so are the pictures of a class.
    #[test]
    fn classes_and_pictures_are_balanced() {
        let labels: Vec<u16> = [vec![0; 5], vec![2], vec![3; 20]].concat();
        let lists = ClassLists::new(&labels);
        let (mut classes, mut pictures) = (HashMap::<usize, usize>::new(), HashMap::<usize, usize>::new());
        for round in 0..100 {
            let sets: Vec<_> = (0..3).map(|set| lists.set(7, 3 * round + set, 4)).collect();
            let mut seen: Vec<usize> = sets.iter().map(|(class, _)| *class).collect();
            seen.sort_unstable();
            assert_eq!(seen, [0, 2, 3], "each class once in round {round}");
            for (class, chosen) in sets {
                assert!(chosen.iter().all(|&picture| usize::from(labels[picture]) == class));
                *classes.entry(class).or_default() += 1;
                chosen.into_iter().for_each(|picture| *pictures.entry(picture).or_default() += 1);
            }
        }
        assert!(classes.values().all(|&count| count == 100), "{classes:?}");
        // 400 pictures of each class: 80 times each of 5, 400 times the only one, 20 times each of 20.
        for (picture, &label) in labels.iter().enumerate() {
            assert_eq!(pictures[&picture], [80, 0, 400, 20][usize::from(label)], "picture {picture}");
        }
        assert_ne!(lists.set(7, 0, 20).1, lists.set(8, 0, 20).1, "the seed decides");
    }
}
