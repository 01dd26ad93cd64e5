"""Runs ONNX graphs of `pixgen-edge onnx` in onnxruntime and compares with the pictures that pixgen-edge drew itself.

    python3 -m venv venv && venv/bin/pip install numpy onnx onnxruntime
    venv/bin/python tests/gen/onnx_check.py MODEL.onnx VECTORS.safetensors [--levels SHARE] [--time]

VECTORS is what `--vectors` wrote. Structure, types and shapes are checked by onnx itself. Fails when a float picture is off by more than
1e-4, when a graph of form `integer` does not give every byte, or when less than SHARE (0.999) of the bytes are within one grey level.
"""

import argparse
import json
import struct
import sys
import time

import numpy
import onnx
import onnxruntime

TYPES = {"F32": numpy.float32, "I64": numpy.int64, "U8": numpy.uint8}


def read_safetensors(path):
    """Tensors by name."""
    data = open(path, "rb").read()
    (length,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, about in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + at for at in about["data_offsets"])
            tensors[name] = numpy.frombuffer(data[begin:end], TYPES[about["dtype"]]).reshape(about["shape"])
    return tensors


def session(path, threads=0):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(network, vectors, batch):
    """Outputs by name, computed `batch` pictures at a time."""
    names = [output.name for output in network.get_outputs()]
    parts = []
    for first in range(0, len(vectors["class"]), batch):
        part = slice(first, first + batch)
        parts.append(network.run(names, {name: vectors[name][part] for name in ("noise", "class")}))
    return {name: numpy.concatenate(values) for name, values in zip(names, zip(*parts))}


def milliseconds(network, vectors):
    """The median of some runs with one picture each."""
    feed = {name: vectors[name][:1] for name in ("noise", "class")}
    times = []
    for _ in range(100):
        start = time.perf_counter()
        network.run(None, feed)
        times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[len(times) // 2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("vectors")
    parser.add_argument("--levels", type=float, default=0.999, help="share of bytes that are within one grey level")
    parser.add_argument("--time", action="store_true", help="also time a picture on one thread")
    args = parser.parse_args()

    model = onnx.load(args.model)
    # Also infers all types and shapes, and compares them with those in the file.
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    form = {entry.key: entry.value for entry in model.metadata_props}["pixgen.form"]
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value

    vectors = read_safetensors(args.vectors)
    network = session(args.model)
    out = run(network, vectors, fixed or 32)
    difference = numpy.abs(out["pixels"].astype(int) - vectors["pixels"].astype(int))
    near, equal = (difference <= 1).mean(), (difference == 0).mean()
    text = f"{form}, {len(model.graph.node)} nodes, {len(vectors['class'])} pictures: "
    text += f"{100 * equal:.4f}% of bytes equal, {100 * near:.4f}% within 1 level, at most {difference.max()}"
    text += f", rms {numpy.sqrt((difference.astype(float) ** 2).mean()):.3f}"
    good = near >= args.levels and (form != "integer" or equal == 1)
    if "picture" in vectors:
        error = numpy.abs(out["picture"] - vectors["picture"]).max()
        text += f"; float: at most {error:.1e}"
        good = good and error <= 1e-4
    if not fixed:
        # A picture does not depend on its batch.
        alone = run(network, {name: values[:3] for name, values in vectors.items()}, 1)
        good = good and numpy.abs(alone["pixels"].astype(int) - out["pixels"][:3].astype(int)).max() <= (form != "integer")
    if args.time:
        text += f"; {milliseconds(session(args.model, 1), vectors):.2f} ms a picture, one thread"
    print(text + ("" if good else "  FAILED"))
    sys.exit(not good)


main()
