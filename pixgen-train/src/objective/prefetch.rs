//! The next step's batch, made by a thread of its own while a GPU works on this one.
//!
//! A batch is a function of [`TrainingProgress`], so that making it early changes nothing but the time at which it is there. On the CPU, whose
//! threads all compute, nothing is made ahead.

use super::TrainingProgress;
use crate::model::batch::upload;
use crate::ops::FusedOps;
use burn_tensor::Tensor;
use pixgen_core::config::ModelConfig;
use pixgen_edge::threads;
use std::fmt;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

/// Pictures of a step or noise of their shape, in patch layout.
#[derive(Clone, Debug)]
pub struct Pictures<B: FusedOps> {
    values: Vec<f32>,
    /// `[N_p, p*p*C]`.
    shape: [usize; 2],
    uploaded: Option<Tensor<B, 3>>,
}

impl<B: FusedOps> Pictures<B> {
    /// From host values. A GPU gets all of them at once, by the thread that makes the batch.
    pub fn new(config: &ModelConfig, values: Vec<f32>, device: &B::Device) -> Self {
        let shape = [config.patches(), config.patch_len()];
        let mut pictures = Self { values, shape, uploaded: None };
        if B::MICRO_BATCH_TOKENS.is_none() {
            let whole = pictures.range(&(0..pictures.count()), device);
            pictures.uploaded = Some(whole);
        }
        pictures
    }

    /// All values on the host.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.values.len() / (self.shape[0] * self.shape[1]).max(1)
    }

    /// Some of them on the device, `[len, N_p, p*p*C]`.
    pub fn range(&self, range: &Range<usize>, device: &B::Device) -> Tensor<B, 3> {
        let [patches, len] = self.shape;
        match &self.uploaded {
            Some(whole) if range.len() == self.count() => whole.clone(),
            Some(whole) => whole.clone().narrow(0, range.start, range.len()),
            None => {
                let values = &self.values[range.start * patches * len..range.end * patches * len];
                upload(values.to_vec(), [range.len(), patches, len], device)
            }
        }
    }
}

/// Makes batches, and on a GPU the next one ahead.
pub struct Prefetch<T> {
    make: Arc<Make<T>>,
    worker: Option<Worker<T>>,
}

type Make<T> = dyn Fn(&TrainingProgress) -> T + Send + Sync;

/// A thread that makes batches until nobody asks any more: one for all steps, because a GPU keeps memory for each thread that uses it.
struct Worker<T> {
    requests: Sender<TrainingProgress>,
    /// Never locked, but an objective is shared between threads.
    batches: Mutex<Receiver<T>>,
    /// What it was asked for last, if that was not taken yet.
    ahead: Option<TrainingProgress>,
}

impl<T> fmt::Debug for Prefetch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefetch")
            .field("ahead", &self.worker.as_ref().and_then(|worker| worker.ahead))
            .finish()
    }
}

impl<T: Send + 'static> Prefetch<T> {
    /// Batches of a run on backend `B`, made by `make`.
    pub fn new<B: FusedOps>(make: impl Fn(&TrainingProgress) -> T + Send + Sync + 'static) -> Self {
        let make: Arc<Make<T>> = Arc::new(make);
        let worker = if B::MICRO_BATCH_TOKENS.is_none() {
            Worker::start(Arc::clone(&make))
        } else {
            None
        };
        Self { make, worker }
    }

    /// The batch of the step at `progress`, made now.
    pub fn make(&self, progress: &TrainingProgress) -> T {
        (self.make)(progress)
    }

    /// The batch of the step at `progress`, made now or ahead. The batch of the step after it is then begun.
    pub fn take(&mut self, progress: &TrainingProgress) -> T {
        let Some(worker) = &mut self.worker else {
            return (self.make)(progress);
        };
        // A thread that panicked does so again here, where it is seen.
        let ahead = worker.ahead.take().and_then(|of| Some((of, worker.next()?)));
        let batch = match ahead {
            Some((of, batch)) if of == *progress => batch,
            _ => (self.make)(progress),
        };
        let next = TrainingProgress { images: progress.images + progress.batch as u64, ..*progress };
        if next.images < next.total && worker.requests.send(next).is_ok() {
            worker.ahead = Some(next);
        }
        batch
    }
}

impl<T: Send + 'static> Worker<T> {
    /// None if the system has no thread left, or none to compute on beside the caller.
    fn start(make: Arc<Make<T>>) -> Option<Self> {
        if !threads::may_wait_for_others() {
            return None;
        }
        let (requests, asked) = channel::<TrainingProgress>();
        let (made, batches) = channel();
        let serve = move || asked.iter().map(|progress| make(&progress)).try_for_each(|batch| made.send(batch));
        Builder::new().name("next batch".to_owned()).spawn(serve).ok()?;
        Some(Self { requests, batches: Mutex::new(batches), ahead: None })
    }

    /// The batch that it was asked for; None if it has panicked.
    fn next(&mut self) -> Option<T> {
        self.batches.get_mut().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::Share;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn at(images: u64) -> TrainingProgress {
        TrainingProgress {
            seed: 1,
            images,
            total: 100,
            batch: 10,
            micro_batch: 10,
            share: Share::default(),
            together: 1,
        }
    }

    /// Takes the batches of these steps; returns them and how many were made.
    fn take<B: FusedOps>(steps: &[u64]) -> (Vec<u64>, usize) {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let mut prefetch = Prefetch::new::<B>(move |progress| {
            count.fetch_add(1, Ordering::Relaxed);
            progress.images
        });
        let batches = steps.iter().map(|&images| prefetch.take(&at(images))).collect();
        if let Some(worker) = prefetch.worker.as_mut().filter(|worker| worker.ahead.is_some()) {
            worker.next().expect("it is being made");
        }
        (batches, made.load(Ordering::Relaxed))
    }

    #[test]
    fn the_cpu_makes_a_batch_when_it_is_asked_for() {
        assert_eq!(take::<burn_flex::Flex>(&[0, 10, 20]), (vec![0, 10, 20], 3));
    }

    /// Neither a jump nor the end of the run gives another batch than was asked for.
    #[cfg(feature = "vulkan")]
    #[test]
    fn a_gpu_finds_the_next_batch_made() {
        use crate::device::Vulkan;
        assert_eq!(take::<Vulkan>(&[0, 10, 20]), (vec![0, 10, 20], 4));
        assert_eq!(take::<Vulkan>(&[0, 50, 60]), (vec![0, 50, 60], 5));
        assert_eq!(take::<Vulkan>(&[80, 90]), (vec![80, 90], 2));
    }
}
