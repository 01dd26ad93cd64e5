//! A slow evaluator of ONNX graphs, in f64 and i64, of just the operators that `pixgen-edge onnx` writes.

use pixgen_edge::onnx::proto::{Element, ModelProto, NodeProto, TensorProto};
use std::collections::HashMap;

/// Values of a tensor: whole numbers of any type, or real ones.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    Whole(Vec<i64>),
    Real(Vec<f64>),
}

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dims: Vec<usize>,
    pub data: Data,
}

use Data::{Real, Whole};

impl Tensor {
    pub fn real(dims: &[usize], values: Vec<f64>) -> Self {
        Self { dims: dims.to_vec(), data: Real(values) }
    }

    pub fn whole(dims: &[usize], values: Vec<i64>) -> Self {
        Self { dims: dims.to_vec(), data: Whole(values) }
    }

    pub fn reals(&self) -> Vec<f64> {
        match &self.data {
            Real(values) => values.clone(),
            Whole(values) => values.iter().map(|&v| v as f64).collect(),
        }
    }

    pub fn wholes(&self) -> Vec<i64> {
        match &self.data {
            Whole(values) => values.clone(),
            Real(_) => panic!("whole numbers expected"),
        }
    }

    fn constant(tensor: &TensorProto) -> Self {
        let dims: Vec<usize> = tensor.dims.iter().map(|&d| d as usize).collect();
        let raw = &tensor.raw_data;
        let of = Element::try_from(tensor.data_type).expect("type");
        let whole = |bytes: &[u8]| match of {
            Element::Uint8 => i64::from(bytes[0]),
            Element::Int8 => i64::from(bytes[0] as i8),
            Element::Int16 => i64::from(i16::from_le_bytes(bytes.try_into().expect("2"))),
            Element::Int32 => i64::from(i32::from_le_bytes(bytes.try_into().expect("4"))),
            Element::Int64 => i64::from_le_bytes(bytes.try_into().expect("8")),
            other => panic!("constant of {other:?}"),
        };
        match of {
            Element::Float => Self::real(
                &dims,
                raw.chunks_exact(4)
                    .map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("4"))))
                    .collect(),
            ),
            _ => Self::whole(&dims, raw.chunks_exact(of.size()).map(whole).collect()),
        }
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self::real(&self.dims, self.reals().into_iter().map(f).collect())
    }

    /// The tensor of `dims` whose value at each place is that of `self` at `from(place)`.
    fn pick(&self, dims: &[usize], from: impl Fn(&[usize]) -> Vec<usize>) -> Self {
        let at = |i: usize| offset(&self.dims, &from(&place(dims, i)));
        let len = dims.iter().product::<usize>();
        let data = match &self.data {
            Real(values) => Real((0..len).map(|i| values[at(i)]).collect()),
            Whole(values) => Whole((0..len).map(|i| values[at(i)]).collect()),
        };
        Self { dims: dims.to_vec(), data }
    }

    fn reshape(&self, dims: &[usize]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), self.dims.iter().product::<usize>());
        Self { dims: dims.to_vec(), ..self.clone() }
    }

    fn transpose(&self, order: &[usize]) -> Self {
        let dims: Vec<usize> = order.iter().map(|&d| self.dims[d]).collect();
        self.pick(&dims, |to| {
            let mut from = vec![0; to.len()];
            order.iter().zip(to).for_each(|(&d, &at)| from[d] = at);
            from
        })
    }

    fn broadcast(&self, dims: &[usize]) -> Self {
        let skip = dims.len() - self.dims.len();
        self.pick(dims, |to| {
            self.dims
                .iter()
                .zip(&to[skip..])
                .map(|(&len, &at)| if len == 1 { 0 } else { at })
                .collect()
        })
    }

    /// Rows of the last dimension.
    fn rows(&self) -> Vec<Vec<f64>> {
        let width = *self.dims.last().expect("a row");
        self.reals().chunks_exact(width).map(<[f64]>::to_vec).collect()
    }
}

fn place(dims: &[usize], mut i: usize) -> Vec<usize> {
    let mut place = vec![0; dims.len()];
    for (at, &len) in place.iter_mut().zip(dims).rev() {
        (*at, i) = (i % len, i / len);
    }
    place
}

fn offset(dims: &[usize], place: &[usize]) -> usize {
    dims.iter().zip(place).fold(0, |sum, (&len, &at)| sum * len + at)
}

fn both(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    (0..rank).map(|i| at(a, i).max(at(b, i))).collect()
}

/// Runs a graph and returns its outputs by name.
pub fn evaluate(model: &ModelProto, inputs: &[(&str, Tensor)]) -> HashMap<String, Tensor> {
    let graph = model.graph.as_ref().expect("graph");
    let mut values: HashMap<String, Tensor> = graph.initializer.iter().map(|t| (t.name.clone(), Tensor::constant(t))).collect();
    values.extend(inputs.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())));
    for node in &graph.node {
        let inputs: Vec<&Tensor> = node.input.iter().map(|name| &values[name]).collect();
        let output = operate(node, &inputs);
        values.insert(node.output[0].clone(), output);
    }
    graph
        .output
        .iter()
        .map(|output| (output.name.clone(), values[&output.name].clone()))
        .collect()
}

fn operate(node: &NodeProto, inputs: &[&Tensor]) -> Tensor {
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name);
    let int = |name: &str| attribute(name).and_then(|a| a.i).expect("a number");
    let x = inputs[0];
    match node.op_type.as_str() {
        "Add" | "Sub" | "Mul" | "Div" | "GreaterOrEqual" => {
            let dims = both(&x.dims, &inputs[1].dims);
            let (a, b) = (x.broadcast(&dims), inputs[1].broadcast(&dims));
            let op = node.op_type.as_str();
            let data = match (a.data, b.data) {
                (Whole(a), Whole(b)) => Whole(a.into_iter().zip(b).map(|(a, b)| wholes(op, a, b)).collect()),
                (Real(a), Real(b)) => Real(a.into_iter().zip(b).map(|(a, b)| reals(op, a, b)).collect()),
                _ => panic!("{}: mixed types", node.name),
            };
            Tensor { dims, data }
        }
        "Clip" => match (&x.data, &inputs[1].data, &inputs[2].data) {
            (Whole(values), Whole(low), Whole(high)) => Tensor::whole(&x.dims, values.iter().map(|&v| v.clamp(low[0], high[0])).collect()),
            (Real(values), Real(low), Real(high)) => Tensor::real(&x.dims, values.iter().map(|&v| v.clamp(low[0], high[0])).collect()),
            _ => panic!("{}: mixed types", node.name),
        },
        "Cast" => match Element::try_from(int("to") as i32).expect("type") {
            Element::Float | Element::Double => Tensor::real(&x.dims, x.reals()),
            to => {
                let values: Vec<i64> = match &x.data {
                    Whole(values) => values.clone(),
                    Real(values) => values.iter().map(|&v| v as i64).collect(),
                };
                let range = match to {
                    Element::Int8 => -128..=127,
                    Element::Uint8 => 0..=255,
                    _ => i64::MIN..=i64::MAX,
                };
                assert!(values.iter().all(|v| range.contains(v)), "{}: a cast that does not fit", node.name);
                Tensor::whole(&x.dims, values)
            }
        },
        "Round" => x.map(f64::round_ties_even),
        "Floor" => x.map(f64::floor),
        "Sqrt" => x.map(f64::sqrt),
        "Exp" => x.map(f64::exp),
        "Erf" => x.map(libm::erf),
        "Identity" => x.map(|v| v),
        "Gelu" => x.map(|v| v / 2.0 * (1.0 + libm::erf(v / std::f64::consts::SQRT_2))),
        "ReduceMean" => {
            let mean = |row: Vec<f64>| row.iter().sum::<f64>() / row.len() as f64;
            let dims = [&x.dims[..x.dims.len() - 1], &[1]].concat();
            Tensor::real(&dims, x.rows().into_iter().map(mean).collect())
        }
        "QuantizeLinear" => {
            let (scale, zero) = (inputs[1].reals()[0], inputs[2].wholes()[0]);
            let code = |v: &f64| ((v / scale).round_ties_even() as i64 + zero).clamp(-128, 127);
            Tensor::whole(&x.dims, x.reals().iter().map(code).collect())
        }
        "DequantizeLinear" => {
            let zero = inputs.get(2).map_or(0, |zero| zero.wholes()[0]);
            let scales = inputs[1].broadcast(&x.dims).reals();
            Tensor::real(&x.dims, x.wholes().iter().zip(scales).map(|(&v, scale)| (v - zero) as f64 * scale).collect())
        }
        "MatMul" | "MatMulInteger" => product(x, inputs[1]),
        "LayerNormalization" => {
            let (gain, offset) = (inputs[1].reals(), inputs[2].reals());
            let epsilon = f64::from(attribute("epsilon").and_then(|a| a.f).expect("epsilon"));
            let norm = |row: Vec<f64>| {
                let mean = row.iter().sum::<f64>() / row.len() as f64;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / row.len() as f64;
                let normal = row.into_iter().map(move |v| (v - mean) / (variance + epsilon).sqrt());
                normal
                    .zip(gain.iter().zip(&offset))
                    .map(|(n, (gain, offset))| n * gain + offset)
                    .collect::<Vec<f64>>()
            };
            Tensor::real(&x.dims, x.rows().into_iter().flat_map(norm).collect())
        }
        "Softmax" => {
            let softmax = |row: Vec<f64>| {
                let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = row.iter().map(|v| (v - most).exp()).sum();
                row.into_iter().map(move |v| (v - most).exp() / sum)
            };
            Tensor::real(&x.dims, x.rows().into_iter().flat_map(softmax).collect())
        }
        "ReduceSum" | "ReduceMax" => {
            let width = *x.dims.last().expect("a row");
            let mut dims = x.dims.clone();
            *dims.last_mut().expect("a row") = 1;
            let sum = node.op_type == "ReduceSum";
            let data = match &x.data {
                Whole(values) => Whole(
                    values
                        .chunks_exact(width)
                        .map(|row| {
                            if sum {
                                row.iter().sum()
                            } else {
                                *row.iter().max().expect("a value")
                            }
                        })
                        .collect(),
                ),
                Real(values) => Real(
                    values
                        .chunks_exact(width)
                        .map(|row| {
                            if sum {
                                row.iter().sum()
                            } else {
                                row.iter().copied().fold(f64::NEG_INFINITY, f64::max)
                            }
                        })
                        .collect(),
                ),
            };
            Tensor { dims, data }
        }
        "Gather" => {
            let at = inputs[1];
            let (rank, indices) = (at.dims.len(), at.wholes());
            let dims: Vec<usize> = at.dims.iter().chain(&x.dims[1..]).copied().collect();
            x.pick(&dims, |to| {
                let row = usize::try_from(indices[offset(&at.dims, &to[..rank])]).expect("an index");
                [&[row], &to[rank..]].concat()
            })
        }
        "Slice" => {
            let [start, end, axis] = [1, 2, 3].map(|i| inputs[i].wholes()[0] as usize);
            let mut dims = x.dims.clone();
            dims[axis] = end - start;
            x.pick(&dims, |to| {
                let mut from = to.to_vec();
                from[axis] += start;
                from
            })
        }
        "Concat" => {
            let (axis, y) = (int("axis") as usize, inputs[1]);
            let mut dims = x.dims.clone();
            dims[axis] += y.dims[axis];
            let (a, b) = (x.reals(), y.reals());
            let value = |i: usize| {
                let mut at = place(&dims, i);
                match at[axis].checked_sub(x.dims[axis]) {
                    None => a[offset(&x.dims, &at)],
                    Some(rest) => {
                        at[axis] = rest;
                        b[offset(&y.dims, &at)]
                    }
                }
            };
            let values: Vec<f64> = (0..dims.iter().product()).map(value).collect();
            match x.data {
                Real(_) => Tensor::real(&dims, values),
                // At most 16 bits.
                Whole(_) => Tensor::whole(&dims, values.into_iter().map(|v| v as i64).collect()),
            }
        }
        "Reshape" => {
            let rest: usize = inputs[1].wholes().iter().skip(1).map(|&d| d as usize).product();
            let first = x.dims.iter().product::<usize>() / rest;
            let dims: Vec<usize> = inputs[1].wholes().iter().map(|&d| if d < 0 { first } else { d as usize }).collect();
            x.reshape(&dims)
        }
        "Transpose" => {
            let order: Vec<usize> = attribute("perm").expect("perm").ints.iter().map(|&d| d as usize).collect();
            x.transpose(&order)
        }
        "SpaceToDepth" => {
            let (b, [n, c, h, w]) = (int("blocksize") as usize, <[usize; 4]>::try_from(&x.dims[..]).expect("a picture"));
            let blocks = x.reshape(&[n, c, h / b, b, w / b, b]).transpose(&[0, 3, 5, 1, 2, 4]);
            blocks.reshape(&[n, c * b * b, h / b, w / b])
        }
        "DepthToSpace" => {
            assert_eq!(attribute("mode").and_then(|a| a.s.as_deref()), Some(&b"DCR"[..]));
            let (b, [n, c, h, w]) = (int("blocksize") as usize, <[usize; 4]>::try_from(&x.dims[..]).expect("blocks"));
            let blocks = x.reshape(&[n, b, b, c / (b * b), h, w]).transpose(&[0, 3, 4, 1, 5, 2]);
            blocks.reshape(&[n, c / (b * b), h * b, w * b])
        }
        other => panic!("no operator {other}"),
    }
}

fn wholes(op: &str, a: i64, b: i64) -> i64 {
    match op {
        "Add" => a.checked_add(b),
        "Sub" => a.checked_sub(b),
        "Mul" => a.checked_mul(b),
        "Div" => a.checked_div(b),
        _ => Some(i64::from(a >= b)),
    }
    .unwrap_or_else(|| panic!("{op} of {a} and {b} leaves 64 bits"))
}

fn reals(op: &str, a: f64, b: f64) -> f64 {
    match op {
        "Add" => a + b,
        "Sub" => a - b,
        "Mul" => a * b,
        "Div" => a / b,
        _ => f64::from(a >= b),
    }
}

/// Over the last dimension of `a` and the last but one of `b`.
fn product(a: &Tensor, b: &Tensor) -> Tensor {
    let (ra, rb) = (a.dims.len(), b.dims.len());
    let (rows, inner, columns) = (a.dims[ra - 2], a.dims[ra - 1], b.dims[rb - 1]);
    assert_eq!(inner, b.dims[rb - 2]);
    let outer = both(&a.dims[..ra - 2], &b.dims[..rb - 2]);
    let a_all = a.broadcast(&[&outer[..], &[rows, inner]].concat()).reals();
    let b_all = b.broadcast(&[&outer[..], &[inner, columns]].concat()).reals();
    let mut sums = Vec::new();
    // f64 holds sums of products of int8 exactly.
    for (a, b) in a_all.chunks_exact(rows * inner).zip(b_all.chunks_exact(inner * columns)) {
        for row in a.chunks_exact(inner) {
            sums.extend((0..columns).map(|c| row.iter().enumerate().map(|(i, v)| v * b[i * columns + c]).sum::<f64>()));
        }
    }
    let dims = [&outer[..], &[rows, columns]].concat();
    match a.data {
        Real(_) => Tensor::real(&dims, sums),
        Whole(_) => Tensor::whole(&dims, sums.into_iter().map(|v| v as i64).collect()),
    }
}
