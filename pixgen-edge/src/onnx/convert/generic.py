"""Runs a graph of `pixgen-edge onnx --target generic` in onnxruntime and compares its pictures with the float network's.

    python check.py model.onnx          needs numpy and onnxruntime

The files beside this one are inputs to find the ranges of a quantiser with (00.npz to 29.npz), and the pictures to expect (expected.npy).
"""

import argparse
import pathlib
import sys

parser = argparse.ArgumentParser()
parser.add_argument("graph", metavar="model.onnx")
graph = parser.parse_args().graph

import numpy
import onnxruntime

folder = pathlib.Path(__file__).parent
session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
expected = numpy.load(folder / "expected.npy")
errors = []
for number, picture in enumerate(expected):
    (levels,) = session.run(None, dict(numpy.load(folder / f"{number:02}.npz")))
    errors.append(numpy.clip(numpy.floor(levels[0] + 0.5), 0, 255) - picture)
errors = numpy.abs(errors)
print(f"{len(errors)} pictures: at most {errors.max():.0f} grey levels off, {errors.mean():.4f} in the mean")
sys.exit(bool(errors.max() > 1))
