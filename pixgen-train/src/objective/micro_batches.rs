//! A batch in micro-batches of a fixed size, each taken through the network by one thread.
//!
//! On backends that ask for it ([`FusedOps::MICRO_BATCH_TOKENS`]) threads share out whole micro-batches, forward and backward, instead of the rows
//! inside each small operation: nobody waits for anybody, and a micro-batch stays in the caches. They have the same size whatever the
//! number of threads, and what they add to a gradient is added in their order, so results do not depend on the number of threads.

use crate::ops::FusedOps;
use crate::training::{Engine, Flat};
use pixgen_edge::param_set::ParamSet;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

/// The most images of a micro-batch when at most `micro` may go through the network at once, each as `tokens` tokens.
pub fn size<B: FusedOps>(micro: usize, tokens: usize) -> usize {
    B::MICRO_BATCH_TOKENS.map_or(micro, |rows| (rows / tokens.max(1)).min(micro)).max(1)
}

/// `0..count` in as few micro-batches as [`size`] allows, all of the same length or one less, so that threads finish together.
pub fn ranges<B: FusedOps>(count: usize, micro: usize, tokens: usize) -> Vec<Range<usize>> {
    let parts = count.div_ceil(size::<B>(micro, tokens));
    let start = |part: usize| part * count / parts;
    (0..parts).map(|part| start(part)..start(part + 1)).collect()
}

/// Idle thread pools by number of threads, made when first asked for.
///
/// Micro-batches run in pools of their own and not as tasks of the common pool, because a thread that waits there inside a backward pass may
/// start another micro-batch, whose backward then waits for the first. For the same reason two calls at once share no pool.
static POOLS: Mutex<BTreeMap<usize, Vec<ThreadPool>>> = Mutex::new(BTreeMap::new());

/// Takes pools that share the threads between `parts` micro-batches: as many pools as micro-batches or threads, whichever is fewer, and the
/// threads of each. Empty if no thread can be started.
fn take_pools(parts: usize) -> (usize, Vec<ThreadPool>) {
    let threads = rayon::current_num_threads();
    let count = parts.clamp(1, threads);
    let each = threads / count;
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner).remove(&each).unwrap_or_default();
    while pools.len() < count {
        match ThreadPoolBuilder::new()
            .num_threads(each)
            .thread_name(|i| format!("micro-batch-{i}"))
            .build()
        {
            Ok(pool) => pools.push(pool),
            Err(_) => break,
        }
    }
    (each, pools)
}

/// Applies `work` to every item, on all threads if the backend works in micro-batches; results come in the order of the items.
pub fn map<B: FusedOps, T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    if B::MICRO_BATCH_TOKENS.is_none() {
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
    let (each, pools) = take_pools(count);
    match &pools[..pools.len().min(count.max(1))] {
        [] => serve(),
        [first, others @ ..] => std::thread::scope(|scope| {
            for pool in others {
                // Where no thread is left, the other pools do its part.
                let _ = Builder::new().spawn_scoped(scope, || pool.install(serve));
            }
            first.install(serve);
        }),
    }
    POOLS.lock().unwrap_or_else(PoisonError::into_inner).insert(each, pools);
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The gradient of a batch, to which those of its micro-batches are added in their order, each as soon as those before it are.
struct Sum<'a, B: Engine> {
    /// The gradient, when the first micro-batch has added to it.
    whole: Option<&'a mut B::Flat>,
    /// The micro-batch that is to be added next.
    next: usize,
    /// Gradients of later ones.
    waiting: BTreeMap<usize, B::Flat>,
}

impl<'a, B: Engine> Sum<'a, B> {
    fn begin(&mut self, whole: &'a mut B::Flat) {
        (self.whole, self.next) = (Some(whole), 1);
        self.add_waiting();
    }

    fn add(&mut self, number: usize, part: B::Flat) {
        self.waiting.insert(number, part);
        self.add_waiting();
    }

    fn add_waiting(&mut self) {
        let Some(whole) = &mut self.whole else { return };
        while let Some(part) = self.waiting.remove(&self.next) {
            whole.add_all(&part);
            part.recycle();
            self.next += 1;
        }
    }
}

/// As [`map`] for work that adds to a gradient: the first item to `gradient` itself, the others to buffers of their own, which are added
/// in the order of the items. About as many buffers live at once as there are threads, or twice as many.
pub fn accumulate<B: Engine, T: Send, R: Send>(
    items: Vec<T>,
    set: &ParamSet,
    device: &B::Device,
    gradient: &mut B::Flat,
    work: impl Fn(T, &mut B::Flat) -> R + Sync,
) -> Vec<R> {
    if B::MICRO_BATCH_TOKENS.is_none() {
        return items.into_iter().map(|item| work(item, gradient)).collect();
    }
    let sum = Mutex::new(Sum::<B> { whole: None, next: 0, waiting: BTreeMap::new() });
    let sum = || sum.lock().unwrap_or_else(PoisonError::into_inner);
    let mut whole = Some(gradient);
    let items = items.into_iter().enumerate().map(|(number, item)| (number, item, whole.take())).collect();
    map::<B, _, _>(items, |(number, item, whole)| {
        if let Some(whole) = whole {
            let result = work(item, whole);
            sum().begin(whole);
            return result;
        }
        let mut part = B::Flat::zeros(set, device);
        let result = work(item, &mut part);
        sum().add(number, part);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;
    use pixgen_core::presets::preset;

    #[test]
    fn micro_batches_cover_the_batch_in_order() {
        for (count, micro, tokens) in [
            (0, 8, 18),
            (1, 8, 18),
            (8, 8, 18),
            (9, 8, 18),
            (100, 1000, 18),
            (33, 0, 18),
            (32, 32, 66),
            (3, 3, 5000),
        ] {
            let ranges = ranges::<Flex>(count, micro, tokens);
            let size = size::<Flex>(micro, tokens);
            let lengths: Vec<usize> = ranges.iter().map(Range::len).collect();
            let (shortest, longest) = (lengths.iter().min().copied().unwrap_or(0), lengths.iter().max().copied().unwrap_or(0));
            assert!(longest <= size && longest - shortest <= 1, "{count} images: {lengths:?}");
            assert_eq!(ranges.into_iter().flatten().collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn gradients_of_all_items_are_added() {
        let model = preset("nano-28-grey").expect("preset").model;
        let (set, device) = (ParamSet::generator(&model), Default::default());
        for count in [0, 1, 5] {
            let mut gradient = vec![1.0; set.len()];
            for step in 1..3 {
                let add = |i: usize, gradient: &mut [f32]| gradient.iter_mut().enumerate().for_each(|(k, g)| *g += (i * (k % 7)) as f32);
                let results = accumulate::<Flex, _, _>((0..count).collect(), &set, &device, &mut gradient, |i, gradient| {
                    add(i, gradient);
                    i
                });
                assert_eq!(results, (0..count).collect::<Vec<_>>());
                let factor = step * (0..count).sum::<usize>();
                assert!(gradient.iter().enumerate().all(|(k, &g)| g == 1.0 + (factor * (k % 7)) as f32), "{count} items");
            }
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
                        assert_eq!(rayon::current_num_threads(), share, "{count} micro-batches on {threads} threads");
                        i * i
                    })
                });
                assert_eq!(squares, (0..count).map(|i| i * i).collect::<Vec<_>>());
            }
        }
        assert!(map::<Flex, usize, usize>(Vec::new(), |i| i).is_empty());
    }
}
