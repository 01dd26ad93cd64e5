//! A GPU's buffer: one tensor of `f32` that stays on the device, every parameter at a multiple of [`ALIGN`] elements.

use super::flat::{AdamMoments, Engine, Flat};
use super::optimiser::{Corrections, OptimiserConfig, Update};
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
use pixgen_cubecl::optimiser::{self, AdamW, CHUNK as ALIGN, Master};
use pixgen_edge::param_set::ParamSet;
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
    /// The weight decay of each chunk of [`ALIGN`] elements, made at the first update, and the settings that it is of.
    decay: Option<(OptimiserConfig, CubeTensor<R>)>,
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
        Self { buffer, rounded: OnceLock::new(), layout: Arc::new(layout), decay: None }
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

    /// The weight decay of each chunk of [`ALIGN`] elements of a part that stays the same.
    fn decay(&mut self, set: &ParamSet, config: &OptimiserConfig, part: &Range<usize>) -> CubeTensor<R> {
        if let Some((_, decay)) = self.decay.as_ref().filter(|(of, _)| of == config) {
            return decay.clone();
        }
        let mut decay = vec![0.0f32; self.layout.len / ALIGN];
        for (entry, place) in set.entries().iter().zip(&self.layout.places) {
            decay[place.start / ALIGN..place.end.div_ceil(ALIGN)].fill(config.decay_of(entry.role) as f32);
        }
        let decay = decay[part.start / ALIGN..part.end / ALIGN].to_vec();
        let shape = [decay.len()];
        let decay = Gpu::<R>::float_from_data(TensorData::new(decay, shape), &self.buffer.device);
        self.decay = Some((*config, decay.clone()));
        decay
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

    fn update(params: &mut Self, moments: &mut AdamMoments<Self>, averages: &mut [&mut Self], gradient: &Self, update: &Update<'_>) {
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
        let decay = params.decay(set, config, &part);
        let rounded = params
            .rounded
            .get()
            .map(|rounded| done(optimiser::view(rounded, part.start, &[part.len()])));
        let master = Master { values: &params.view(&part), rounded: rounded.as_ref() };
        let gradient = gradient.view(&part);
        done(optimiser::adamw(&master, &moments.m.buffer, &moments.v.buffer, &gradient, &averages, settings, &decay));
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
    use half::bf16;
    use pixgen_core::config::{ModelConfig, Tower};
    use pixgen_edge::projector::ProjectorConfig;

    const CONFIG: OptimiserConfig = OptimiserConfig {
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.1,
        decay_position: false,
        decay_vectors: false,
        clip: 0.0,
    };

    /// Whatever changes the weights, a network that computes in bf16 reads the new ones.
    #[test]
    fn weights_in_bf16_follow_those_in_f32() {
        let tower = Tower { depth: 1, width: 4, heads: 1 };
        let model = ModelConfig { size: 4, channels: 1, patch: 2, classes: 2, encoder: tower, decoder: tower };
        let set = ParamSet::pretraining(&model, &ProjectorConfig { hidden: 4, out: 2 });
        let device = Default::default();
        type Buffer = <Vulkan as Engine>::Flat;
        let values = |scale: f32| -> Vec<f32> { (0..set.len()).map(|i| scale * (1.0 + i as f32 / 7.0)).collect() };
        let other = Buffer::upload(&set, &values(-0.3), &device);
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
            config: &CONFIG,
            set: &set,
            rate: 0.01,
            gradient_scale: 1.0,
            updates: 1,
            share: Share::default(),
            ema_weights: &[0.5],
        };
        Buffer::update(&mut params, &mut moments, &mut [&mut average], &other, &update);
        check(&params, "an update");
        check(&average, "the update of an average");
        params.clear();
        check(&params, "clearing");
    }
}
