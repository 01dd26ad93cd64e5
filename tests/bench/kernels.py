#!/usr/bin/env python3
"""Times the integer engine's kernels on this machine against onnxruntime's float, one thread, in turns: the table of
docs/results/performance.md, "Drawing on a PC".

    cargo build --release -p pixgen-edge --bins --example time_kernels --example random_models
    target/release/examples/random_models models small-28-grey nano-64-rgb
    python3 -m venv venv && venv/bin/pip install onnxruntime==1.32.0
    venv/bin/python tests/bench/kernels.py target/release models/*.safetensors

Each model is exported to .pxg and to a float ONNX graph. In every round each kernel and onnxruntime draw a few pictures; the table has the
best and the median over all rounds, and the ratio of the bests. onnxruntime's time has neither noise nor the conversion to bytes.
"""

import argparse
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy
import onnxruntime


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feed(inputs):
    random = numpy.random.default_rng(1)
    shape = lambda i: [d if isinstance(d, int) else 1 for d in i.shape]
    return {
        i.name: random.standard_normal(shape(i)).astype(numpy.float32) if "float" in i.type else numpy.ones(shape(i), numpy.int64)
        for i in inputs
    }


def onnx_times(model, values, count):
    times = []
    for _ in range(count):
        start = time.perf_counter()
        model.run(None, values)
        times.append((time.perf_counter() - start) * 1e3)
    return times


def measure(target, pxg, onnx, rounds, pictures):
    program = [str(target / "examples" / "time_kernels"), str(pxg)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as kernels:
        times = {name: [] for name in kernels.stdout.readline().split()}
        float_model = session(str(onnx))
        values = feed(float_model.get_inputs())
        times["onnxruntime"] = []
        for _ in range(rounds):
            for name in times:
                if name == "onnxruntime":
                    times[name] += onnx_times(float_model, values, pictures)
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
    print("| model | kernel | best ms | median ms | best / onnxruntime's |\n|---|---|---|---|---|")
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            pxg, onnx = (pathlib.Path(folder) / f"model.{form}" for form in ["pxg", "onnx"])
            edge = str(arguments.target / "pixgen-edge")
            subprocess.run([edge, "export", model, "-o", pxg], check=True, capture_output=True)
            subprocess.run([edge, "onnx", model, "-o", onnx], check=True, capture_output=True)
            times = measure(arguments.target, pxg, onnx, arguments.rounds, arguments.pictures)
        float_best = min(times["onnxruntime"])
        for name, ms in times.items():
            best = min(ms)
            print(f"| {model.stem} | {name} | {best:.3f} | {statistics.median(ms):.3f} | {best / float_best:.2f} |", flush=True)


if __name__ == "__main__":
    main()
