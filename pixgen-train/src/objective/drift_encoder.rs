//! What stage 3 sees of a picture through the frozen encoder of stage 1 (docs/reference/method.md section 8.2).

use super::auxiliary::{Frozen, FrozenEncoder, FrozenFeature};
use super::drift_groups::{Compared, Field};
use super::drift_sets::Sets;
use super::frame::{Context, Frame, StageSettings};
use super::micro_batches;
use super::prefetch::Pictures;
use crate::model::Pass;
use crate::model::interpreter::{token_features, token_groups};
use crate::ops::DriftKernel;
use crate::training::{Engine, Flat};
use burn_tensor::Tensor;
use std::ops::Range;

/// The frozen encoder and its weights on the device.
#[derive(Debug)]
pub struct EncoderGroups<B: Engine> {
    encoder: FrozenEncoder,
    params: B::Flat,
}

impl<B: Engine> EncoderGroups<B> {
    /// Uploads the weights.
    pub fn new(encoder: FrozenEncoder, device: &B::Device) -> Self {
        let params = B::Flat::upload(&encoder.set, &encoder.params, device);
        Self { encoder, params }
    }

    /// The fields of all kinds of features of this rank's sets of pictures in patch layout, and the gradient of their losses for the generated
    /// ones. At most `micro` pictures go through the encoder at once; those that are kept for the way back are all of them if `micro` is
    /// their number.
    pub fn fields<S: StageSettings<B>>(
        &self,
        frame: &Frame<B, S>,
        generated: &Tensor<B, 3>,
        real: &Pictures<B>,
        sets: Sets,
        micro: usize,
        kernel: &DriftKernel<'_>,
    ) -> (Vec<Tensor<B, 1>>, Tensor<B, 3>) {
        let Context { model, noise, device } = &frame.context;
        let weights = frame.weights(&self.encoder.set, &self.params);
        let frozen = Frozen {
            encoder: &self.encoder,
            context: &frame.context,
            weights,
            feature: FrozenFeature::ClassToken,
        };
        let seen = |pictures: Tensor<B, 3>| (frozen.scaled(pictures.clone()), frozen.condition(pictures.dims()[0]));
        let features_of = |pictures: Tensor<B, 3>| {
            let (image, condition) = seen(pictures);
            token_features(model, &frozen.weights, &image, &condition)
        };
        let some = |range: &Range<usize>| generated.clone().narrow(0, range.start, range.len());
        let pass = |range: &Range<usize>| {
            let (image, condition) = seen(some(range));
            Pass::tokens(model, &frozen.weights, image, condition)
        };
        let count = generated.dims()[0];
        let keep = micro >= count;
        let ranges = frame.ranges(count, micro);
        let once = |range: Range<usize>| Pass::kept_if(keep, || pass(&range), || features_of(some(&range)));
        let done = micro_batches::map::<B, _, _>(ranges.clone(), once);
        let (passes, features): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        let of_real = micro_batches::map::<B, _, _>(frame.ranges(real.count(), micro), |range| features_of(real.range(&range, device)));
        let [features, of_real] = [features, of_real].map(|parts| Tensor::cat(parts, 0));
        let others = sets.others(frame, &of_real, real.count() / sets.own(), kernel);
        let features = Compared { generated: features, real: of_real, others };
        let fields: Vec<Field<B>> = token_groups(model)
            .into_iter()
            .map(|rows| Field::new(features.map(|of| of.narrow(1, rows.start, rows.len())), sets.own(), kernel))
            .collect();
        let (sizes, slopes): (Vec<_>, Vec<_>) = fields.into_iter().map(|field| (field.sizes, field.slope)).unzip();
        let slope = Tensor::cat(slopes, 1);
        let items = ranges.into_iter().zip(passes).collect();
        let back = micro_batches::map::<B, _, _>(items, |(range, kept): (Range<usize>, Option<Pass<'_, B, 3>>)| {
            let upstream = slope.clone().narrow(0, range.start, range.len());
            let gradient = kept.unwrap_or_else(|| pass(&range)).image_gradient(upstream);
            gradient.unwrap_or_else(|| some(&range).zeros_like())
        });
        (sizes, Tensor::cat(back, 0).mul_scalar(noise.c_in(noise.t_min())))
    }
}
