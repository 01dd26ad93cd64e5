"""Runs files of `pixgen-edge tflite` in LiteRT and TensorFlow Lite Micro, compares their pictures with those of pixgen-edge, and compiles
them with Arm's Vela.

    python3 -m venv venv && venv/bin/pip install numpy ai-edge-litert ethos-u-vela tflite-micro
    venv/bin/python tests/gen/tflite_check.py [--vela CYCLES] FILE.tflite ...

Beside each file lie pictures and their noise as `pixgen-edge onnx --form float|integer --vectors` writes them: FILE.float.safetensors,
and for a file of integers FILE.chip.safetensors; FILE.sigmoid.tflite, if there is one, is the same with GELU as x sigmoid(1.702 x). FILE
ends in -real for real numbers, and in -u85 for what only that Ethos-U computes. What must hold, in grey levels from the float network's own pictures:

    float    every byte within one level
    integer  in LiteRT's reference kernels a root mean square difference of at most 1.3 times that of the .pxg file, or, for colour, one
             level more; with the sigmoid form in TensorFlow Lite Micro within 0.3 of LiteRT's, or, for colour, 15 % where that is more:
             of sharp pictures a few pixels that flip are most of the difference
    --vela   no operator on the CPU of Ethos-U55-128, U65-256 and U85-256, and at most CYCLES cycles on the first
"""

import argparse
import json
import pathlib
import struct
import sys

import numpy
from ethos_u import vela

ETHOS_U = ("ethos-u55-128", "ethos-u65-256", "ethos-u85-256")
# Of trained models, on the first.
MOST_CYCLES = {"clothes-28": 1_500_000, "small-28-grey": 1_500_000, "nano-64-rgb": 14_000_000}
TYPES = {"F32": numpy.float32, "I64": numpy.int64, "U8": numpy.uint8, "I8": numpy.int8, "I16": numpy.int16}

def read_safetensors(path):
    """Tensors by name."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, about in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + at for at in about["data_offsets"])
            tensors[name] = numpy.frombuffer(data[begin:end], TYPES[about["dtype"]]).reshape(about["shape"])
    return tensors


def codes(values, scale, kind):
    """Real values as the numbers of a tensor."""
    if numpy.issubdtype(kind, numpy.floating):
        return values.astype(kind)
    limits = numpy.iinfo(kind)
    return numpy.clip(numpy.round(values / scale), limits.min, limits.max).astype(kind)


def picture_bytes(out):
    """Bytes [C, H, W] of what a graph puts out."""
    levels = out[0].transpose(2, 0, 1)
    if numpy.issubdtype(levels.dtype, numpy.floating):
        return numpy.clip(numpy.floor(levels + 0.5), 0, 255).astype(int)
    return levels.astype(int) + 128


class LiteRt:
    """LiteRT's reference kernels."""

    def __init__(self, path):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.it = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
        self.it.allocate_tensors()
        self.inputs = {about["name"]: about for about in self.it.get_input_details()}
        self.out = self.it.get_output_details()[0]["index"]

    def draw(self, values):
        for name, about in self.inputs.items():
            self.it.set_tensor(about["index"], codes(values[name].reshape(about["shape"]), about["quantization"][0], about["dtype"]))
        self.it.invoke()
        return picture_bytes(self.it.get_tensor(self.out))


class Micro:
    """TensorFlow Lite Micro."""

    def __init__(self, path):
        from tflite_micro import runtime

        self.it = runtime.Interpreter.from_file(str(path), arena_size=8 << 20)
        self.inputs = [self.it.get_input_details(number) for number in (0, 1)]

    def draw(self, values):
        for number, (name, about) in enumerate(zip(("noise", "class"), self.inputs)):
            scale = about["quantization_parameters"]["scales"][0]
            self.it.set_input(numpy.ascontiguousarray(codes(values[name].reshape(about["shape"]), scale, about["dtype"])), number)
        self.it.invoke()
        return picture_bytes(self.it.get_output(0))


def difference(runtime, vectors, classes):
    """Grey levels between a runtime's pictures and the float network's."""
    parts = []
    for noise, number, pixels in zip(vectors["noise"], vectors["class"], vectors["pixels"]):
        one_hot = numpy.arange(classes) == number
        drawn = runtime.draw({"noise": noise.transpose(1, 2, 0), "class": one_hot.astype(numpy.float32)})
        parts.append(drawn - pixels.astype(int))
    return numpy.array(parts)


def rms(levels):
    return float(numpy.sqrt((levels.astype(float) ** 2).mean()))


def check(path):
    """Whether a file does what it must, and the numbers."""
    vectors = read_safetensors(path.with_suffix(".float.safetensors"))
    runtime = LiteRt(path)
    classes = int(numpy.prod(runtime.inputs["class"]["shape"]))
    levels = difference(runtime, vectors, classes)
    ours = rms(levels)
    words = [f"{path.name}: {len(levels)} pictures, rms {ours:.3f}, mean {numpy.abs(levels).mean():.3f}, max {numpy.abs(levels).max()}"]
    if numpy.issubdtype(runtime.inputs["noise"]["dtype"], numpy.floating):
        return numpy.abs(levels).max() <= 1, words
    chip = read_safetensors(path.with_suffix(".chip.safetensors"))["pixels"].astype(int) - vectors["pixels"].astype(int)
    grey = chip.shape[1] == 1
    bound = 1.3 * rms(chip) if grey else rms(chip) + 1.0
    good = ours <= bound
    words.append(f".pxg {rms(chip):.3f}, ratio {ours / rms(chip):.2f}")
    sigmoid = path.with_suffix(".sigmoid.tflite")
    if sigmoid.exists():
        lite, micro = (rms(difference(kind(sigmoid), vectors, classes)) for kind in (LiteRt, Micro))
        good = good and abs(micro - lite) <= (0.3 if grey else max(0.3, 0.15 * lite))
        words.append(f"with the sigmoid GELU {lite:.3f}, in TensorFlow Lite Micro {micro:.3f}")
    return good, words


def compiled(path, most):
    """Whether Vela leaves nothing to the CPU, and the numbers."""
    good, words = True, []
    most = min([most] + [cycles for name, cycles in MOST_CYCLES.items() if path.stem.endswith(name)])
    for accelerator in ETHOS_U[-1:] if path.stem.endswith("-u85") else ETHOS_U:
        on_cpu, cycles, sram, flash = vela(path, accelerator)
        good = good and not on_cpu and (cycles <= most or accelerator != ETHOS_U[0])
        words.append(f"{accelerator} {cycles} cycles, SRAM {sram:.0f} KiB, flash {flash:.0f} KiB, on the CPU: {', '.join(on_cpu) or 'nothing'}")
    return good, words


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--vela", type=int, metavar="CYCLES", help="also compile, with at most so many cycles on Ethos-U55-128")
    parser.add_argument("--runs", action="store_true", help="only draw one picture of each, whatever it shows")
    args = parser.parse_args()
    if args.runs:
        for path in args.files:
            runtime = LiteRt(path)
            picture = runtime.draw({name: numpy.zeros(about["shape"]) for name, about in runtime.inputs.items()})
            print(f"{path.name}: runs, and its picture has a mean of {picture.mean():.1f}", flush=True)
        return
    failed = 0
    for path in args.files:
        good, words = check(path)
        if args.vela and not path.stem.endswith("-real"):
            fits, more = compiled(path, args.vela)
            good, words = good and fits, words + more
        failed += not good
        print("; ".join(words) + ("" if good else "  FAILED"), flush=True)
    print(f"{len(args.files) - failed} of {len(args.files)} files agree")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
