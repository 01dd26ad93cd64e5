//! What a batch of pictures is conditioned on: noise levels and classes.

use burn_tensor::backend::{AutodiffBackend, Backend};
use burn_tensor::{Int, Tensor, TensorData};
use pixgen_core::noise::time_embedding;

/// Conditions of a batch on a device.
#[derive(Clone, Debug)]
pub struct Condition<B: Backend> {
    /// Time sinusoids, `[B, d]`.
    pub time: Tensor<B, 2>,
    /// Rows of the class embedding, `[B]`; `None` in pre-training.
    pub classes: Option<Tensor<B, 1, Int>>,
}

impl<B: Backend> Condition<B> {
    /// Conditions from shifted levels `t` and, in stage 2, as many classes. `width` is the encoder's.
    pub fn new(t: &[f64], classes: Option<&[usize]>, width: usize, device: &B::Device) -> Self {
        let mut sinusoids = vec![0.0; t.len() * width];
        let mut row = 0..0;
        for (i, &level) in t.iter().enumerate() {
            let start = i * width;
            // In stage 1 and in sampling a batch shares one level.
            if i > 0 && level == t[i - 1] {
                sinusoids.copy_within(row.clone(), start);
            } else {
                row = start..start + width;
                time_embedding(level, &mut sinusoids[row.clone()]);
            }
        }
        let classes = classes.map(|classes| {
            let rows: Vec<i64> = classes.iter().map(|&c| c as i64).collect();
            Tensor::from_data(TensorData::new(rows, [classes.len()]), device)
        });
        Self { time: Tensor::from_data(TensorData::new(sinusoids, [t.len(), width]), device), classes }
    }

    /// The same as constants of a graph.
    pub fn constant<T: AutodiffBackend<InnerBackend = B>>(&self) -> Condition<T> {
        Condition {
            time: Tensor::from_inner(self.time.clone()),
            classes: self.classes.clone().map(Tensor::from_inner),
        }
    }
}

/// Uploads pictures in patch layout, `[B, N_p, p*p*C]`.
pub fn upload<B: Backend>(values: Vec<f32>, shape: [usize; 3], device: &B::Device) -> Tensor<B, 3> {
    Tensor::from_data(TensorData::new(values, shape), device)
}
