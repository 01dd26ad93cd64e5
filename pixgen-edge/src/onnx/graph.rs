//! A graph in the making: values with their types and shapes, nodes in order, constants.
//!
//! Each method adds a node and returns its value; the name of a node is that of its (first) value. Shapes are worked out here and
//! written for every value, so that readers need not infer them. What does not fit is remembered, and [`Graph::finish`] tells it.

use super::check::check;
use super::error::{GraphFault, OnnxError};
use super::proto::{
    AttributeProto, AttributeType, DimensionProto, DimensionValue, Element, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use std::collections::HashMap;

/// Version of ONNX's operators, and of the file format that came with it: the first with LayerNormalization.
pub const OPSET: [i64; 2] = [17, 8];
/// The first with Gelu.
const GELU_OPSET: [i64; 2] = [20, 9];
/// Constants that a file holds: 2 GiB less room for nodes and names.
const MOST_BYTES: u64 = (1 << 31) - (1 << 24);
/// Name of the first dimension of all activations, where it is not fixed.
const BATCH: &str = "N";

/// Length of a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Pictures, as many as the caller gives.
    Batch,
    /// Known.
    Fixed(usize),
}

/// A named value.
#[derive(Clone, Debug, Default)]
pub struct GraphValue {
    name: String,
    element: Element,
    dims: Vec<Dim>,
}

impl GraphValue {
    /// The length of a fixed dimension, counted from the last; 0 for others.
    fn length(&self, back: usize) -> usize {
        match self.dims.len().checked_sub(back + 1).and_then(|at| self.dims.get(at)) {
            Some(Dim::Fixed(len)) => *len,
            _ => 0,
        }
    }

    /// Length of the last dimension.
    pub fn width(&self) -> usize {
        self.length(0)
    }

    /// Length of the last dimension but one.
    pub fn rows(&self) -> usize {
        self.length(1)
    }
}

/// Types of constants.
pub trait Item: bytemuck::NoUninit {
    /// The same in ONNX.
    const ELEMENT: Element;
}

macro_rules! items {
    ($($item:ty: $element:ident),*) => {$(
        impl Item for $item {
            const ELEMENT: Element = Element::$element;
        }
    )*};
}

items!(f32: Float, u8: Uint8, i8: Int8, i16: Int16, i32: Int32, i64: Int64);

/// A graph in the making.
#[derive(Debug, Default)]
pub struct Graph {
    batch: Option<usize>,
    graph: GraphProto,
    constants: HashMap<String, GraphValue>,
    bytes: u64,
    opset: [i64; 2],
    fault: Option<(String, GraphFault)>,
}

impl Graph {
    /// An empty graph for `batch` pictures at once, or for any number.
    pub fn new(batch: Option<usize>) -> Self {
        Self { batch, opset: OPSET, ..Self::default() }
    }

    // --- Values ---------------------------------------------------------------------------------------------------------------------

    /// Something that the caller gives, one for each picture.
    pub fn input(&mut self, name: &str, element: Element, dims: &[usize], about: &str) -> GraphValue {
        let value = GraphValue { name: name.to_owned(), element, dims: batched(dims) };
        let info = self.info(&value, about);
        self.graph.input.push(info);
        value
    }

    /// Something that the caller gets.
    pub fn output(&mut self, value: &GraphValue, about: &str) {
        let info = self.info(value, about);
        self.graph.value_info.retain(|other| other.name != value.name);
        self.graph.output.push(info);
    }

    /// A constant tensor. A name stands for one tensor: the second time it is not written again.
    pub fn constant<T: Item>(&mut self, name: &str, dims: &[usize], values: &[T]) -> GraphValue {
        if let Some(value) = self.constants.get(name) {
            return value.clone();
        }
        let value = GraphValue {
            name: name.to_owned(),
            element: T::ELEMENT,
            dims: dims.iter().map(|&d| Dim::Fixed(d)).collect(),
        };
        if dims.iter().product::<usize>() != values.len() {
            self.fail(name, format!("{} values for {dims:?}", values.len()));
        }
        let bytes: &[u8] = bytemuck::cast_slice(values);
        self.bytes += bytes.len() as u64;
        // What does not fit is not kept either: it is only counted.
        let raw_data = if self.bytes < MOST_BYTES { bytes.to_vec() } else { Vec::new() };
        self.graph.initializer.push(TensorProto {
            dims: dims.iter().map(|&d| d as i64).collect(),
            data_type: T::ELEMENT as i32,
            name: name.to_owned(),
            raw_data,
        });
        self.constants.insert(name.to_owned(), value.clone());
        value
    }

    /// A constant number, named by its value.
    pub fn scalar<T: Item + std::fmt::Debug>(&mut self, value: T) -> GraphValue {
        let name = format!("{}/{value:?}", std::any::type_name::<T>());
        self.constant(&name, &[], &[value])
    }

    fn whole(&mut self, values: &[i64]) -> GraphValue {
        let text: Vec<String> = values.iter().map(i64::to_string).collect();
        self.constant(&format!("i64/[{}]", text.join(",")), &[values.len()], values)
    }

    fn info(&self, value: &GraphValue, about: &str) -> ValueInfoProto {
        let dimension = |dim: &Dim| DimensionProto {
            value: Some(match (dim, self.batch) {
                (Dim::Batch, None) => DimensionValue::DimParam(BATCH.to_owned()),
                (Dim::Batch, Some(len)) | (&Dim::Fixed(len), _) => DimensionValue::DimValue(len as i64),
            }),
        };
        let shape = TensorShapeProto { dim: value.dims.iter().map(dimension).collect() };
        let tensor = TensorTypeProto { elem_type: value.element as i32, shape: Some(shape) };
        ValueInfoProto {
            name: value.name.clone(),
            r#type: Some(TypeProto { tensor_type: Some(tensor) }),
            doc_string: about.to_owned(),
        }
    }

    fn fail(&mut self, at: &str, what: String) {
        self.fault.get_or_insert_with(|| (at.to_owned(), GraphFault::Operands(what)));
    }

    fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&GraphValue],
        attributes: Vec<AttributeProto>,
        of: (Element, Vec<Dim>),
    ) -> GraphValue {
        let value = GraphValue { name: name.to_owned(), element: of.0, dims: of.1 };
        let info = self.info(&value, "");
        self.graph.value_info.push(info);
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|value| value.name.clone()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: op.to_owned(),
            attribute: attributes,
        });
        value
    }

    // --- Operators, value by value --------------------------------------------------------------------------------------------------

    /// Add, Sub, Mul or Div, with broadcasting.
    pub fn binary(&mut self, op: &str, name: &str, a: &GraphValue, b: &GraphValue) -> GraphValue {
        if a.element != b.element {
            self.fail(name, format!("{op} of {:?} and {:?}", a.element, b.element));
        }
        let dims = self.broadcast(name, a, b);
        self.node(op, name, &[a, b], vec![], (a.element, dims))
    }

    /// GreaterOrEqual, with broadcasting: the result is Bool.
    pub fn at_least(&mut self, name: &str, a: &GraphValue, b: &GraphValue) -> GraphValue {
        let dims = self.broadcast(name, a, b);
        self.node("GreaterOrEqual", name, &[a, b], vec![], (Element::Bool, dims))
    }

    /// An operator of one input that keeps type and shape: Erf, Exp, Floor, Round (half to even), Sqrt.
    pub fn unary(&mut self, op: &str, name: &str, x: &GraphValue) -> GraphValue {
        self.node(op, name, &[x], vec![], (x.element, x.dims.clone()))
    }

    /// Values below `low` become `low`, those above `high` become `high`.
    pub fn clip<T: Item + std::fmt::Debug>(&mut self, name: &str, x: &GraphValue, low: T, high: T) -> GraphValue {
        let (low, high) = (self.scalar(low), self.scalar(high));
        self.node("Clip", name, &[x, &low, &high], vec![], (x.element, x.dims.clone()))
    }

    /// Another type; real numbers become whole ones towards zero.
    pub fn cast(&mut self, name: &str, x: &GraphValue, to: Element) -> GraphValue {
        self.node("Cast", name, &[x], vec![int("to", i64::from(to as i32))], (to, x.dims.clone()))
    }

    /// round(x / scale) + zero in int8 or, for an unsigned zero, uint8; round goes half to even.
    pub fn quantise(&mut self, name: &str, x: &GraphValue, scale: &GraphValue, zero: &GraphValue) -> GraphValue {
        self.node("QuantizeLinear", name, &[x, scale, zero], vec![], (zero.element, x.dims.clone()))
    }

    /// (x - zero) scale.
    pub fn dequantise(&mut self, name: &str, x: &GraphValue, scale: &GraphValue, zero: &GraphValue) -> GraphValue {
        self.node("DequantizeLinear", name, &[x, scale, zero], vec![], (Element::Float, x.dims.clone()))
    }

    /// x scale, with a scale for each index of the last dimension.
    pub fn dequantise_columns(&mut self, name: &str, x: &GraphValue, scale: &GraphValue) -> GraphValue {
        let axis = x.dims.len() as i64 - 1;
        self.node("DequantizeLinear", name, &[x, scale], vec![int("axis", axis)], (Element::Float, x.dims.clone()))
    }

    // --- Operators over dimensions --------------------------------------------------------------------------------------------------

    /// Product over the last dimension of `a` and the last but one of `b`; other dimensions broadcast.
    pub fn matmul(&mut self, name: &str, a: &GraphValue, b: &GraphValue) -> GraphValue {
        let dims = self.product_dims(name, a, b);
        self.node("MatMul", name, &[a, b], vec![], (a.element, dims))
    }

    /// The same of int8 with int32 sums.
    pub fn matmul_integer(&mut self, name: &str, a: &GraphValue, b: &GraphValue) -> GraphValue {
        let dims = self.product_dims(name, a, b);
        self.node("MatMulInteger", name, &[a, b], vec![], (Element::Int32, dims))
    }

    /// (x - mean) / sqrt(variance + epsilon) gain + offset over the last dimension.
    pub fn layer_norm(&mut self, name: &str, x: &GraphValue, gain: &GraphValue, offset: &GraphValue, epsilon: f32) -> GraphValue {
        let attributes = vec![int("axis", -1), float("epsilon", epsilon)];
        self.node("LayerNormalization", name, &[x, gain, offset], attributes, (x.element, x.dims.clone()))
    }

    /// Softmax over the last dimension.
    pub fn softmax(&mut self, name: &str, x: &GraphValue) -> GraphValue {
        self.node("Softmax", name, &[x], vec![int("axis", -1)], (x.element, x.dims.clone()))
    }

    /// Sum over the last dimension, which stays with length 1.
    pub fn sum(&mut self, name: &str, x: &GraphValue) -> GraphValue {
        let axis = self.whole(&[-1]);
        let dims = self.reduced(x);
        self.node("ReduceSum", name, &[x, &axis], vec![int("keepdims", 1)], (x.element, dims))
    }

    /// Mean over the last dimension, which stays with length 1; in the form of operators before version 18.
    pub fn mean(&mut self, name: &str, x: &GraphValue) -> GraphValue {
        let dims = self.reduced(x);
        self.node("ReduceMean", name, &[x], vec![ints("axes", &[-1]), int("keepdims", 1)], (x.element, dims))
    }

    /// x Phi(x) as one operator, which makes the graph one of a later version.
    pub fn gelu(&mut self, name: &str, x: &GraphValue) -> GraphValue {
        self.opset = GELU_OPSET;
        self.unary("Gelu", name, x)
    }

    /// Greatest over the last dimension, which stays with length 1.
    pub fn greatest(&mut self, name: &str, x: &GraphValue) -> GraphValue {
        let dims = self.reduced(x);
        self.node("ReduceMax", name, &[x], vec![ints("axes", &[-1]), int("keepdims", 1)], (x.element, dims))
    }

    /// Rows of a table, one for each index in `at`.
    pub fn gather(&mut self, name: &str, table: &GraphValue, at: &GraphValue) -> GraphValue {
        let dims = at.dims.iter().chain(table.dims.iter().skip(1)).copied().collect();
        self.node("Gather", name, &[table, at], vec![int("axis", 0)], (table.element, dims))
    }

    /// Indices `start..end` of a dimension.
    pub fn slice(&mut self, name: &str, x: &GraphValue, axis: usize, start: usize, end: usize) -> GraphValue {
        let [from, to, axes] = [start, end, axis].map(|at| self.whole(&[at as i64]));
        let mut dims = x.dims.clone();
        match dims.get_mut(axis) {
            Some(dim) => *dim = Dim::Fixed(end - start),
            None => self.fail(name, format!("no dimension {axis}")),
        }
        self.node("Slice", name, &[x, &from, &to, &axes], vec![], (x.element, dims))
    }

    /// One behind the other along a dimension.
    pub fn concat(&mut self, name: &str, a: &GraphValue, b: &GraphValue, axis: usize) -> GraphValue {
        let mut dims = a.dims.clone();
        match (dims.get_mut(axis), b.dims.get(axis)) {
            (Some(Dim::Fixed(len)), Some(Dim::Fixed(more))) if a.dims.len() == b.dims.len() => *len += more,
            _ => self.fail(name, format!("{:?} and {:?} along {axis}", a.dims, b.dims)),
        }
        self.node("Concat", name, &[a, b], vec![int("axis", axis as i64)], (a.element, dims))
    }

    /// The same values in another shape; the first dimension is the batch.
    pub fn reshape(&mut self, name: &str, x: &GraphValue, dims: &[usize]) -> GraphValue {
        let len = |dims: &[Dim]| -> usize {
            let known = dims.iter().map(|dim| if let Dim::Fixed(len) = dim { *len } else { 1 });
            known.product()
        };
        let to = batched(dims);
        if len(&to) != len(&x.dims) || x.dims.first() != Some(&Dim::Batch) {
            self.fail(name, format!("{:?} as {to:?}", x.dims));
        }
        let mut shape = vec![self.batch.map_or(-1, |batch| batch as i64)];
        shape.extend(dims.iter().map(|&len| len as i64));
        let shape = self.whole(&shape);
        self.node("Reshape", name, &[x, &shape], vec![], (x.element, to))
    }

    /// Dimension i of the result is dimension `order[i]` of `x`.
    pub fn transpose(&mut self, name: &str, x: &GraphValue, order: &[usize]) -> GraphValue {
        let dims: Vec<Dim> = order.iter().filter_map(|&at| x.dims.get(at).copied()).collect();
        if dims.len() != x.dims.len() {
            self.fail(name, format!("{:?} in the order {order:?}", x.dims));
        }
        let order: Vec<i64> = order.iter().map(|&at| at as i64).collect();
        self.node("Transpose", name, &[x], vec![ints("perm", &order)], (x.element, dims))
    }

    /// `[N, C, H, W]` to `[N, side side C, H/side, W/side]`: blocks of pixels become channels, row by row and colours innermost.
    pub fn space_to_depth(&mut self, name: &str, x: &GraphValue, side: usize) -> GraphValue {
        let dims = self.blocks(name, x, |[c, h, w]| [c * side * side, h / side, w / side]);
        self.node("SpaceToDepth", name, &[x], vec![int("blocksize", side as i64)], (x.element, dims))
    }

    /// The inverse.
    pub fn depth_to_space(&mut self, name: &str, x: &GraphValue, side: usize) -> GraphValue {
        let dims = self.blocks(name, x, |[c, h, w]| [c / (side * side), h * side, w * side]);
        self.node("DepthToSpace", name, &[x], vec![int("blocksize", side as i64), text("mode", "DCR")], (x.element, dims))
    }

    // --- Shapes ---------------------------------------------------------------------------------------------------------------------

    fn broadcast(&mut self, name: &str, a: &GraphValue, b: &GraphValue) -> Vec<Dim> {
        let rank = a.dims.len().max(b.dims.len());
        let at = |value: &GraphValue, i: usize| (i + value.dims.len()).checked_sub(rank).map_or(Dim::Fixed(1), |i| value.dims[i]);
        let both = |i| match (at(a, i), at(b, i)) {
            (one, other) if one == other => Some(one),
            (Dim::Fixed(1), other) | (other, Dim::Fixed(1)) => Some(other),
            _ => None,
        };
        let dims: Option<Vec<Dim>> = (0..rank).map(both).collect();
        dims.unwrap_or_else(|| {
            self.fail(name, format!("{:?} with {:?}", a.dims, b.dims));
            a.dims.clone()
        })
    }

    fn product_dims(&mut self, name: &str, a: &GraphValue, b: &GraphValue) -> Vec<Dim> {
        let inner = |value: &GraphValue| GraphValue { dims: value.dims[..value.dims.len().saturating_sub(2)].to_vec(), ..value.clone() };
        if a.width() != b.rows() || a.width() == 0 || a.element != b.element {
            self.fail(name, format!("product of {:?} and {:?}", a.dims, b.dims));
        }
        let mut dims = self.broadcast(name, &inner(a), &inner(b));
        dims.extend([Dim::Fixed(a.rows()), Dim::Fixed(b.width())]);
        dims
    }

    fn reduced(&self, x: &GraphValue) -> Vec<Dim> {
        let mut dims = x.dims.clone();
        dims.pop();
        dims.push(Dim::Fixed(1));
        dims
    }

    fn blocks(&mut self, name: &str, x: &GraphValue, to: impl Fn([usize; 3]) -> [usize; 3]) -> Vec<Dim> {
        match x.dims[..] {
            [Dim::Batch, Dim::Fixed(c), Dim::Fixed(h), Dim::Fixed(w)] => batched(&to([c, h, w])),
            _ => {
                self.fail(name, format!("{:?} is not a picture", x.dims));
                x.dims.clone()
            }
        }
    }

    // --- The file -------------------------------------------------------------------------------------------------------------------

    /// The whole model.
    ///
    /// # Errors
    /// Too large, or not a graph.
    pub fn finish(mut self, about: &str, metadata: Vec<(String, String)>) -> Result<ModelProto, OnnxError> {
        if let Some((at, fault)) = self.fault {
            return Err(OnnxError::Graph { at, fault });
        }
        if self.bytes >= MOST_BYTES {
            return Err(OnnxError::TooLarge { bytes: self.bytes });
        }
        self.graph.name = "pixgen".to_owned();
        let model = ModelProto {
            ir_version: self.opset[1],
            producer_name: "pixgen-edge".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            doc_string: about.to_owned(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: self.opset[0] }],
            metadata_props: metadata.into_iter().map(|(key, value)| StringStringEntryProto { key, value }).collect(),
        };
        check(&model)?;
        Ok(model)
    }
}

/// A batch of these.
fn batched(dims: &[usize]) -> Vec<Dim> {
    std::iter::once(Dim::Batch).chain(dims.iter().map(|&len| Dim::Fixed(len))).collect()
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: Some(i),
        r#type: AttributeType::Int as i32,
        ..AttributeProto::default()
    }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        f: Some(f),
        r#type: AttributeType::Float as i32,
        ..AttributeProto::default()
    }
}

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        s: Some(s.as_bytes().to_vec()),
        r#type: AttributeType::String as i32,
        ..AttributeProto::default()
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.to_vec(),
        r#type: AttributeType::Ints as i32,
        ..AttributeProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    fn shape(value: &GraphValue) -> &[Dim] {
        &value.dims
    }

    #[test]
    fn shapes_are_worked_out() {
        use Dim::{Batch, Fixed};
        let mut graph = Graph::new(None);
        let x = graph.input("x", Element::Float, &[3, 8, 12], "");
        let patches = graph.space_to_depth("patches", &x, 4);
        assert_eq!(shape(&patches), [Batch, Fixed(48), Fixed(2), Fixed(3)]);
        let rows = graph.reshape("rows", &patches, &[48, 6]);
        let rows = graph.transpose("columns", &rows, &[0, 2, 1]);
        assert_eq!(shape(&rows), [Batch, Fixed(6), Fixed(48)]);
        let w = graph.constant("w", &[48, 5], &[0.0f32; 240]);
        let y = graph.matmul("y", &rows, &w);
        assert_eq!(shape(&y), [Batch, Fixed(6), Fixed(5)]);
        let most = graph.greatest("most", &y);
        let less = graph.binary("Sub", "less", &y, &most);
        assert_eq!((shape(&most), shape(&less)), (&[Batch, Fixed(6), Fixed(1)][..], shape(&y)));
        let part = graph.slice("part", &less, 1, 2, 6);
        let both = graph.concat("both", &part, &part, 2);
        assert_eq!(shape(&both), [Batch, Fixed(4), Fixed(10)]);
        let table = graph.constant("table", &[7, 2], &[1i8; 14]);
        let class = graph.input("class", Element::Int64, &[], "");
        let picked = graph.gather("picked", &table, &class);
        assert_eq!((shape(&picked), picked.element), (&[Batch, Fixed(2)][..], Element::Int8));
        graph.output(&both, "");
        graph.output(&picked, "");
        let model = graph.finish("", vec![("key".into(), "text".into())]).expect("a graph");
        let bytes = model.encode_to_vec();
        assert_eq!(ModelProto::decode(&bytes[..]).expect("reads"), model);
    }

    /// A mistake is an error with the name of its node.
    #[test]
    fn what_does_not_fit_is_told() {
        let wrong: [fn(&mut Graph, &GraphValue); 5] = [
            |graph, x| drop(graph.matmul("here", x, x)),
            |graph, x| drop(graph.reshape("here", x, &[5])),
            |graph, x| drop(graph.concat("here", x, x, 4)),
            |graph, _| drop(graph.constant("here", &[3], &[1.0f32; 2])),
            |graph, x| {
                let two = graph.scalar(2i64);
                drop(graph.binary("Add", "here", x, &two));
            },
        ];
        for (number, wrong) in wrong.into_iter().enumerate() {
            let mut graph = Graph::new(Some(1));
            let x = graph.input("x", Element::Float, &[2, 3], "");
            wrong(&mut graph, &x);
            match graph.finish("", vec![]) {
                Err(OnnxError::Graph { at, .. }) => assert_eq!(at, "here", "{number}"),
                other => panic!("{number}: {other:?}"),
            }
        }
    }

    #[test]
    fn two_gigabytes_are_too_many() {
        let mut graph = Graph::new(None);
        let x = graph.input("x", Element::Float, &[2], "");
        graph.bytes = MOST_BYTES - 8;
        let w = graph.constant("w", &[2], &[1.0f32, 2.0]);
        assert!(graph.graph.initializer[0].raw_data.is_empty());
        let y = graph.binary("Mul", "y", &x, &w);
        graph.output(&y, "");
        assert!(matches!(graph.finish("", vec![]), Err(OnnxError::TooLarge { bytes: MOST_BYTES })));
    }

    /// Files that are none are errors, whatever they hold.
    #[test]
    fn damaged_bytes_do_not_panic() {
        let mut graph = Graph::new(None);
        let x = graph.input("x", Element::Float, &[2], "");
        let w = graph.constant("w", &[2], &[1.0f32, 2.0]);
        let y = graph.binary("Mul", "y", &x, &w);
        graph.output(&y, "");
        let bytes = graph.finish("", vec![]).expect("a graph").encode_to_vec();
        let mut refused = 0;
        for at in 0..bytes.len() {
            // Cut between two fields of the outermost message, it is a shorter message.
            refused += usize::from(ModelProto::decode(&bytes[..at]).is_err());
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x55;
            if let Ok(model) = ModelProto::decode(&flipped[..]) {
                let _ = check(&model); // any answer, no panic
            }
        }
        assert!(refused > bytes.len() / 2, "{refused} of {}", bytes.len());
    }
}
