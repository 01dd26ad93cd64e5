"""What float numbers of 16 bits cost by themselves: pictures of a graph of `pixgen-edge onnx --target tpu-mlir` with its values rounded to
bfloat16 and to float16, against the float network's. No tool of a vendor is in it: it shows how much of a tool's difference is the format.

    venv/bin/python tests/gen/short_floats.py GRAPH.onnx CALIBRATION          a Python as for onnx_check.py; seconds

CALIBRATION is the folder that `--calibration` wrote with the graph. Rounded are only the weights; both operands of every product of matrices,
which a multiplier for the format must round, whatever the graph; or these and the result of every operator.
"""

import pathlib
import sys

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper

FORMATS = {"bfloat16": TensorProto.BFLOAT16, "float16": TensorProto.FLOAT16}
LAYOUT = {"Reshape", "Transpose", "Concat", "Slice", "Identity"}  # operators that compute nothing
ROUNDED = {"weights": (1, 0, 0), "operands of products": (1, 1, 0), "everything": (1, 1, 1)}


def rounded(model, short, weights, operands, results):
    """The graph with some of its values rounded."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants, nodes = {tensor.name for tensor in model.graph.initializer}, []

    def cast(name, to):
        nodes.append(helper.make_node("Cast", [name], [f"{to}/short"], to=short))
        nodes.append(helper.make_node("Cast", [f"{to}/short"], [to], to=TensorProto.FLOAT))

    for number, node in enumerate(copy.graph.node):
        if node.op_type == "MatMul":
            for at, name in enumerate(node.input):
                if weights if name in constants else operands:
                    node.input[at] = f"{name}/rounded/{number}"
                    cast(name, node.input[at])
        out = node.output[0]
        if results and node.op_type not in LAYOUT:
            node.output[0] = f"{out}/exact"
        nodes.append(node)
        if node.output[0] != out:
            cast(node.output[0], out)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del copy.graph.node[:], copy.graph.value_info[:]
    copy.graph.node.extend(nodes)
    return copy.SerializeToString()


def main():
    model, folder = onnx.load(sys.argv[1]), pathlib.Path(sys.argv[2])
    feeds = [dict(numpy.load(path)) for path in sorted(folder.glob("[0-9][0-9].npz"))]
    expected = numpy.load(folder / "expected.npy").astype(int)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # others take the casts away
    for name, short in FORMATS.items():
        for what, which in ROUNDED.items():
            session = onnxruntime.InferenceSession(rounded(model, short, *which), options, providers=["CPUExecutionProvider"])
            levels = numpy.concatenate([session.run(["levels"], feed)[0] for feed in feeds]).reshape(expected.shape)
            difference = numpy.abs(numpy.clip(numpy.floor(levels + 0.5), 0, 255).astype(int) - expected)
            print(f"{name}, {what}: at most {difference.max()} grey levels off, {difference.mean():.2f} in the mean of {len(feeds)} pictures")


main()
