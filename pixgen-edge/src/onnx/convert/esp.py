"""Quantises a graph of `pixgen-edge onnx --target esp` with Espressif's esp-ppq, and compares its pictures with the float network's.

    python convert.py model.onnx esp32s3 [16|8]          writes model.espdl; needs esp-ppq 1.3.12, torch 2.1.2

16 bits were within two grey levels with the models that Pixgen comes with; 8 bits were off by 6 in the mean.
"""

import argparse
import pathlib
import shutil
import tempfile

parser = argparse.ArgumentParser()
parser.add_argument("graph", type=pathlib.Path, metavar="model.onnx")
parser.add_argument("chip", choices=("esp32s3", "esp32p4"))
# The tool takes any number of bits, and leaves the network in real numbers where it has no integers of that width.
parser.add_argument("bits", type=int, choices=(16, 8), nargs="?", default=16)
args = parser.parse_args()
graph, chip, bits = args.graph, args.chip, args.bits

import numpy
import torch
from esp_ppq.api import QuantizationSettingFactory, espdl_quantize_onnx
from esp_ppq.executor import TorchExecutor

folder = pathlib.Path(__file__).parent
arrays = [dict(numpy.load(folder / f"{number:02}.npz")) for number in range(30)]
inputs = [[torch.from_numpy(array) for array in picture.values()] for picture in arrays]
# In 16 bits the chip looks GELU up in tables. One value in 32, the tool's choice, is up to 4 grey levels off.
setting = QuantizationSettingFactory.espdl_setting(num_of_bits=bits)
setting.lut_optimization_setting.step = 4
with tempfile.TemporaryDirectory() as work:
    copy = shutil.copy(graph, work)  # the tool writes over the graph that it reads
    quantised = espdl_quantize_onnx(
        onnx_import_file=copy, espdl_export_file=str(graph.with_suffix(".espdl")), calib_dataloader=inputs, calib_steps=len(inputs),
        input_shape=[list(tensor.shape) for tensor in inputs[0]], inputs=inputs[0], target=chip, num_of_bits=bits, setting=setting, device="cpu",
        collate_fn=lambda picture: picture, error_report=False, export_test_values=False, verbose=0,
    )
executor, errors = TorchExecutor(quantised, device="cpu"), []
for picture, expected in zip(inputs, numpy.load(folder / "expected.npy")):
    levels = executor(picture)[0].detach().numpy().reshape(expected.shape)
    errors.append(numpy.clip(numpy.floor(levels + 0.5), 0, 255) - expected)
errors = numpy.abs(errors)
print(f"{chip}, {bits} bits: at most {errors.max():.0f} grey levels off, {errors.mean():.2f} in the mean of {len(errors)} pictures")
