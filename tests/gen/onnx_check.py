"""Runs graphs of `pixgen-edge onnx` in onnxruntime and compares them with the pictures that pixgen-edge drew itself.

    python3 -m venv venv && venv/bin/pip install numpy onnx onnxruntime
    venv/bin/python tests/gen/onnx_check.py [--time] GRAPH.onnx ...
    qemu-x86_64 -cpu Haswell venv/bin/python tests/gen/onnx_check.py --saturating NAME-7bits.onnx

Beside each graph lies what `--vectors GRAPH.safetensors` wrote, and beside a graph of integers, NAME-qdq.onnx, NAME-7bits.onnx or
NAME-integer.onnx, those of its float graph, NAME-float.safetensors, with the same noise. Structure, types and shapes are checked by onnx itself. What must hold:

    float    values within 1e-4; 99.9 % of the bytes within one grey level
    qdq      a root mean square difference from the float pictures of at most 1.3 times a chip's: rounding, softmax, GELU and norms are not a
             chip's, so that the bytes are others
    integer  every byte, and at most five grey levels (root mean square) from the float pictures, where those are there
    targets  99.9 % of the bytes of the pictures that `--calibration GRAPH.calibration` expects, and the others within one level

A qdq graph with weights of 7 bits is for processors whose products saturate, and for all others: it is held to twice a chip's difference, at
every level of optimisation and without the option below. `--saturating` says that the processor, or the one that is emulated, is one of the
former: the graph of 8 bits, NAME-qdq.onnx, must then miss that bound.

On x86-64 with AVX2 or AVX-512 but without VNNI, onnxruntime multiplies signed bytes with an instruction that saturates in 16 bits
(vpmaddubsw), and a graph then draws other pictures. Its option `session.x64quantprecision` takes products that do not, and changes
nothing on other processors. It is set here, so that the check asks for the same on every machine; the first line names the processor.
"""

import argparse
import json
import pathlib
import platform
import struct
import sys
import time

import numpy
import onnx
import onnxruntime

TYPES = {"F32": numpy.float32, "I64": numpy.int64, "U8": numpy.uint8}


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


def processor():
    """Model of the processor, and which vector instructions for int8 products it has."""
    machine = platform.machine()
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{machine}, instructions unknown"
    about = {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon}
    flags = about.get("flags", about.get("Features", "")).split()
    names = ("avx2", "avx512f", "avx512_vnni", "avx_vnni") if machine == "x86_64" else ("asimddp", "i8mm")
    return ", ".join([machine, about.get("model name", "unknown model")] + [f"{name}: {'yes' if name in flags else 'no'}" for name in names])


LEVELS = onnxruntime.GraphOptimizationLevel
ALL_LEVELS = (LEVELS.ORT_DISABLE_ALL, LEVELS.ORT_ENABLE_BASIC, LEVELS.ORT_ENABLE_EXTENDED, LEVELS.ORT_ENABLE_ALL)
MOST_7_BITS = 2  # times a chip's difference from the float pictures


def open_session(path, threads=0, optimised=None):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if optimised is None:
        options.add_session_config_entry("session.x64quantprecision", "1")
    else:
        options.graph_optimization_level = optimised
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(session, vectors, batch):
    """Outputs by name, computed `batch` pictures at a time."""
    names = [output.name for output in session.get_outputs()]
    parts = []
    for first in range(0, len(vectors["class"]), batch):
        part = slice(first, first + batch)
        parts.append(session.run(names, {name: vectors[name][part] for name in ("noise", "class")}))
    return {name: numpy.concatenate(values) for name, values in zip(names, zip(*parts))}


def milliseconds(session, vectors):
    """Processor time of a picture: the median of some runs."""
    feed = {name: vectors[name][:1] for name in ("noise", "class")}
    times = []
    for _ in range(200):
        start = time.process_time()
        session.run(None, feed)
        times.append(time.process_time() - start)
    return 1000 * sorted(times)[len(times) // 2]


def check_target(path, metadata):
    """The same for a graph for the tool chain of an accelerator, whose inputs lie in a folder."""
    folder = path.with_suffix(".calibration")
    if metadata["pixgen.target"] == "rknn":
        lines = [line.split() for line in (folder / "dataset.txt").read_text().splitlines()]
        names = [value.name for value in onnx.load(path).graph.input]
        feeds = [dict(zip(names, (numpy.load(folder / name) for name in line))) for line in lines]
    else:
        feeds = [dict(numpy.load(folder / f"{number:02}.npz")) for number in range(30)]
    session = open_session(path)
    levels = numpy.concatenate([session.run(["levels"], feed)[0] for feed in feeds])
    difference = numpy.abs(numpy.clip(numpy.floor(levels + 0.5), 0, 255) - numpy.load(folder / "expected.npy"))
    numbers = {"equal": (difference == 0).mean(), "near": (difference <= 1).mean(), "most": int(difference.max())}
    numbers |= {"rms": numpy.sqrt((difference**2).mean()), "error": 0.0}
    return metadata["pixgen.target"], numbers["equal"] >= 0.999 and numbers["most"] <= 1, numbers, f"{len(difference)} pictures"


def rms(a, b):
    """Root mean square of the grey levels between two sets of pictures."""
    return numpy.sqrt(((a["pixels"].astype(float) - b["pixels"]) ** 2).mean())


def greatest_rms(path, levels, vectors, real, batch):
    """The greatest difference of a graph's pictures from the float ones at some levels of optimisation."""
    return max(rms(run(open_session(path, optimised=level), vectors, batch), real) for level in levels)


def check_saturating(path, pictures=2):
    """Whether a graph of 7 bits draws well where products saturate, by few pictures: an emulated processor is slow."""
    eight = path.with_name(path.name.replace("-7bits", "-qdq"))
    vectors, real = (
        {name: values[:pictures] for name, values in read_safetensors(file).items()}
        for file in (path.with_suffix(".safetensors"), path.with_name(path.name.replace("-7bits.onnx", "-float.safetensors")))
    )
    chip = rms(vectors, real)
    times = [greatest_rms(graph, levels, vectors, real, pictures) / chip for graph, levels in ((path, ALL_LEVELS), (eight, ALL_LEVELS[-1:]))]
    good = times[0] <= MOST_7_BITS < times[1]
    print(f"{path.name}, where products saturate: at most {times[0]:.2f} times a chip's difference from the float pictures, "
          f"{eight.name} {times[1]:.2f} times{'' if good else '  FAILED'}")
    return good


def check_integers(path, metadata, vectors, out, numbers, fixed):
    """Form, and whether a graph of integers is close enough; `vectors` hold a chip's pictures."""
    form, beside = metadata["pixgen.form"], path.with_name(f"{path.stem.rpartition('-')[0]}-float.safetensors")
    real = read_safetensors(beside) if beside.exists() else None
    if form == "integer":
        return form, numbers["equal"] == 1 and (real is None or rms(out, real) <= 8)
    if real is None or not (real["noise"] == vectors["noise"]).all():
        sys.exit(f"{path}: needs {beside}, with the same --count and --seed")
    chip, most = rms(vectors, real), 1.3
    if metadata.get("pixgen.weight_bits") == "7":
        numbers["rms"] = greatest_rms(path, ALL_LEVELS, vectors, real, fixed or 32)
        form, most = "qdq, 7 bits", MOST_7_BITS
    else:
        numbers["rms"] = rms(out, real)
    numbers["times"] = numbers["rms"] / chip
    return form, numbers["times"] <= most


def check(path, timed):
    """Form, whether all is well, and the numbers of one graph."""
    model = onnx.load(path)
    # Also infers all types and shapes, and compares them with those in the file.
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if "pixgen.target" in metadata:
        return check_target(path, metadata)
    form = metadata["pixgen.form"]
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    vectors = read_safetensors(path.with_suffix(".safetensors"))
    out = run(open_session(path), vectors, fixed or 32)

    def levels(a, b):
        return numpy.abs(a["pixels"].astype(int) - b["pixels"].astype(int))

    difference = levels(out, vectors)
    numbers = {
        "equal": (difference == 0).mean(),
        "near": (difference <= 1).mean(),
        "rms": numpy.sqrt((difference.astype(float) ** 2).mean()),
        "most": difference.max(),
        "error": numpy.abs(out["picture"] - vectors["picture"]).max() if "picture" in vectors else 0.0,
    }
    if form == "float":
        good = "picture" in vectors and numbers["error"] <= 1e-4 and numbers["near"] >= 0.999
    else:
        form, good = check_integers(path, metadata, vectors, out, numbers, fixed)
    if not fixed:
        # A picture does not depend on those beside it.
        alone = run(open_session(path), {name: values[:3] for name, values in vectors.items()}, 1)
        first = {name: values[:3] for name, values in out.items()}
        good = good and levels(alone, first).max() <= (form != "integer")
    about = f"{len(model.graph.node)} nodes, {len(difference)} pictures"
    if timed:
        about += f", {milliseconds(open_session(path, 1), vectors):.2f} ms a picture on one thread"
    return form, good, numbers, about


def text(numbers):
    words = f"{100 * numbers['equal']:8.4f}% of bytes equal, {100 * numbers['near']:8.4f}% within 1 level, at most {numbers['most']}, "
    words += f"rms {numbers['rms']:.3f}"
    if "times" in numbers:
        words += f" from the float pictures, {numbers['times']:.2f} times a chip's"
    return words + (f", values within {numbers['error']:.1e}" if numbers["error"] else "")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("graphs", nargs="+", type=pathlib.Path)
    parser.add_argument("--time", action="store_true", help="also time a picture on one thread")
    parser.add_argument("--saturating", action="store_true", help="only show that graphs of 7 bits cure the saturation of this processor")
    args = parser.parse_args()
    if args.saturating:
        sys.exit(not all([check_saturating(path) for path in args.graphs]))
    print(f"processor: {processor()}")
    failed, worst = 0, {}
    for path in args.graphs:
        form, good, numbers, about = check(path, args.time)
        failed += not good
        print(f"{path.name}: {form}, {about}: {text(numbers)}{'' if good else '  FAILED'}")
        of_form = worst.setdefault(form, [])
        of_form.append(numbers)
    for form, all_numbers in worst.items():
        least = {key: min(n[key] for n in all_numbers) for key in ("equal", "near")}
        most = {key: max(n[key] for n in all_numbers) for key in ("rms", "most", "error", "times") if key in all_numbers[0]}
        print(f"worst of {len(all_numbers):2} | {form:7} | {text(least | most)}")
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}: {len(args.graphs) - failed} of {len(args.graphs)} graphs agree")
    sys.exit(failed > 0)


main()
