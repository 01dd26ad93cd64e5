"""Converts a graph of `pixgen-edge onnx --target rknn` with Rockchip's rknn-toolkit2, and compares pictures of its simulator with the
float network's.

    python convert.py model.onnx rk3588 [float|w8a8|w16a16i_dfp]          writes model.rknn; needs Python 3.10,
                                                                rknn-toolkit2 2.5.0, torch 1.12.1

float is what RK3588, RK3576, RK3562 and RV1126B compute in 16 bits, and the best; integers of 16 bits are for RK3576.
"""

import argparse
import os
import sys

parser = argparse.ArgumentParser()
parser.add_argument("graph", type=os.path.abspath, metavar="model.onnx")
parser.add_argument("chip")
parser.add_argument("form", nargs="?", default="float")
args = parser.parse_args()
graph, chip, form = args.graph, args.chip, args.form

import numpy
from rknn.api import RKNN

os.chdir(os.path.dirname(os.path.abspath(__file__)))  # the list names files of this folder
with open("dataset.txt") as file:
    lines = [line.split() for line in file]

rknn = RKNN()
rknn.config(target_platform=chip, **({} if form == "float" else {"quantized_dtype": form}))
if rknn.load_onnx(model=graph) or rknn.build(do_quantization=form != "float", dataset="dataset.txt"):
    sys.exit("the graph was not converted")
if rknn.export_rknn(os.path.splitext(graph)[0] + ".rknn") or rknn.init_runtime():
    sys.exit("the file was not written, or the simulator does not start")
errors = []
for names, picture in zip(lines, numpy.load("expected.npy")):
    inputs = [numpy.load(name) for name in names]
    levels = rknn.inference(inputs=inputs, data_format=["undefined"] * len(inputs))[0]
    errors.append(numpy.clip(numpy.floor(levels.reshape(picture.shape) + 0.5), 0, 255) - picture)
errors = numpy.abs(errors)
print(f"{chip}, {form}: at most {errors.max():.0f} grey levels off, {errors.mean():.2f} in the mean of {len(errors)} pictures")
