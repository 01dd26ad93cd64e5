//! Every operation at a size: its inputs, its definition in float64, and how to run it on burn tensors.

use burn_autodiff::Autodiff;
use burn_tensor::ops::{FloatTensor, FloatTensorOps};
use burn_tensor::{DType, Tensor, TensorData, TensorMetadata, TensorPrimitive};

use crate::ops::arguments::{Dropout, LAYER_NORM_EPSILON};
use crate::ops::contract::FusedOps;
use pixgen_core::ops::Branch;
use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

/// The backend under test with its graph.
pub type Tracked<B> = Autodiff<B>;

type Definition = Box<dyn Fn(&[Vec<f64>]) -> Vec<f64> + Sync>;
type Run<B> = Box<dyn Fn(Vec<FloatTensor<Tracked<B>>>) -> FloatTensor<Tracked<B>> + Sync>;

/// One operation at one size, on backend `B`.
pub struct Case<B: FusedOps> {
    /// Operation and size.
    pub name: String,
    /// Shape of each input.
    pub dims: Vec<Vec<usize>>,
    /// Elements of each input.
    pub inputs: Vec<Vec<f64>>,
    /// What the operation computes.
    pub definition: Definition,
    /// The operation on tensors.
    pub run: Run<B>,
}

/// Element type and order in memory of the inputs of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// `f32` in row-major order: the fused kernels.
    F32,
    /// `f32` with the last axis outermost in memory.
    F32Transposed,
    /// `f64`: the default bodies, inside the same graph nodes.
    F64,
}

/// Output and gradients of a run; `None` for inputs that were not tracked.
pub struct Outcome {
    /// The output in row-major order.
    pub output: Vec<f64>,
    /// The gradient of `sum(weights * output)` by each input.
    pub gradients: Vec<Option<Vec<f64>>>,
}

/// Numbers in [-1, 1] that differ for every `seed`.
pub fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Rounded to f32, so that all storages see the same inputs.
            f64::from(((state >> 33) as f64 / f64::from(1u32 << 30) - 1.0) as f32)
        })
        .collect()
}

impl<B: FusedOps> Case<B> {
    fn new(
        name: String,
        dims: Vec<Vec<usize>>,
        definition: impl Fn(&[Vec<f64>]) -> Vec<f64> + Sync + 'static,
        run: impl Fn(Vec<FloatTensor<Tracked<B>>>) -> FloatTensor<Tracked<B>> + Sync + 'static,
    ) -> Self {
        let inputs = dims
            .iter()
            .enumerate()
            .map(|(i, dims)| numbers(dims.iter().product(), 17 + i as u64))
            .collect();
        Self { name, dims, inputs, definition: Box::new(definition), run: Box::new(run) }
    }

    /// Weights of the outputs in the loss whose gradients are compared.
    pub fn loss_weights(&self, length: usize) -> Vec<f64> {
        numbers(length, 3)
    }

    /// Runs forward and backward with gradients for the inputs in `tracked`.
    pub fn outcome(&self, storage: Storage, tracked: &[bool]) -> Outcome {
        let device = Default::default();
        let dtype = if storage == Storage::F64 { DType::F64 } else { DType::F32 };
        let upload = |data: Vec<f64>, dims: &[usize]| -> Tensor<Tracked<B>, 1> {
            let data = TensorData::new(data, [dims.iter().product::<usize>()]);
            Tensor::from_data(data, (&device, dtype))
        };
        let mut leaves = Vec::new();
        let mut inputs = Vec::new();
        for ((data, dims), &tracked) in self.inputs.iter().zip(&self.dims).zip(tracked) {
            let width = dims[dims.len() - 1];
            let rows = data.len() / width;
            let stored = match storage {
                Storage::F32Transposed => transpose(data, rows, width),
                _ => data.clone(),
            };
            let mut leaf = upload(stored, dims);
            if tracked {
                leaf = leaf.require_grad();
            }
            let view = match storage {
                Storage::F32Transposed => leaf.clone().reshape([width, rows]).transpose(),
                _ => leaf.clone().reshape([rows, width]),
            };
            inputs.push(regroup(view, dims));
            leaves.push(leaf);
        }
        let output = (self.run)(inputs);
        let length = output.shape().num_elements();
        let output: Tensor<Tracked<B>, 1> =
            Tensor::from_primitive(TensorPrimitive::Float(Tracked::<B>::float_reshape(output, [length].into())));
        let weights = upload(self.loss_weights(length), &[length]);
        let values = download(output.clone().inner());
        if !tracked.contains(&true) {
            let gradients = leaves.iter().map(|_| None).collect();
            return Outcome { output: values, gradients };
        }
        let mut gradients = (output * weights).sum().backward();
        let gradients = leaves.iter().zip(&self.dims).map(|(leaf, dims)| {
            let gradient = download(leaf.grad_remove(&mut gradients)?);
            let width = dims[dims.len() - 1];
            Some(match storage {
                Storage::F32Transposed => transpose(&gradient, width, gradient.len() / width),
                _ => gradient,
            })
        });
        Outcome { gradients: gradients.collect(), output: values }
    }

    /// The gradients in float64 by central differences of the definition, computed once for all backends and storages.
    pub fn reference_gradients(&self) -> &'static [Vec<f64>] {
        // A name says all that a definition depends on.
        static KNOWN: Mutex<BTreeMap<String, &OnceLock<Vec<Vec<f64>>>>> = Mutex::new(BTreeMap::new());
        let known = *KNOWN
            .lock()
            .expect("no test panics here")
            .entry(self.name.clone())
            .or_insert_with(|| Box::leak(Box::default()));
        known.get_or_init(|| self.differences())
    }

    fn differences(&self) -> Vec<Vec<f64>> {
        const STEP: f64 = 1e-5;
        let mut inputs = self.inputs.clone();
        let weights = self.loss_weights((self.definition)(&inputs).len());
        let loss = |inputs: &[Vec<f64>]| -> f64 { (self.definition)(inputs).iter().zip(&weights).map(|(y, w)| y * w).sum() };
        let mut gradients = Vec::new();
        for i in 0..inputs.len() {
            let mut gradient = Vec::new();
            for j in 0..inputs[i].len() {
                let x = inputs[i][j];
                inputs[i][j] = x + STEP;
                let above = loss(&inputs);
                inputs[i][j] = x - STEP;
                let below = loss(&inputs);
                inputs[i][j] = x;
                gradient.push((above - below) / (2.0 * STEP));
            }
            gradients.push(gradient);
        }
        gradients
    }
}

/// `[rows, columns]` row-major to `[columns, rows]` row-major.
fn transpose(data: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..data.len()).map(|i| data[(i % rows) * columns + i / rows]).collect()
}

/// A view `[rows, width]` as `dims`, without a copy where there are two axes or fewer.
fn regroup<B: FusedOps>(view: Tensor<Tracked<B>, 2>, dims: &[usize]) -> FloatTensor<Tracked<B>> {
    let primitive = view.into_primitive().tensor();
    if dims.len() == 2 {
        return primitive;
    }
    Tracked::<B>::float_reshape(primitive, dims.to_vec().into())
}

fn download<B: FusedOps, const D: usize>(tensor: Tensor<B, D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Takes the inputs of a run out of their vector.
fn take<B: FusedOps, const N: usize>(inputs: Vec<FloatTensor<Tracked<B>>>) -> [FloatTensor<Tracked<B>>; N] {
    inputs.try_into().expect("a case has as many inputs as shapes")
}

// The definitions.

fn linear(x: &[f64], w: &[f64], b: Option<&Vec<f64>>, inputs: usize, outputs: usize) -> Vec<f64> {
    let mut y = Vec::new();
    for row in x.chunks(inputs) {
        for o in 0..outputs {
            let product: f64 = row.iter().zip(&w[o * inputs..]).map(|(x, w)| x * w).sum();
            y.push(product + b.map_or(0.0, |b| b[o]));
        }
    }
    y
}

/// `erf` by its Taylor series, accurate to 1e-13 for |x| < 4.
fn erf(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..120 {
        let n = f64::from(n);
        term *= -x * x / n;
        sum += term / (2.0 * n + 1.0);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / 2f64.sqrt()))
}

fn layer_norm(x: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
    let n = gamma.len() as f64;
    let mut y = Vec::new();
    for row in x.chunks(gamma.len()) {
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let deviation = (variance + f64::from(LAYER_NORM_EPSILON)).sqrt();
        y.extend((0..row.len()).map(|i| (row[i] - mean) / deviation * gamma[i] + beta[i]));
    }
    y
}

fn attention(qkv: &[f64], images: usize, tokens: usize, width: usize, heads: usize) -> Vec<f64> {
    let head = width / heads;
    let at =
        |image: usize, token: usize, part: usize, h: usize, i: usize| qkv[((image * tokens + token) * 3 + part) * width + h * head + i];
    let mut y = vec![0.0; images * tokens * width];
    for image in 0..images {
        for h in 0..heads {
            for t in 0..tokens {
                let score = |u: usize| {
                    let product: f64 = (0..head).map(|i| at(image, t, 0, h, i) * at(image, u, 1, h, i)).sum();
                    (product / (head as f64).sqrt()).exp()
                };
                let weights: Vec<f64> = (0..tokens).map(score).collect();
                let total: f64 = weights.iter().sum();
                for i in 0..head {
                    let sum: f64 = (0..tokens).map(|u| weights[u] * at(image, u, 2, h, i)).sum();
                    y[(image * tokens + t) * width + h * head + i] = sum / total;
                }
            }
        }
    }
    y
}

// The cases.

/// Token sequence.
pub fn tokens_case<B: FusedOps>(images: usize, prefix: usize, patches: usize, width: usize) -> Case<B> {
    Case::new(
        format!("tokens [{images}, {prefix} + {patches}, {width}]"),
        vec![
            vec![images, prefix, width],
            vec![images, patches, width],
            vec![prefix + patches, width],
        ],
        move |v| {
            let images = v[0].chunks(prefix * width).zip(v[1].chunks(patches * width));
            images
                .flat_map(|(prefix, patches)| prefix.iter().chain(patches).zip(&v[2]).map(|(x, p)| x + p))
                .collect()
        },
        |v| {
            let [prefix, patches, position] = take::<B, 3>(v);
            Tracked::<B>::fused_tokens(prefix, patches, position)
        },
    )
}

/// Linear with or without bias; x is `[leading.., inputs]`.
pub fn linear_case<B: FusedOps>(leading: &[usize], inputs: usize, outputs: usize, bias: bool) -> Case<B> {
    let mut dims = vec![[leading, &[inputs]].concat(), vec![outputs, inputs]];
    if bias {
        dims.push(vec![outputs]);
    }
    Case::new(
        format!("linear {leading:?} {inputs}->{outputs} bias {bias}"),
        dims,
        move |v| linear(&v[0], &v[1], v.get(2), inputs, outputs),
        move |mut v| {
            let b = if bias { v.pop() } else { None };
            let [x, w] = take::<B, 2>(v);
            Tracked::<B>::fused_linear(x, w, b)
        },
    )
}

/// Linear and GELU.
pub fn linear_gelu_case<B: FusedOps>(leading: &[usize], inputs: usize, outputs: usize) -> Case<B> {
    Case::new(
        format!("linear_gelu {leading:?} {inputs}->{outputs}"),
        vec![[leading, &[inputs]].concat(), vec![outputs, inputs], vec![outputs]],
        move |v| linear(&v[0], &v[1], v.get(2), inputs, outputs).into_iter().map(gelu).collect(),
        |v| {
            let [x, w, b] = take::<B, 3>(v);
            Tracked::<B>::fused_linear_gelu(x, w, b)
        },
    )
}

/// Layer norm.
pub fn layer_norm_case<B: FusedOps>(leading: &[usize], width: usize) -> Case<B> {
    Case::new(
        format!("layer_norm {leading:?} x {width}"),
        vec![[leading, &[width]].concat(), vec![width], vec![width]],
        |v| layer_norm(&v[0], &v[1], &v[2]),
        |v| {
            let [x, gamma, beta] = take::<B, 3>(v);
            Tracked::<B>::fused_layer_norm(x, gamma, beta)
        },
    )
}

/// Modulated layer norm.
pub fn norm_modulate_case<B: FusedOps>(images: usize, tokens: usize, width: usize, branch: Branch) -> Case<B> {
    Case::new(
        format!("norm_modulate [{images}, {tokens}, {width}] {branch:?}"),
        vec![vec![images, tokens, width], vec![width], vec![width], vec![images, 6 * width]],
        move |v| {
            let mut y = layer_norm(&v[0], &v[1], &v[2]);
            for (i, y) in y.iter_mut().enumerate() {
                let at = i / (tokens * width) * 6 * width + i % width;
                let (shift, scale) = (branch.shift() * width, branch.scale() * width);
                *y = *y * (1.0 + v[3][at + scale]) + v[3][at + shift];
            }
            y
        },
        move |v| {
            let [x, gamma, beta, m] = take::<B, 4>(v);
            Tracked::<B>::fused_norm_modulate(x, gamma, beta, m, branch)
        },
    )
}

/// Gated residual.
pub fn gated_residual_case<B: FusedOps>(images: usize, tokens: usize, width: usize, branch: Branch) -> Case<B> {
    let rows = vec![images, tokens, width];
    Case::new(
        format!("gated_residual [{images}, {tokens}, {width}] {branch:?}"),
        vec![rows.clone(), rows, vec![images, 6 * width]],
        move |v| {
            let gate = |i: usize| v[2][(i / (tokens * width) * 6 + branch.gate()) * width + i % width];
            (0..v[0].len()).map(|i| v[0][i] + gate(i) * v[1][i]).collect()
        },
        move |v| {
            let [x, y, m] = take::<B, 3>(v);
            Tracked::<B>::fused_gated_residual(x, y, m, branch)
        },
    )
}

/// Attention; `width` is that of all heads.
pub fn attention_case<B: FusedOps>(images: usize, tokens: usize, width: usize, heads: usize) -> Case<B> {
    Case::new(
        format!("attention [{images}, {tokens}, 3 x {width}] heads {heads}"),
        vec![vec![images, tokens, 3 * width]],
        move |v| attention(&v[0], images, tokens, width, heads),
        move |v| {
            let [qkv] = take::<B, 1>(v);
            Tracked::<B>::fused_attention(qkv, heads)
        },
    )
}

/// Skip fusion.
pub fn skip_fuse_case<B: FusedOps>(images: usize, tokens: usize, width: usize, skip: usize) -> Case<B> {
    let row = vec![width];
    Case::new(
        format!("skip_fuse [{images}, {tokens}, {width} + {skip}]"),
        vec![
            vec![images, tokens, width],
            vec![images, tokens, skip],
            vec![width, width + skip],
            row.clone(),
            row.clone(),
            row,
        ],
        move |v| {
            let joined: Vec<f64> = v[0].chunks(width).zip(v[1].chunks(skip)).flat_map(|(x, s)| [x, s].concat()).collect();
            let z = linear(&joined, &v[2], Some(&v[3]), width + skip, width);
            layer_norm(&z, &v[4], &v[5])
        },
        |v| {
            let [x, s, w, b, gamma, beta] = take::<B, 6>(v);
            Tracked::<B>::fused_skip_fuse(x, s, w, b, gamma, beta)
        },
    )
}

/// Dropout of half of the elements, each image by its own stream.
pub fn dropout_case<B: FusedOps>(images: usize, tokens: usize, width: usize) -> Case<B> {
    let streams: Vec<u64> = (0..images as u64).map(|image| 7 + 1_000_003 * image).collect();
    let dropout = Dropout { rate: 0.4, seed: 5, streams: streams.into(), mask: 3 };
    let by = dropout.clone();
    Case::new(
        format!("dropout [{images}, {tokens}, {width}]"),
        vec![vec![images, tokens, width]],
        move |v| {
            let mut kept = vec![1.0f32; v[0].len()];
            for (image, kept) in kept.chunks_mut(tokens * width).enumerate() {
                dropout.apply(image, kept);
            }
            v[0].iter().zip(kept).map(|(x, kept)| x * f64::from(kept)).collect()
        },
        move |v| {
            let [x] = take::<B, 1>(v);
            Tracked::<B>::fused_dropout(x, &by)
        },
    )
}

/// Blend of two images, with factors that are not differentiated.
pub fn weighted_sum_case<B: FusedOps>(images: usize, patches: usize, width: usize) -> Case<B> {
    let factors = move |seed: u64| numbers(images, seed);
    Case::new(
        format!("weighted_sum [{images}, {patches}, {width}]"),
        vec![vec![images, patches, width]; 2],
        move |v| {
            let (a, b) = (factors(8), factors(9));
            let image = |i: usize| i / (patches * width);
            (0..v[0].len()).map(|i| a[image(i)] * v[0][i] + b[image(i)] * v[1][i]).collect()
        },
        move |v| {
            let [x, y] = take::<B, 2>(v);
            let (dtype, device) = (x.dtype(), Default::default());
            let factors = |seed: u64| {
                let data = TensorData::new(numbers(images, seed), [images]);
                let factors: Tensor<Tracked<B>, 1> = Tensor::from_data(data, (&device, dtype));
                factors.into_primitive().tensor()
            };
            Tracked::<B>::fused_weighted_sum(x, y, factors(8), factors(9))
        },
    )
}

/// NT-Xent; the positives begin at key `first`.
pub fn nt_xent_case<B: FusedOps>(queries: usize, keys: usize, width: usize, first: usize) -> Case<B> {
    const TAU: f64 = 0.2;
    Case::new(
        format!("nt_xent [{queries}, {width}] against {keys}, first {first}"),
        vec![vec![queries, width], vec![keys, width]],
        move |v| {
            let unit = |row: &[f64]| {
                let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                row.iter().map(|x| x / length).collect::<Vec<_>>()
            };
            let keys: Vec<_> = v[1].chunks(width).map(unit).collect();
            let rows = v[0].chunks(width).map(unit).enumerate();
            let loss = rows.map(|(i, q)| {
                let score = |k: &Vec<f64>| q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / TAU;
                keys.iter().map(|k| score(k).exp()).sum::<f64>().ln() - score(&keys[first + i])
            });
            vec![loss.sum::<f64>() / queries as f64]
        },
        move |v| {
            let [queries, keys] = take::<B, 2>(v);
            Tracked::<B>::fused_nt_xent(queries, keys, first, TAU).0
        },
    )
}
