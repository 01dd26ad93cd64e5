//! A graph of TensorFlow Lite while it is made: tensors, operators and constants, by the numbers of the schema (version 3).

use super::flatbuffer::{Field, Table, file};
use super::scales::{INT8, Number};
use super::values::{self, Values};
use pixgen_core::reference::gelu;
use std::collections::HashMap;

const INT32: u8 = 2;
const INT64: u8 = 4;

/// A tensor of the graph.
#[derive(Clone, Debug)]
pub struct LiteValue {
    index: i32,
    shape: Vec<usize>,
    number: Number,
    values: Values,
}

impl LiteValue {
    /// Dimensions, from the outermost.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Values of a row.
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or_default()
    }

    /// What its values mean.
    pub const fn number(&self) -> Number {
        self.number
    }

    /// What it is for the pictures that are drawn.
    pub const fn values(&self) -> &Values {
        &self.values
    }

    fn with(self, values: Values) -> Self {
        Self { values, ..self }
    }
}

/// The matrix of a product.
#[derive(Clone, Debug)]
pub enum LiteWeights {
    /// Rows by output.
    Real(Vec<f32>),
    /// Rows of int8 by output, and the scale of each row.
    Int8(Vec<i8>, Vec<f64>),
}

/// Operators by their number in the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add = 0,
    Concatenation = 2,
    FullyConnected = 9,
    Logistic = 14,
    Mul = 18,
    Reshape = 22,
    Softmax = 25,
    Transpose = 39,
    Mean = 40,
    Sub = 41,
    StridedSlice = 45,
    Rsqrt = 76,
    Quantize = 114,
    BatchMatmul = 126,
    Gelu = 150,
}

/// The constants of an operator: the number of their table in the schema, and the table.
type Options = Option<(u8, Vec<Field>)>;

/// Two operands, value by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairwise {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a b
    Mul,
}

/// One operand, value by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// 1 / sqrt(x)
    Rsqrt,
    /// x Phi(x)
    Gelu,
    /// 1 / (1 + exp(-x))
    Logistic,
}

/// The graph.
#[derive(Debug)]
pub struct LiteGraph {
    real: bool,
    tensors: Vec<Table>,
    buffers: Vec<Table>,
    /// Bytes of the buffers.
    len: u64,
    codes: Vec<(Operator, i32)>,
    operators: Vec<Table>,
    inputs: Vec<i32>,
    outputs: Vec<i32>,
    /// Constants of shapes and axes, which many operators share.
    indices: HashMap<Vec<i32>, i32>,
}

/// Share of the larger step of two summands that the step of their sum has at least: 2^-14 is where kernels of int16 stop.
pub(super) const FINEST_SUM: f64 = 1.0 / 16_000.0;

impl LiteGraph {
    /// An empty graph: of real numbers, or of integers.
    pub fn new(real: bool) -> Self {
        Self {
            real,
            tensors: Vec::new(),
            // The first buffer is empty: that of everything without content.
            buffers: vec![Table::default()],
            len: 0,
            codes: Vec::new(),
            operators: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            indices: HashMap::new(),
        }
    }

    /// Whether its numbers are real.
    pub const fn is_real(&self) -> bool {
        self.real
    }

    /// Operators so far.
    pub fn operators(&self) -> usize {
        self.operators.len()
    }

    /// Bytes of its constants.
    pub const fn constant_len(&self) -> u64 {
        self.len
    }

    // --- Tensors --------------------------------------------------------------------------------------------------------------------

    fn tensor(&mut self, name: &str, shape: &[usize], element: u8, quantisation: Option<Table>, data: Option<Vec<u8>>) -> i32 {
        let mut buffer = 0;
        if let Some(data) = data {
            buffer = self.buffers.len() as i32;
            self.len += data.len() as u64;
            self.buffers.push(Table(vec![Field::Bytes(data)]));
        }
        let shape = Field::I32s(shape.iter().map(|&dim| dim as i32).collect());
        let (absent, quantisation) = (|| Field::Absent, quantisation.map_or(Field::Absent, Field::Table));
        let name = Field::Text(name.to_owned());
        let fields = vec![
            shape,
            Field::U8(element),
            Field::I32(buffer),
            name,
            quantisation,
            absent(),
            absent(),
            absent(),
            Field::U8(1),
        ];
        self.tensors.push(Table(fields));
        self.tensors.len() as i32 - 1
    }

    /// A value that an operator will make. In a graph of real numbers every value is real.
    fn value(&mut self, name: &str, shape: &[usize], number: Number) -> LiteValue {
        let number = if self.real { Number::Real } else { number.rounded() };
        let index = self.tensor(name, shape, number.element(), quantisation(number), None);
        LiteValue { index, shape: shape.to_vec(), number, values: Values::default() }
    }

    /// An input of the graph, and what it is for the pictures that are drawn.
    pub fn input(&mut self, name: &str, shape: &[usize], number: Number, values: Values) -> LiteValue {
        let value = self.value(name, shape, number);
        self.inputs.push(value.index);
        value.with(values)
    }

    /// An output.
    pub fn output(&mut self, value: &LiteValue) {
        self.outputs.push(value.index);
    }

    /// A constant.
    pub fn constant(&mut self, name: &str, shape: &[usize], values: &[f64], number: Number) -> LiteValue {
        let number = if self.real { Number::Real } else { number.rounded() };
        let code = |value: &f64| (value / number.scale()).round();
        let data: Vec<u8> = match number {
            Number::Real => values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect(),
            Number::Int8 { zero_point, .. } => values.iter().map(|v| (code(v) + f64::from(zero_point)) as i8 as u8).collect(),
            Number::Int16 { .. } => values.iter().flat_map(|v| (code(v) as i16).to_le_bytes()).collect(),
        };
        let index = self.tensor(name, shape, number.element(), quantisation(number), Some(data));
        let values = Values::new(vec![values.iter().map(|&v| number.nearest(v as f32)).collect()]);
        LiteValue { index, shape: shape.to_vec(), number, values }
    }

    fn index_constant(&mut self, values: &[i32]) -> i32 {
        if let Some(&index) = self.indices.get(values) {
            return index;
        }
        let name = values.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let index = self.tensor(&format!("indices {name}"), &[values.len()], INT32, None, Some(data));
        self.indices.insert(values.to_vec(), index);
        index
    }

    // --- Operators ------------------------------------------------------------------------------------------------------------------

    /// `versions` of the operator: for real numbers, int8 and int16, by what it makes.
    fn operator(&mut self, operator: Operator, versions: [i32; 3], inputs: &[i32], out: &LiteValue, options: Options) {
        let version = match out.number {
            Number::Real => versions[0],
            Number::Int8 { .. } => versions[1],
            Number::Int16 { .. } => versions[2],
        };
        let code = (operator, version);
        let place = self.codes.iter().position(|known| *known == code).unwrap_or_else(|| {
            self.codes.push(code);
            self.codes.len() - 1
        });
        let mut fields = vec![Field::I32(place as i32), Field::I32s(inputs.to_vec()), Field::I32s(vec![out.index])];
        if let Some((kind, options)) = options {
            fields.extend([Field::U8(kind), Field::Table(Table(options))]);
        }
        self.operators.push(Table(fields));
    }

    /// x W^T + b, as `out`: int8 into int8, or int16 into int16.
    pub fn fully_connected(&mut self, name: &str, x: &LiteValue, weights: LiteWeights, bias: &[f64], out: Number) -> LiteValue {
        let (outputs, inputs, step) = (bias.len(), x.width(), x.number.scale());
        let (matrix, bias_index);
        let mut real = (Vec::new(), Vec::new());
        match weights {
            LiteWeights::Real(values) => {
                let data = bytemuck::cast_slice(&values).to_vec();
                matrix = self.tensor(&format!("{name}.weight"), &[outputs, inputs], Number::Real.element(), None, Some(data));
                let data = bias.iter().flat_map(|&b| (b as f32).to_le_bytes()).collect();
                bias_index = self.tensor(&format!("{name}.bias"), &[outputs], Number::Real.element(), None, Some(data));
            }
            LiteWeights::Int8(values, scales) => {
                let data = bytemuck::cast_slice(&values).to_vec();
                let of_rows = quantisations(&scales);
                matrix = self.tensor(&format!("{name}.weight"), &[outputs, inputs], INT8, Some(of_rows), Some(data));
                let scales: Vec<f64> = scales.iter().map(|&scale| f64::from(scale as f32) * x.number.scale()).collect();
                let codes = bias.iter().zip(&scales).map(|(b, scale)| (b / scale).round());
                if !x.values.is_empty() {
                    let rows = values.chunks_exact(inputs).zip(&scales);
                    real.0 = rows
                        .flat_map(|(row, sum)| row.iter().map(move |&w| (f64::from(w) * sum / step) as f32))
                        .collect();
                    real.1 = codes.clone().zip(&scales).map(|(code, sum)| (code * sum) as f32).collect();
                }
                let (element, data): (u8, Vec<u8>) = if x.number.is_int8() {
                    (INT32, codes.flat_map(|b| (b as i32).to_le_bytes()).collect())
                } else {
                    (INT64, codes.flat_map(|b| (b as i64).to_le_bytes()).collect())
                };
                bias_index = self.tensor(&format!("{name}.bias"), &[outputs], element, Some(quantisations(&scales)), Some(data));
            }
        }
        let mut shape = x.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        let out = self.value(name, &shape, out);
        // Version 12 has a scale for each output; dimensions are kept from version 5 on.
        let options = vec![Field::U8(0), Field::U8(0), Field::U8(1)];
        self.operator(Operator::FullyConnected, [5, 12, 11], &[x.index, matrix, bias_index], &out, Some((8, options)));
        let values = Values::of([&x.values], out.number, |[x]| values::linear(x, &real.0, &real.1));
        out.with(values)
    }

    /// a and b value by value, one of which may be a row or a column.
    pub fn pairwise(&mut self, kind: Pairwise, name: &str, a: &LiteValue, b: &LiteValue, out: Number) -> LiteValue {
        let larger = if a.shape.iter().product::<usize>() < b.shape.iter().product() {
            b
        } else {
            a
        };
        // The kernels of sums take results whose steps are at least so large beside those of what they add.
        let finest = a.number.scale().max(b.number.scale()) * FINEST_SUM;
        let out = if kind == Pairwise::Mul { out } else { out.at_least(finest) };
        let (shape, widths) = (larger.shape.clone(), [a.width(), b.width()]);
        let out = self.value(name, &shape, out);
        // No activation behind it, and scales that are no powers of two.
        let options = vec![Field::U8(0), Field::U8(0)];
        let (operator, versions, options) = match kind {
            Pairwise::Add => (Operator::Add, [1, 2, 3], (11, options)),
            Pairwise::Sub => (Operator::Sub, [1, 3, 5], (28, options)),
            Pairwise::Mul => (Operator::Mul, [1, 2, 4], (21, vec![Field::U8(0)])),
        };
        self.operator(operator, versions, &[a.index, b.index], &out, Some(options));
        let values = Values::of([&a.values, &b.values], out.number, |operands| match kind {
            Pairwise::Add => values::pairs(operands, widths, |a, b| a + b),
            Pairwise::Sub => values::pairs(operands, widths, |a, b| a - b),
            Pairwise::Mul => values::pairs(operands, widths, |a, b| a * b),
        });
        out.with(values)
    }

    /// One operand, value by value.
    pub fn unary(&mut self, kind: Unary, name: &str, x: &LiteValue, out: Number) -> LiteValue {
        let out = self.value(name, &x.shape.clone(), out);
        let (operator, versions, options) = match kind {
            Unary::Rsqrt => (Operator::Rsqrt, [1, 2, 3], None),
            Unary::Gelu => (Operator::Gelu, [1, 2, 2], Some((116, vec![Field::U8(0)]))),
            Unary::Logistic => (Operator::Logistic, [1, 2, 3], None),
        };
        self.operator(operator, versions, &[x.index], &out, options);
        let (step, most) = (x.number.scale(), 32_767.0 * out.number.scale());
        let values = Values::of([&x.values], out.number, |[x]| match kind {
            Unary::Rsqrt => x.iter().map(|&x| values::root(x, step, most)).collect(),
            Unary::Gelu => x.iter().map(|&x| gelu(x)).collect(),
            Unary::Logistic => x.iter().map(|&x| 1.0 / (1.0 + (-x).exp())).collect(),
        });
        out.with(values)
    }

    /// The same values as another kind of integers; nothing where they are that already, or real.
    pub fn quantise(&mut self, name: &str, x: &LiteValue, out: Number) -> LiteValue {
        if self.real || x.number == out.rounded() {
            return x.clone();
        }
        let out = self.value(name, &x.shape.clone(), out);
        let version = if out.number.is_int16() || x.number.is_int16() { 2 } else { 1 };
        self.operator(Operator::Quantize, [version; 3], &[x.index], &out, Some((89, Vec::new())));
        let values = Values::of([&x.values], out.number, |[x]| x.to_vec());
        out.with(values)
    }

    /// The mean of each row, `[.., 1]`.
    pub fn mean(&mut self, name: &str, x: &LiteValue, out: Number) -> LiteValue {
        let mut shape = x.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last = 1;
        }
        let axis = self.index_constant(&[shape.len() as i32 - 1]);
        let out = self.value(name, &shape, out);
        self.operator(Operator::Mean, [1, 2, 3], &[x.index, axis], &out, Some((27, vec![Field::U8(1)])));
        out
    }

    /// softmax of each row.
    pub fn softmax(&mut self, name: &str, x: &LiteValue, out: Number) -> LiteValue {
        let out = self.value(name, &x.shape.clone(), out);
        self.operator(Operator::Softmax, [1, 2, 3], &[x.index], &out, Some((9, vec![Field::F32(1.0)])));
        let values = Values::of([&x.values], out.number, |[values]| values::softmax(values, x.width()));
        out.with(values)
    }

    /// a b of each matrix, or a b^T.
    pub fn batch_matmul(&mut self, name: &str, a: &LiteValue, b: &LiteValue, transposed: bool, out: Number) -> LiteValue {
        let columns = b.shape[b.shape.len() - if transposed { 2 } else { 1 }];
        let mut shape = a.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last = columns;
        }
        let out = self.value(name, &shape, out);
        let options = vec![Field::U8(0), Field::U8(u8::from(transposed))];
        self.operator(Operator::BatchMatmul, [1, 2, 3], &[a.index, b.index], &out, Some((101, options)));
        let sides = [a.shape[a.shape.len() - 2], a.width(), columns];
        let values = Values::of([&a.values, &b.values], out.number, |[a, b]| values::matrices(a, b, sides, transposed));
        out.with(values)
    }

    /// The same values in another shape.
    pub fn reshape(&mut self, name: &str, x: &LiteValue, shape: &[usize]) -> LiteValue {
        let dims: Vec<i32> = shape.iter().map(|&dim| dim as i32).collect();
        let index = self.index_constant(&dims);
        let out = self.value(name, shape, x.number);
        self.operator(Operator::Reshape, [1; 3], &[x.index, index], &out, Some((17, vec![Field::I32s(dims)])));
        out.with(x.values.clone())
    }

    /// Dimensions in another order.
    pub fn transpose(&mut self, name: &str, x: &LiteValue, order: &[usize]) -> LiteValue {
        let shape: Vec<usize> = order.iter().map(|&from| x.shape[from]).collect();
        let index = self.index_constant(&order.iter().map(|&from| from as i32).collect::<Vec<_>>());
        let out = self.value(name, &shape, x.number);
        self.operator(Operator::Transpose, [1, 2, 4], &[x.index, index], &out, Some((26, Vec::new())));
        let values = Values::of([&x.values], out.number, |[values]| values::transposed(values, &x.shape, order));
        out.with(values)
    }

    /// `from..to` of a dimension.
    pub fn slice(&mut self, name: &str, x: &LiteValue, axis: usize, from: usize, to: usize) -> LiteValue {
        let (mut shape, rank) = (x.shape.clone(), x.shape.len());
        shape[axis] = to - from;
        let at = |inside: usize, outside: &dyn Fn(usize) -> usize| -> Vec<i32> {
            (0..rank).map(|i| if i == axis { inside } else { outside(i) } as i32).collect()
        };
        let [begin, end, strides] = [at(from, &|_| 0), at(to, &|i| x.shape[i]), vec![1; rank]].map(|values| self.index_constant(&values));
        let out = self.value(name, &shape, x.number);
        self.operator(Operator::StridedSlice, [1, 2, 4], &[x.index, begin, end, strides], &out, Some((32, Vec::new())));
        let inner = x.shape[axis + 1..].iter().product();
        let values = Values::of([&x.values], out.number, |[values]| values::slice(values, x.shape[axis], inner, from, to));
        out.with(values)
    }

    /// Values of the same meaning one after another along a dimension.
    pub fn concat(&mut self, name: &str, parts: &[&LiteValue], axis: usize) -> LiteValue {
        let (mut shape, number) = (parts[0].shape.clone(), parts[0].number);
        shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
        let out = self.value(name, &shape, number);
        let inputs: Vec<i32> = parts.iter().map(|part| part.index).collect();
        let options = vec![Field::I32(axis as i32), Field::U8(0)];
        self.operator(Operator::Concatenation, [1, 2, 3], &inputs, &out, Some((10, options)));
        let lens: Vec<usize> = parts.iter().map(|part| part.shape[axis..].iter().product()).collect();
        out.with(Values::concat(&parts.iter().map(|part| &part.values).collect::<Vec<_>>(), &lens))
    }

    // --- The file -------------------------------------------------------------------------------------------------------------------

    /// The file, with what it says of itself: a description for people, and texts by their names.
    pub fn finish(mut self, description: &str, metadata: &[(&str, String)]) -> Vec<u8> {
        let mut entries = Vec::new();
        for (name, text) in metadata {
            entries.push(Table(vec![Field::Text((*name).to_owned()), Field::I32(self.buffers.len() as i32)]));
            self.buffers.push(Table(vec![Field::Bytes(text.as_bytes().to_vec())]));
        }
        // Numbers above 127 have a field of their own since version 3a of the schema; older readers look at the first.
        let code = |(operator, version): &(Operator, i32)| {
            let code = *operator as i32;
            Table(vec![
                Field::U8(code.min(127) as u8),
                Field::Absent,
                Field::I32(*version),
                Field::I32(code),
            ])
        };
        let codes = self.codes.iter().map(code).collect();
        let graph = Table(vec![
            Field::Tables(self.tensors),
            Field::I32s(self.inputs),
            Field::I32s(self.outputs),
            Field::Tables(self.operators),
            Field::Text("main".to_owned()),
        ]);
        let model = Table(vec![
            Field::I32(3),
            Field::Tables(codes),
            Field::Tables(vec![graph]),
            Field::Text(description.to_owned()),
            Field::Tables(self.buffers),
            Field::Absent,
            Field::Tables(entries),
        ]);
        file(&model, *b"TFL3")
    }
}

/// The table of a tensor's scale and zero point; nothing of real numbers.
fn quantisation(number: Number) -> Option<Table> {
    let zero_point = match number {
        Number::Real => return None,
        Number::Int8 { zero_point, .. } => i64::from(zero_point),
        Number::Int16 { .. } => 0,
    };
    let scale = Field::F32s(vec![number.scale() as f32]);
    Some(Table(vec![Field::Absent, Field::Absent, scale, Field::I64s(vec![zero_point])]))
}

/// A scale for each output, and zero points of 0.
fn quantisations(scales: &[f64]) -> Table {
    let zero_points = Field::I64s(vec![0; scales.len()]);
    let scales = Field::F32s(scales.iter().map(|&scale| scale as f32).collect());
    Table(vec![Field::Absent, Field::Absent, scales, zero_points])
}
