//! A batch in pieces of a fixed size, each taken through the network by one thread.
//!
//! On backends that ask for it ([`Ops::PIECE`]) threads share out whole pieces of a batch, forward and backward, instead of the rows
//! inside each small operation: nobody waits for anybody, and a piece stays in the caches. Pieces have the same size whatever the
//! number of threads, and what they add to a gradient is added in their order, so results do not depend on the number of threads.

use crate::model::ParamSet;
use crate::ops::Ops;
use crate::training::{Engine, Flat};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Images of a piece when at most `micro` may go through the network at once.
pub fn size<B: Ops>(micro: usize) -> usize {
    B::PIECE.map_or(micro, |piece| piece.min(micro)).max(1)
}

/// `0..count` in pieces.
pub fn ranges<B: Ops>(count: usize, micro: usize) -> Vec<Range<usize>> {
    let size = size::<B>(micro);
    (0..count).step_by(size).map(|start| start..count.min(start + size)).collect()
}

/// Thread pools by number of threads, made when first asked for.
///
/// Pieces run in pools of their own and not as tasks of the common pool, because a thread that waits there inside a backward pass may
/// start another piece, whose backward then waits for the first.
static POOLS: Mutex<BTreeMap<usize, Vec<Arc<ThreadPool>>>> = Mutex::new(BTreeMap::new());

/// Pools that share the threads between `pieces` pieces: as many pools as pieces or threads, whichever is fewer. Empty if no thread
/// can be started.
fn pools(pieces: usize) -> Vec<Arc<ThreadPool>> {
    let threads = rayon::current_num_threads();
    let count = pieces.clamp(1, threads);
    let each = threads / count;
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let pools = pools.entry(each).or_default();
    while pools.len() < count {
        match ThreadPoolBuilder::new().num_threads(each).thread_name(|i| format!("piece-{i}")).build() {
            Ok(pool) => pools.push(Arc::new(pool)),
            Err(_) => break,
        }
    }
    pools.iter().take(count).cloned().collect()
}

/// Applies `work` to every item, on all threads if the backend works in pieces; results come in the order of the items.
pub fn map<B: Ops, T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    if B::PIECE.is_none() {
        return items.into_iter().map(work).collect();
    }
    let count = items.len();
    let queue = Mutex::new(items.into_iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(count));
    let serve = || {
        while let Some((i, item)) = { queue.lock().unwrap_or_else(PoisonError::into_inner).next() } {
            let result = work(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((i, result));
        }
    };
    match pools(count).as_slice() {
        [] => serve(),
        [first, others @ ..] => std::thread::scope(|scope| {
            for pool in others {
                scope.spawn(|| pool.install(serve));
            }
            first.install(serve);
        }),
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

/// As [`map`] for work that adds to a gradient. Threads add to one of their own each, and those are added in the order of the items.
pub fn accumulate<B: Engine, T: Send, R: Send>(
    items: Vec<T>,
    set: &ParamSet,
    device: &B::Device,
    gradient: &mut B::Flat,
    work: impl Fn(T, &mut B::Flat) -> R + Sync,
) -> Vec<R> {
    if B::PIECE.is_none() || items.len() == 1 {
        return items.into_iter().map(|item| work(item, gradient)).collect();
    }
    let parts = map::<B, _, _>(items, |item| {
        let mut part = B::Flat::zeros(set, device);
        let result = work(item, &mut part);
        (result, part)
    });
    let add = |(result, part)| {
        gradient.add_all(&part);
        result
    };
    parts.into_iter().map(add).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn pieces_cover_the_batch_in_order() {
        for (count, micro) in [(0, 8), (1, 8), (8, 8), (9, 8), (100, 1000), (33, 0)] {
            let ranges = ranges::<Flex>(count, micro);
            let size = size::<Flex>(micro);
            assert!(ranges.iter().all(|r| r.len() == size || r.end == count));
            assert_eq!(ranges.into_iter().flatten().collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn results_keep_the_order_of_the_items() {
        for threads in [1, 3, 4] {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool starts");
            for count in [1, 2, 50] {
                let share = threads / threads.min(count);
                let squares = pool.install(|| {
                    map::<Flex, _, _>((0..count).collect(), |i: usize| {
                        assert_eq!(rayon::current_num_threads(), share, "{count} pieces on {threads} threads");
                        i * i
                    })
                });
                assert_eq!(squares, (0..count).map(|i| i * i).collect::<Vec<_>>());
            }
        }
        assert!(map::<Flex, usize, usize>(Vec::new(), |i| i).is_empty());
    }
}
