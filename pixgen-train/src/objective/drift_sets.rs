//! The sets of a step of stage 3: which of them a rank has, and which real pictures of the others push its pictures
//! (docs/reference/method.md section 8.1).

use super::frame::{Frame, StageSettings};
use crate::distributed::Share;
use crate::ops::DriftKernel;
use crate::training::Engine;
use burn_tensor::{Int, Tensor, TensorData};

/// The sets of a step, whole ones of which each rank has its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sets {
    /// K: those of all ranks.
    pub all: usize,
    /// Whose are computed here.
    pub share: Share,
}

impl Sets {
    /// Those of this rank.
    pub fn own(&self) -> usize {
        self.share.of(self.all).len()
    }

    /// For each of this rank's sets the rows of what pushes it beside its own pictures, in the rows of all ranks' `real` pictures a set, where
    /// each rank takes the room of as many sets as any has.
    fn pushing(&self, real: usize, kernel: &DriftKernel<'_>) -> Vec<usize> {
        let Share { size, .. } = self.share;
        let room = self.all.div_ceil(size);
        let places: Vec<usize> = (0..size)
            .flat_map(|rank| (rank * room..).take(Share { rank, size }.of(self.all).len()))
            .collect();
        let others = kernel.others(self.all, real);
        let own = others.get(self.share.of(self.all)).unwrap_or_default();
        own.iter().flatten().map(|&number| places[number / real] * real + number % real).collect()
    }

    /// Of all ranks' rows, `real` for each set of theirs, those that push this rank's sets, set by set; none if nothing does. All ranks call
    /// it together.
    pub fn others<B: Engine, S: StageSettings<B>>(
        &self,
        frame: &Frame<B, S>,
        rows: &Tensor<B, 3>,
        real: usize,
        kernel: &DriftKernel<'_>,
    ) -> Option<Tensor<B, 3>> {
        let numbers: Vec<i64> = self.pushing(real, kernel).into_iter().map(|number| number as i64).collect();
        if numbers.is_empty() {
            return None;
        }
        let [count, height, width] = rows.dims();
        let missing = self.all.div_ceil(self.share.size) * real - count;
        let mut rows = rows.clone();
        if missing > 0 {
            rows = Tensor::cat(vec![rows, Tensor::zeros([missing, height, width], &frame.context.device)], 0);
        }
        let count = numbers.len();
        let numbers = Tensor::<B, 1, Int>::from_data(TensorData::new(numbers, [count]), &frame.context.device);
        Some(frame.gathered(rows).select(0, numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::Collective;

    /// Rows in the order of ranks, with gaps where a rank has a set less, are those of the list of all sets.
    #[test]
    fn rows_of_other_ranks_are_found() {
        const REAL: usize = 3;
        for (all, size) in [(1, 1), (5, 1), (4, 2), (5, 3), (7, 4), (10, 8), (3, 3)] {
            let kernel = DriftKernel { temperatures: &[1.0], guidance: 1.5, sets: all, ranks: Collective::default() };
            let sets = |rank| Sets { all, share: Share { rank, size } };
            // What each row holds: the number of its picture in the list of all.
            let mut rows = Vec::new();
            for rank in 0..size {
                let own = sets(rank).share.of(all);
                rows.extend((own.start * REAL..own.end * REAL).map(Some));
                rows.resize((rank + 1) * all.div_ceil(size) * REAL, None);
            }
            let found: Vec<usize> = (0..size)
                .flat_map(|rank| sets(rank).pushing(REAL, &kernel))
                .map(|row| rows[row].expect("a picture"))
                .collect();
            assert_eq!(found, kernel.others(all, REAL).concat(), "{all} sets, {size} ranks");
            let none = DriftKernel { guidance: 1.0, ..kernel };
            assert!((0..size).all(|rank| sets(rank).pushing(REAL, &none).is_empty()));
        }
    }
}
