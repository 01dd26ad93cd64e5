//! The state of a run is the same on all ranks: given out by rank 0 at the start, and compared now and then.

use super::link::list;
use super::meeting::difference;
use super::{Collective, Share};
use crate::objective::Objective;
use crate::training::{Engine, Flat, OptimiserKind, State};
use pixgen_edge::param_set::ParamSet;
use pixgen_edge::units::counted;
use std::collections::HashMap;

/// Steps between two comparisons of the parameters.
pub const COMPARED_EVERY: u64 = 1000;

/// Ranks that do not fit together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// A batch that cannot be shared out.
    #[error("train.batch = {batch}: {ranks} ranks cannot share it equally")]
    Indivisible {
        /// Images of a batch.
        batch: usize,
        /// Ranks.
        ranks: usize,
    },
    /// Stage 3 with ranks for which there is no set.
    #[error("train.batch = {batch}: {} of drift.generated = {together} images for {ranks} ranks", counted(.batch / .together, "set", "sets"))]
    FewSets {
        /// Images of a batch.
        batch: usize,
        /// Ranks.
        ranks: usize,
        /// Images of a set.
        together: usize,
    },
    /// An optimiser that needs whole matrices.
    #[error("--shard-state with optimiser.kind = \"muon\": ranks divide the state in the middle of matrices, which Muon needs whole")]
    WholeMatrices,
    /// Another command line or other variables.
    #[error("the ranks were not started alike: this one with `{here}`, rank 0 with `{first}`")]
    OtherCommand {
        /// The first part that differs, here.
        here: String,
        /// The same at rank 0.
        first: String,
    },
    /// Other training data.
    #[error("the training data have fingerprint {here} here and {first} at rank 0")]
    OtherData {
        /// Fingerprint here.
        here: String,
        /// That of rank 0.
        first: String,
    },
    /// The parameters went apart, which no sound machine does.
    #[error("the parameters of {} are not those of rank 0 any more", list(.ranks))]
    Apart {
        /// Ranks with other parameters.
        ranks: Vec<usize>,
    },
}

impl ReplicaError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Indivisible { batch, ranks } => {
                format!("take --batch {} or another multiple of {ranks}, or another number of ranks", batch.next_multiple_of(*ranks))
            }
            Self::FewSets { batch, ranks, together } => {
                let most = counted(batch / together, "rank", "ranks or fewer");
                format!("take --batch {}, so that each has a set, or {most}", ranks * together)
            }
            Self::WholeMatrices => "leave --shard-state out, or use --optimiser adamw".to_owned(),
            Self::OtherCommand { .. } => "start all ranks with the same program, flags and PIXGEN_ variables".to_owned(),
            Self::OtherData { .. } => {
                "all ranks need the same pictures: a folder that all hosts share, or the same copy on each".to_owned()
            }
            Self::Apart { .. } => {
                "the last checkpoint is whole and the same command goes on from it; a host or GPU may be faulty".to_owned()
            }
        })
    }
}

/// Whether a batch can be shared out, when so many of its images stay `together`: equally, or where these are sets, at least one for each rank.
///
/// # Errors
/// [`ReplicaError::Indivisible`] and [`ReplicaError::FewSets`].
pub const fn check_batch(batch: usize, ranks: usize, together: usize) -> Result<(), ReplicaError> {
    match together {
        _ if ranks == 1 => Ok(()),
        1 if !batch.is_multiple_of(ranks) => Err(ReplicaError::Indivisible { batch, ranks }),
        2.. if batch / together < ranks => Err(ReplicaError::FewSets { batch, ranks, together }),
        _ => Ok(()),
    }
}

/// Whether so many ranks can divide the state of an optimiser.
///
/// # Errors
/// [`ReplicaError::WholeMatrices`] for Muon.
pub fn check_divided(optimiser: OptimiserKind, ranks: usize) -> Result<(), ReplicaError> {
    if ranks > 1 && optimiser == OptimiserKind::Muon {
        return Err(ReplicaError::WholeMatrices);
    }
    Ok(())
}

/// Whether all ranks were started with the same program, arguments and variables; `command` are those of this one.
///
/// # Errors
/// [`ReplicaError::OtherCommand`] where they differ.
pub fn check_command(ranks: &Collective, command: &[String]) -> Result<(), ReplicaError> {
    let here = command.join("\n");
    let mut first = here.clone();
    ranks.broadcast_text(&mut first);
    difference(&here, &first).map_or(Ok(()), |[here, first]| Err(ReplicaError::OtherCommand { here, first }))
}

/// Whether all ranks have the same training data.
///
/// # Errors
/// [`ReplicaError::OtherData`] where they differ.
pub fn check_data(ranks: &Collective, fingerprint: &str) -> Result<(), ReplicaError> {
    let mut first = fingerprint.to_owned();
    ranks.broadcast_text(&mut first);
    if first == fingerprint {
        return Ok(());
    }
    Err(ReplicaError::OtherData { here: fingerprint.to_owned(), first })
}

/// Gives everyone the state of rank 0, and what its objective keeps beside it. Where ranks divide moments and averages, `whole` has them at
/// rank 0 by their names, unless the run is fresh.
pub fn replicate<B: Engine>(
    ranks: &Collective,
    objective: &mut dyn Objective<B>,
    state: &mut State<B::Flat>,
    mut whole: HashMap<String, Vec<f32>>,
    device: &B::Device,
) {
    if ranks.is_alone() {
        return;
    }
    let mut counters = [state.images, state.updates, state.skipped, state.skipped_in_row];
    ranks.broadcast(bytemuck::cast_slice_mut(&mut counters));
    [state.images, state.updates, state.skipped, state.skipped_in_row] = counters;
    let set = objective.params().clone();
    let give = |flat: &mut B::Flat| flat.broadcast(&set, ranks);
    give(&mut state.params);
    let share = state.share;
    if share.is_whole() {
        state.divided_mut().for_each(|(_, values)| give(values));
    } else if ranks.any(!whole.is_empty()) {
        for (name, place) in state.divided_mut() {
            let mut values = whole.remove(&name).unwrap_or_else(|| vec![0.0; set.len()]);
            ranks.broadcast(bytemuck::cast_slice_mut(&mut values));
            *place = B::Flat::upload_part(&set, &values, share, device);
        }
    } else {
        let params = state.params.host();
        state
            .emas
            .iter_mut()
            .for_each(|ema| ema.values = B::Flat::upload_part(&set, &params, share, device));
    }
    let mut kept: HashMap<String, Vec<f32>> = objective.state().into_iter().collect();
    let mut names: Vec<String> = kept.keys().cloned().collect();
    names.sort();
    for name in &names {
        if let Some(values) = kept.get_mut(name) {
            ranks.broadcast(bytemuck::cast_slice_mut(values));
        }
    }
    if !ranks.is_first() {
        // An objective takes back what it gave.
        let _ = objective.restore(&mut |name| kept.remove(name));
    }
}

/// Whether all ranks have the same parameters.
///
/// # Errors
/// [`ReplicaError::Apart`], everywhere.
pub fn compare<B: Engine>(ranks: &Collective, params: &B::Flat) -> Result<(), ReplicaError> {
    if ranks.is_alone() {
        return Ok(());
    }
    let checksums = ranks.all_gather(&[crc32fast::hash(bytemuck::cast_slice(&params.host()))]);
    let apart: Vec<usize> = (1..checksums.len()).filter(|&rank| checksums[rank] != checksums[0]).collect();
    if apart.is_empty() {
        Ok(())
    } else {
        Err(ReplicaError::Apart { ranks: apart })
    }
}

/// Adds up the gradients of all ranks, or the part that this one updates.
pub fn sum_gradient<B: Engine>(ranks: &Collective, set: &ParamSet, share: Share, gradient: &mut B::Flat) {
    if !share.is_whole() {
        gradient.sum_part(set, share, ranks);
    } else if !ranks.is_alone() {
        gradient.sum(set, ranks);
    }
}

/// The norm of a gradient that [`sum_gradient`] has added up.
pub fn norm<B: Engine>(ranks: &Collective, set: &ParamSet, share: Share, gradient: &B::Flat) -> f64 {
    if share.is_whole() {
        return gradient.norm(set);
    }
    let mut sum = [gradient.square_sum(set, share)];
    ranks.sum_few(&mut sum);
    sum[0].sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_shared_out_in_sets() {
        for (batch, ranks, together, fits) in [
            (8, 1, 1, true),
            (9, 1, 4, true),
            (8, 4, 1, true),
            (8, 3, 1, false),
            (24, 3, 4, true),
            (24, 4, 4, true),
            (24, 6, 4, true),
            (24, 7, 4, false),
        ] {
            assert_eq!(check_batch(batch, ranks, together).is_ok(), fits, "{batch} images, {ranks} ranks, sets of {together}");
        }
        let error = check_batch(24, 7, 4).expect_err("six sets");
        assert_eq!(error.to_string(), "train.batch = 24: 6 sets of drift.generated = 4 images for 7 ranks");
        assert_eq!(error.hint().expect("a hint"), "take --batch 28, so that each has a set, or 6 ranks or fewer");
        assert!(
            check_batch(8, 3, 1)
                .expect_err("9 is next")
                .hint()
                .expect("a hint")
                .contains("--batch 9 ")
        );
    }

    #[test]
    fn one_process_agrees_with_itself() {
        let alone = Collective::default();
        assert!(check_command(&alone, &["finetune".to_owned()]).is_ok() && check_data(&alone, "a").is_ok());
    }
}
