//! What class and noise level fold into: with both fixed, the time token, the class token and every AdaLN modulation are constants
//! (docs/reference/method.md sections 2.3 and 2.4). The exporters to `.pxg` and to ONNX write them as tables.

use pixgen_core::config::ModelConfig;
use pixgen_core::noise::time_embedding;
use pixgen_core::params::{Layer, ParamKind, Side, Site};
use pixgen_core::reference::FlatWeights;

/// The constants of one class at one noise level; d is the width of the encoder.
#[derive(Clone, Debug)]
pub struct FoldedCondition {
    /// The time token, which is the sinusoid of c_noise(t): `[d]`.
    pub time_token: Vec<f32>,
    /// The class token with the class embedding: `[d]`.
    pub class_token: Vec<f64>,
    /// SiLU(c), c = time sinusoid + class embedding: `[d]`.
    pub activated: Vec<f64>,
}

impl FoldedCondition {
    /// Folds row `class` of the class embedding and the shifted noise level `t`.
    pub fn new(config: &ModelConfig, weights: &FlatWeights<'_>, class: usize, t: f64) -> Self {
        let d = config.encoder.width;
        let encoder = |layer| weights.get(Site::new(Side::Encoder, 0, layer), ParamKind::Weight);
        let embedding = || encoder(Layer::ClassEmbed).iter().skip(class * d).take(d).map(|&v| f64::from(v));
        let mut time_token = vec![0.0; d];
        time_embedding(t, &mut time_token);
        let silu = |c: f64| c / (1.0 + (-c).exp());
        Self {
            class_token: encoder(Layer::ClassToken)
                .iter()
                .zip(embedding())
                .map(|(&a, b)| f64::from(a) + b)
                .collect(),
            activated: time_token.iter().zip(embedding()).map(|(&a, b)| silu(f64::from(a) + b)).collect(),
            time_token,
        }
    }

    /// AdaLN of the block of `site`, W SiLU(c) + b: shift, scale and gate of both branches, `[6 d_dec]`.
    pub fn modulation(&self, weights: &FlatWeights<'_>, site: Site) -> Vec<f64> {
        let rows = weights.get(site, ParamKind::Weight).chunks_exact(self.activated.len().max(1));
        let dot = |row: &[f32]| row.iter().zip(&self.activated).map(|(&w, c)| f64::from(w) * c).sum::<f64>();
        rows.zip(weights.get(site, ParamKind::Bias))
            .map(|(row, &bias)| dot(row) + f64::from(bias))
            .collect()
    }
}
