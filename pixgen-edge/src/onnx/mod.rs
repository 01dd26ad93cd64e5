//! The one-step model as an ONNX graph, for other runtimes and the tool chains of accelerators (docs/reference/onnx.md).
//!
//! Interpreters of the network of `pixgen_core` put out nodes instead of numbers; an activation is the name of a value of the graph,
//! and sites name the nodes. [`float`](mod@float) writes the float network, and the same with int8 products between QuantizeLinear and
//! DequantizeLinear; [`integer`] writes the arithmetic of a chip, bit for bit. [`write`](mod@write) is where a caller begins: it chooses
//! one and adds what the model file says of itself. A third, [`target`], writes the float network for the tool chains of accelerators, and
//! [`calibration`] what they need beside the graph.
//!
//! [`graph`] holds nodes, shapes and constants while they are made, [`check`](mod@check) looks the finished graph over, [`proto`] is the
//! file's encoding. [`vectors`] writes inputs with the outputs that a graph must give for them.

pub mod calibration;
pub mod check;
pub mod float;
pub mod graph;
pub mod integer;
pub mod proto;
pub mod target;
pub mod vectors;
pub mod write;

mod error;

pub use error::{GraphFault, OnnxError};
pub use target::OnnxTarget;
pub use write::{Form, WeightBits, float_graph, integer_graph, qdq_graph, target_graph};
