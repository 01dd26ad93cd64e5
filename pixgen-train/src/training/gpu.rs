//! A GPU's buffer: one tensor of `f32` that stays on the device, every parameter at a multiple of [`ALIGN`] elements.

use super::flat::{AdamMoments, Engine, Flat};
use super::muon;
use super::optimiser::{Corrections, OptimiserConfig, OptimiserKind, Update};
use crate::distributed::device::{self, together};
use crate::distributed::exchange::Exchange;
use crate::distributed::{Collective, Share};
use crate::ops::cube::{Gpu, done};
use crate::precision::Precision;
use burn_backend::DeviceOps;
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_tensor::TensorData;
use burn_tensor::ops::FloatTensorOps;
use cubecl::server::ComputeServer;
use pixgen_cubecl::launch::empty;
use pixgen_cubecl::matmul::library_use;
use pixgen_cubecl::optimiser::{self, AdamW, CHUNK as ALIGN, ChunkRules, Master};
use pixgen_edge::param_set::{ParamEntry, ParamSet};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Where parameters lie.
#[derive(Debug)]
struct Layout {
    /// Each parameter's part of the buffer, without its padding.
    places: Vec<Range<usize>>,
    /// Elements with padding.
    len: usize,
}

impl Layout {
    fn new(set: &ParamSet) -> Self {
        let mut len = 0;
        let places = set.entries().iter().map(|entry| {
            let place = len..len + entry.range.len();
            len = place.end.next_multiple_of(ALIGN);
            place
        });
        Self { places: places.collect(), len }
    }

    /// The part of the buffer that a rank has in its share.
    fn part(&self, share: Share) -> Range<usize> {
        share.part(self.len, ALIGN)
    }

    /// Lays out values that are packed in the order of the list.
    fn padded(&self, set: &ParamSet, values: &[f32]) -> Vec<f32> {
        let mut padded = vec![0.0; self.len];
        for (entry, place) in set.entries().iter().zip(&self.places) {
            padded[place.clone()].copy_from_slice(&values[entry.range.clone()]);
        }
        padded
    }

    /// The other way.
    fn packed(&self, padded: &[f32]) -> Vec<f32> {
        self.places.iter().flat_map(|place| &padded[place.clone()]).copied().collect()
    }
}

/// Parameters, moments or gradients on a GPU. It has no `Clone`: a copy of the handle would share the memory that updates change.
#[derive(Debug)]
pub struct DeviceFlat<R: CubeRuntime> {
    buffer: CubeTensor<R>,
    /// The same in bf16, once a network has read it so. Whatever changes weights changes both.
    rounded: OnceLock<CubeTensor<R>>,
    layout: Arc<Layout>,
    /// What chunks of [`ALIGN`] elements have in common, made at the first update.
    chunks: Option<Chunks<R>>,
}

/// A number for each chunk of a part of a buffer.
#[derive(Clone, Debug)]
struct Chunks<R: CubeRuntime> {
    /// The settings that they follow from.
    config: OptimiserConfig,
    decay: CubeTensor<R>,
    /// Where [`muon::steps`] leaves steps, if it does.
    given: Option<CubeTensor<R>>,
}

impl<R> Engine for Gpu<R>
where
    R: CubeRuntime,
    R::Server: ComputeServer,
    R::Device: DeviceOps,
{
    type Flat = DeviceFlat<R>;

    fn reserved_memory(device: &R::Device) -> Option<u64> {
        R::client(device).memory_usage().ok().map(|usage| usage.bytes_reserved)
    }

    fn products(device: &R::Device) -> Option<String> {
        library_use::<R>(device).map(|used| used.to_string())
    }

    fn connect(ranks: &Collective, device: &R::Device) {
        device::connect::<R>(ranks, device);
    }

    fn gathered(ranks: &Collective, rows: CubeTensor<R>) -> Option<CubeTensor<R>> {
        let mine = into_contiguous(rows);
        let mut shape = mine.meta.shape().to_vec();
        shape[0] *= ranks.size();
        let all = empty(&mine, &shape, mine.dtype);
        together(ranks, &Exchange::Gather { mine: &mine, all: &all }).then_some(all)
    }
}

impl<R> DeviceFlat<R>
where
    R: CubeRuntime,
    R::Server: ComputeServer,
    R::Device: DeviceOps,
{
    fn from_host(layout: Layout, padded: Vec<f32>, share: Share, device: &R::Device) -> Self {
        let padded = if share.is_whole() {
            padded
        } else {
            padded[layout.part(share)].to_vec()
        };
        let shape = [padded.len()];
        let buffer = Gpu::<R>::float_from_data(TensorData::new(padded, shape), device);
        Self { buffer, rounded: OnceLock::new(), layout: Arc::new(layout), chunks: None }
    }

    fn master(&self) -> Master<'_, R> {
        Master { values: &self.buffer, rounded: self.rounded.get() }
    }

    /// A part of the buffer, which shares its memory.
    fn view(&self, part: &Range<usize>) -> CubeTensor<R> {
        done(optimiser::view(&self.buffer, part.start, &[part.len()]))
    }

    /// Of a rank's part of a buffer all parts, padded as they lie on the device.
    fn all_padded(&self, part: CubeTensor<R>, share: Share, ranks: &Collective) -> Vec<f32> {
        let len = self.layout.len;
        ranks.all_parts(&to_vec(part), share.length(len, ALIGN), len)
    }

    /// What the optimiser needs for each chunk of a part that stays the same.
    fn chunks(&mut self, set: &ParamSet, config: &OptimiserConfig, part: &Range<usize>) -> Chunks<R> {
        if let Some(chunks) = self.chunks.as_ref().filter(|chunks| chunks.config == *config) {
            return chunks.clone();
        }
        let of_part = |of: &dyn Fn(&ParamEntry) -> f32| {
            let mut values = vec![0.0f32; self.layout.len / ALIGN];
            for (entry, place) in set.entries().iter().zip(&self.layout.places) {
                values[place.start / ALIGN..place.end.div_ceil(ALIGN)].fill(of(entry));
            }
            let values = values[part.start / ALIGN..part.end / ALIGN].to_vec();
            let shape = [values.len()];
            Gpu::<R>::float_from_data(TensorData::new(values, shape), &self.buffer.device)
        };
        let decay = of_part(&|entry| config.decay_of(entry.role) as f32);
        let given =
            (config.kind == OptimiserKind::Muon).then(|| of_part(&|entry| if config.muon_matrices(entry).is_some() { 1.0 } else { 0.0 }));
        let chunks = Chunks { config: *config, decay, given };
        self.chunks = Some(chunks.clone());
        chunks
    }
}

impl<R> Flat<Gpu<R>> for DeviceFlat<R>
where
    R: CubeRuntime,
    R::Server: ComputeServer,
    R::Device: DeviceOps,
{
    fn upload_part(set: &ParamSet, values: &[f32], share: Share, device: &R::Device) -> Self {
        let layout = Layout::new(set);
        let padded = layout.padded(set, values);
        Self::from_host(layout, padded, share, device)
    }

    fn zeros_part(set: &ParamSet, share: Share, device: &R::Device) -> Self {
        let layout = Layout::new(set);
        let padded = vec![0.0; layout.len];
        Self::from_host(layout, padded, share, device)
    }

    fn bytes(&self) -> u64 {
        (self.buffer.meta.num_elements() * size_of::<f32>()) as u64
    }

    fn whole(&self, _: &ParamSet, share: Share, ranks: &Collective) -> Cow<'_, [f32]> {
        if share.is_whole() {
            return self.host();
        }
        Cow::Owned(self.layout.packed(&self.all_padded(self.buffer.clone(), share, ranks)))
    }

    fn host(&self) -> Cow<'_, [f32]> {
        Cow::Owned(self.layout.packed(&to_vec(self.buffer.clone())))
    }

    fn tensor(&self, set: &ParamSet, entry: usize, precision: Precision, _: &R::Device) -> CubeTensor<R> {
        let (shape, place) = (&set.entries()[entry].dims, &self.layout.places[entry]);
        let buffer = match precision {
            Precision::F32 => &self.buffer,
            Precision::Bf16 => self.rounded.get_or_init(|| done(optimiser::rounded(&self.buffer))),
        };
        done(optimiser::view(buffer, place.start, shape))
    }

    fn add(&mut self, _: &ParamSet, entry: usize, tensor: CubeTensor<R>) {
        self.rounded.take();
        done(optimiser::add_into(&self.buffer, self.layout.places[entry].start, tensor));
    }

    fn put(&mut self, _: &ParamSet, entry: usize, tensor: CubeTensor<R>) {
        self.rounded.take();
        let place = &self.layout.places[entry];
        done(optimiser::zero(&self.view(place)));
        done(optimiser::add_into(&self.buffer, place.start, tensor));
    }

    fn on_host(&mut self, set: &ParamSet, change: impl FnOnce(&mut [f32])) {
        self.rounded.take();
        let mut values = self.host().into_owned();
        change(&mut values);
        self.buffer = Self::upload(set, &values, &self.buffer.device).buffer;
    }

    fn sum(&mut self, set: &ParamSet, ranks: &Collective) {
        self.rounded.take();
        if !together(ranks, &Exchange::Sum(&self.buffer)) {
            self.on_host(set, |values| ranks.sum(values));
        }
    }

    fn sum_part(&mut self, set: &ParamSet, share: Share, ranks: &Collective) {
        self.rounded.take();
        if !together(ranks, &Exchange::SumParts { buffer: &self.buffer, length: share.length(self.layout.len, ALIGN) }) {
            self.on_host(set, |values| ranks.sum(values));
        }
    }

    fn join_parts(&mut self, _: &ParamSet, share: Share, ranks: &Collective) {
        self.rounded.take();
        if !together(ranks, &Exchange::JoinParts { buffer: &self.buffer, length: share.length(self.layout.len, ALIGN) }) {
            let padded = self.all_padded(self.view(&self.layout.part(share)), share, ranks);
            let shape = [padded.len()];
            self.buffer = Gpu::<R>::float_from_data(TensorData::new(padded, shape), &self.buffer.device);
        }
    }

    fn broadcast(&mut self, set: &ParamSet, ranks: &Collective) {
        self.rounded.take();
        if !together(ranks, &Exchange::Broadcast(&self.buffer)) {
            self.on_host(set, |values| ranks.broadcast(bytemuck::cast_slice_mut(values)));
        }
    }

    fn add_all(&mut self, other: &Self) {
        self.rounded.take();
        done(optimiser::add_all(&self.buffer, &other.buffer));
    }

    fn clear(&mut self) {
        self.rounded.take();
        done(optimiser::zero(&self.buffer));
    }

    fn norm(&self, _: &ParamSet) -> f64 {
        done(optimiser::norm(&self.buffer))
    }

    fn square_sum(&self, _: &ParamSet, share: Share) -> f64 {
        done(optimiser::norm(&self.view(&self.layout.part(share)))).powi(2)
    }

    fn lerp(&mut self, target: &Self, share: f32) {
        done(optimiser::lerp(&self.master(), &target.buffer, share));
    }

    fn update(params: &mut Self, moments: &mut AdamMoments<Self>, averages: &mut [&mut Self], gradient: &mut Self, update: &Update<'_>) {
        if update.config.kind == OptimiserKind::Muon {
            muon::steps::<Gpu<R>>(gradient, &mut moments.m, update, &params.buffer.device);
        }
        let Update { config, set, rate, gradient_scale, updates, share, ema_weights } = *update;
        let Corrections { step, second } = Corrections::new(config, rate, updates);
        let settings = AdamW {
            beta1: config.beta1 as f32,
            beta2: config.beta2 as f32,
            epsilon: config.epsilon as f32,
            learning_rate: rate as f32,
            step_size: step,
            bias_correction2: second,
            gradient_scale,
        };
        averages.iter_mut().for_each(|average| drop(average.rounded.take()));
        let averages: Vec<_> = averages.iter().map(|average| &average.buffer).zip(ema_weights.iter().copied()).collect();
        let part = params.layout.part(share);
        let chunks = params.chunks(set, config, &part);
        let rounded = params
            .rounded
            .get()
            .map(|rounded| done(optimiser::view(rounded, part.start, &[part.len()])));
        let master = Master { values: &params.view(&part), rounded: rounded.as_ref() };
        let gradient = gradient.view(&part);
        let rules = ChunkRules { decay: &chunks.decay, given: chunks.given.as_ref() };
        done(optimiser::adamw(&master, &moments.m.buffer, &moments.v.buffer, &gradient, &averages, settings, &rules));
    }
}

/// Values of a tensor on the host.
fn to_vec<R>(tensor: CubeTensor<R>) -> Vec<f32>
where
    R: CubeRuntime,
    R::Server: ComputeServer,
    R::Device: DeviceOps,
{
    let data = burn_tensor::Tensor::<Gpu<R>, 1>::from_primitive(burn_tensor::TensorPrimitive::Float(tensor)).into_data();
    crate::model::weights::to_vec(data)
}

#[cfg(all(test, feature = "vulkan"))]
mod tests {
    use super::*;
    use crate::device::Vulkan;
    use burn_flex::{Flex, FlexDevice};
    use half::bf16;
    use pixgen_core::config::{ModelConfig, Tower};
    use pixgen_edge::projector::ProjectorConfig;

    /// Whatever changes the weights, a network that computes in bf16 reads the new ones.
    #[test]
    fn weights_in_bf16_follow_those_in_f32() {
        let tower = Tower { depth: 1, width: 4, heads: 1 };
        let model = ModelConfig { size: 4, channels: 1, patch: 2, classes: 2, encoder: tower, decoder: tower };
        let set = ParamSet::pretraining(&model, &ProjectorConfig { hidden: 4, out: 2 });
        let device = Default::default();
        type Buffer = <Vulkan as Engine>::Flat;
        let values = |scale: f32| -> Vec<f32> { (0..set.len()).map(|i| scale * (1.0 + i as f32 / 7.0)).collect() };
        let mut other = Buffer::upload(&set, &values(-0.3), &device);
        let mut average = Buffer::upload(&set, &values(2.0), &device);
        let mut params = Buffer::upload(&set, &values(1.0), &device);
        let check = |flat: &Buffer, after: &str| {
            let (entry, first) = (0, set.entries()[0].range.clone());
            let read = flat.tensor(&set, entry, Precision::Bf16, &device);
            // The bits as they are: a Vulkan device cannot convert them, and loses its buffers when asked to.
            let bytes = read.client.read_one(read.handle).unwrap();
            let want: Vec<bf16> = flat.host()[first].iter().map(|&v| bf16::from_f32(v)).collect();
            assert_eq!(bytes[..2 * want.len()], *bytemuck::cast_slice::<bf16, u8>(&want), "after {after}");
        };
        check(&params, "reading");
        params.on_host(&set, |values| values.iter_mut().for_each(|v| *v *= 3.0));
        check(&params, "a change on the host");
        params.add_all(&other);
        check(&params, "adding all");
        params.lerp(&other, 0.25);
        check(&params, "moving towards another");
        let added = other.tensor(&set, 0, Precision::F32, &device);
        params.add(&set, 0, added);
        check(&params, "adding a tensor");
        check(&average, "reading");
        let mut moments = AdamMoments { m: Buffer::zeros(&set, &device), v: Buffer::zeros(&set, &device) };
        let update = Update {
            config: &OptimiserConfig::EXAMPLE,
            set: &set,
            rate: 0.01,
            gradient_scale: 1.0,
            updates: 1,
            share: Share::default(),
            ema_weights: &[0.5],
        };
        Buffer::update(&mut params, &mut moments, &mut [&mut average], &mut other, &update);
        check(&params, "an update");
        check(&average, "the update of an average");
        params.clear();
        check(&params, "clearing");
    }

    /// Two updates by either rule, as on the host.
    #[test]
    fn updates_are_those_of_the_host() {
        let tower = Tower { depth: 2, width: 12, heads: 1 };
        let model = ModelConfig { size: 4, channels: 1, patch: 2, classes: 2, encoder: tower, decoder: tower };
        let set = ParamSet::generator(&model);
        let values = |seed: u32| -> Vec<f32> { (0..set.len() as u32).map(|i| (f64::from(i * 7 + seed)).sin() as f32).collect() };
        let device = Default::default();
        for kind in [OptimiserKind::Adamw, OptimiserKind::Muon] {
            let config = OptimiserConfig { kind, ..OptimiserConfig::EXAMPLE };
            let on_host = two_updates::<Flex>(&set, &config, &values, &FlexDevice);
            let on_device = two_updates::<Vulkan>(&set, &config, &values, &device);
            for (name, (got, want)) in ["params", "m", "average"].into_iter().zip(on_device.iter().zip(&on_host)) {
                let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
                println!("{kind:?} {name}: {worst:.1e}");
                assert!(worst < 2e-5, "{kind:?} {name}: {worst}");
            }
        }
    }

    /// Parameters, first moments and an average after two updates.
    fn two_updates<B: Engine>(
        set: &ParamSet,
        config: &OptimiserConfig,
        values: &dyn Fn(u32) -> Vec<f32>,
        device: &B::Device,
    ) -> [Vec<f32>; 3] {
        let mut params = B::Flat::upload(set, &values(1), device);
        let mut average = B::Flat::upload(set, &values(1), device);
        let mut moments = AdamMoments { m: B::Flat::zeros(set, device), v: B::Flat::zeros(set, device) };
        for updates in [1, 2] {
            let mut gradient = B::Flat::upload(set, &values(10 * updates as u32), device);
            let (rate, gradient_scale, share) = (0.01, 0.5, Share::default());
            let update = Update { config, set, rate, gradient_scale, updates, share, ema_weights: &[0.5] };
            B::Flat::update(&mut params, &mut moments, &mut [&mut average], &mut gradient, &update);
        }
        [params, moments.m, average].map(|flat| flat.host().into_owned())
    }
}
