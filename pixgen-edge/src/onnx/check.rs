//! Is it a graph? Every value is made before it is used, by one node only, and used by somebody; constants hold what their shapes say.

use super::error::{GraphFault, OnnxError};
use super::proto::{Element, GraphProto, ModelProto};
use std::collections::HashSet;

/// Checks a model's structure. Operators are not looked into: readers of ONNX do that.
///
/// # Errors
/// [`OnnxError::Graph`], with the first thing that is wrong.
pub fn check(model: &ModelProto) -> Result<(), OnnxError> {
    let fail = |at: &str, fault: GraphFault| Err(OnnxError::Graph { at: at.to_owned(), fault });
    let Some(graph) = &model.graph else {
        return fail("model", GraphFault::Missing);
    };
    if model.opset_import.is_empty() {
        return fail("model", GraphFault::NoOperators);
    }
    let mut made = HashSet::new();
    let mut used = HashSet::new();
    for tensor in &graph.initializer {
        // Of a file that another program wrote: lengths may be anything.
        let values = tensor
            .dims
            .iter()
            .try_fold(1u64, |product, &dim| product.checked_mul(u64::try_from(dim).ok()?));
        let size = Element::try_from(tensor.data_type).map_or(0, Element::size) as u64;
        if values.and_then(|values| values.checked_mul(size)) != Some(tensor.raw_data.len() as u64) || size == 0 {
            return fail(&tensor.name, GraphFault::Values);
        }
        if tensor.name.is_empty() || !made.insert(tensor.name.as_str()) {
            return fail(&tensor.name, GraphFault::SecondValue);
        }
    }
    for input in &graph.input {
        if !made.insert(&input.name) {
            return fail(&input.name, GraphFault::SecondValue);
        }
    }
    let mut names = HashSet::new();
    for node in &graph.node {
        for input in node.input.iter().filter(|name| !name.is_empty()) {
            if !made.contains(input.as_str()) {
                return fail(&node.name, GraphFault::NotMade(input.clone()));
            }
            used.insert(input.as_str());
        }
        if !names.insert(&node.name) {
            return fail(&node.name, GraphFault::SecondNode);
        }
        for output in &node.output {
            if output.is_empty() || !made.insert(output) {
                return fail(output, GraphFault::SecondValue);
            }
        }
    }
    for output in &graph.output {
        if !made.contains(output.name.as_str()) {
            return fail(&output.name, GraphFault::NoMaker);
        }
        used.insert(&output.name);
    }
    match made.iter().find(|name| !used.contains(*name)) {
        Some(name) => fail(name, GraphFault::Unused),
        None => shapes(graph),
    }
}

/// Every value that a node makes has a type and a shape.
fn shapes(graph: &GraphProto) -> Result<(), OnnxError> {
    let infos = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
    let typed: HashSet<&str> = infos
        .filter(|info| {
            let tensor = info.r#type.as_ref().and_then(|of| of.tensor_type.as_ref());
            tensor.is_some_and(|of| of.elem_type != Element::Undefined as i32 && of.shape.is_some())
        })
        .map(|info| info.name.as_str())
        .collect();
    let mut outputs = graph.node.iter().flat_map(|node| &node.output);
    match outputs.find(|name| !typed.contains(name.as_str())) {
        Some(name) => Err(OnnxError::Graph { at: name.clone(), fault: GraphFault::Untyped }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::Graph;
    use super::*;

    /// Where it shows, and what is done.
    type Fault = (&'static str, fn(&mut GraphProto));

    fn model() -> ModelProto {
        let mut graph = Graph::new(None);
        let x = graph.input("x", Element::Float, &[2], "");
        let w = graph.constant("w", &[2], &[1.0f32, 2.0]);
        let y = graph.binary("Mul", "y", &x, &w);
        let z = graph.unary("Erf", "z", &y);
        graph.output(&z, "");
        graph.finish("", vec![]).expect("a graph")
    }

    #[test]
    fn each_fault_is_named() {
        let faults: [Fault; 7] = [
            ("z", |graph| graph.node.swap(0, 1)),
            ("w", |graph| graph.node[0].input[1] = "x".into()),
            ("y", |graph| graph.node[0].input[1] = "nothing".into()),
            ("w", |graph| graph.initializer[0].dims[0] = i64::MIN),
            ("x", |graph| graph.initializer[0].name = "x".into()),
            ("other", |graph| graph.output[0].name = "other".into()),
            ("y", |graph| graph.value_info.clear()),
        ];
        for (number, (place, fault)) in faults.into_iter().enumerate() {
            let mut model = model();
            fault(model.graph.as_mut().expect("graph"));
            match check(&model) {
                Err(OnnxError::Graph { at, fault: found }) => assert_eq!(at, place, "{number}: {found}"),
                other => panic!("{number}: {other:?}"),
            }
        }
    }
}
