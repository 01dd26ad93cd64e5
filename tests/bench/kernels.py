#!/usr/bin/env python3
"""Times the integer engine's kernels on this machine against the same network in onnxruntime and in LiteRT, in float and in int8, one thread,
in turns: the tables of docs/results/performance.md, "Drawing on a PC".

    cargo build --release -p pixgen-edge --bins --example time_kernels --example random_models
    target/release/examples/random_models models small-28-grey base-32-rgb nano-64-rgb
    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 onnxruntime==1.32.0 ai-edge-litert==2.3.0
    venv/bin/python tests/bench/kernels.py target/release models/*.safetensors

Each model is exported to .pxg (ranges of 16 pictures, on which the speed does not depend), to ONNX graphs (float and QDQ) and to TensorFlow
Lite files (float, and the integers of an Ethos-U), which LiteRT runs with XNNPACK where it can, its default. In every round each kernel and
each runtime draw a few pictures; the table has the best and the median over all rounds, and the ratios of the bests to those of the float
graphs. Only the kernels' time has the noise. The ONNX graphs end in bytes as the kernels do, the TensorFlow Lite files in levels.
"""

import argparse
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy
import onnxruntime
from ai_edge_litert.interpreter import Interpreter


def noise(shape):
    return numpy.random.default_rng(1).standard_normal(shape).astype(numpy.float32)


def in_onnxruntime(path):
    """Draws a picture of class 1."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    shape = [1] + next(i for i in session.get_inputs() if i.name == "noise").shape[1:]
    values = {"noise": noise(shape), "class": numpy.ones(1, numpy.int64)}
    return lambda: session.run(None, values)


def in_litert(path):
    """Draws a picture of class 1."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    inputs = {about["name"]: about for about in interpreter.get_input_details()}
    one_hot = numpy.zeros(inputs["class"]["shape"], numpy.float32)
    one_hot[..., 1] = 1
    values = [(about["index"], stored(value, about)) for about, value in [
        (inputs["noise"], noise(inputs["noise"]["shape"])),
        (inputs["class"], one_hot),
    ]]
    pixels = interpreter.get_output_details()[0]["index"]

    def draw():
        for index, value in values:
            interpreter.set_tensor(index, value)
        interpreter.invoke()
        return interpreter.get_tensor(pixels)

    return draw


def stored(values, about):
    """Real numbers as an input of a file holds them."""
    scale, zero = about["quantization"]
    if not scale:
        return values
    ends = numpy.iinfo(about["dtype"])
    return numpy.clip(numpy.round(values / scale) + zero, ends.min, ends.max).astype(about["dtype"])


def milliseconds(draw):
    start = time.perf_counter()
    draw()
    return (time.perf_counter() - start) * 1e3


def measure(target, pxg, runtimes, rounds, pictures):
    program = [str(target / "examples" / "time_kernels"), str(pxg)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as kernels:
        times = {name: [] for name in [*kernels.stdout.readline().split(), *runtimes]}
        for _ in range(rounds):
            for name in times:
                if name in runtimes:
                    times[name] += [milliseconds(runtimes[name]) for _ in range(pictures)]
                    continue
                print(name, pictures, file=kernels.stdin, flush=True)
                times[name] += [float(t) for t in kernels.stdout.readline().split()]
        kernels.stdin.close()
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=pathlib.Path, help="folder of the built programs, target/release")
    parser.add_argument("models", nargs="+", type=pathlib.Path, help="model.safetensors")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--pictures", type=int, default=5, help="pictures of each in a round")
    arguments = parser.parse_args()
    edge = str(arguments.target / "pixgen-edge")
    print("| model | kernel | best ms | median ms | best / onnxruntime's | best / LiteRT's |\n|---|---|---|---|---|---|")
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            def file(name, *command):
                path = pathlib.Path(folder) / name
                subprocess.run([edge, *command, model, "-o", path], check=True, capture_output=True)
                return path

            pxg = file("model.pxg", "export", "--pictures", "16")
            runtimes = {
                "onnxruntime": in_onnxruntime(file("float.onnx", "onnx")),
                "LiteRT": in_litert(file("float.tflite", "tflite", "--form", "float")),
                "onnxruntime, QDQ": in_onnxruntime(file("qdq.onnx", "onnx", "--form", "qdq")),
                "LiteRT, integers": in_litert(file("integer.tflite", "tflite")),
            }
            times = measure(arguments.target, pxg, runtimes, arguments.rounds, arguments.pictures)
        for name, ms in times.items():
            ratios = " | ".join(f"{min(ms) / min(times[runtime]):.2f}" for runtime in ["onnxruntime", "LiteRT"])
            print(f"| {model.stem} | {name} | {min(ms):.3f} | {statistics.median(ms):.3f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
