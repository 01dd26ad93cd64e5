"""How good the pictures of `pixgen-edge tflite` are beside those of a .pxg file: the table of docs/guides/onto-an-accelerator.md.

    venv/bin/python tests/gen/accelerator_quality.py BUILT [MODEL.safetensors...] [--count 1000] [--micro 200]

Needs a Python as for tflite_check.py, for faces also `pixgen-train data get efficientnet-lite0`, and ten minutes for each model; without models
all trained ones of the repository.

BUILT has `pixgen-edge`, `pixgen-train` and the example `measure_clothes`. Of each model: the same pictures by the
float network, from the .pxg file, by LiteRT's reference kernels, and the first of them by TensorFlow Lite Micro. For each set the difference
from the float pictures in grey levels (root mean square), the Fréchet distance from real pictures, and, for clothes, the share that shows the
class that was asked for. Faces have no classifier.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
from tflite_check import LiteRt, Micro, read_safetensors, rms

MODELS = pathlib.Path(__file__).parents[2] / "firmware-examples/models"
FORMS = {
    "tflite": [],
    "tflite, u85": ["--npu", "u85"],
    "tflite, float": ["--form", "float"],
    "tflite, sigmoid, in TensorFlow Lite Micro": ["--gelu", "sigmoid"],
}
SEED = 1_000_000


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def sets(built, model, work, count, micro):
    """Name and pictures [N, H, W, C] of each way to draw."""
    vectors = {}
    for form in ("float", "integer"):
        path = work / f"{form}.safetensors"
        run(built / "pixgen-edge", "onnx", model, "--form", form, "-o", work / "unused.onnx", "--vectors", path, "--count", count, "--seed", SEED)
        vectors[form] = read_safetensors(path)
    for name, form in (("float", "float"), (".pxg", "integer")):
        yield name, vectors[form]["pixels"].transpose(0, 2, 3, 1)
    noise, classes = vectors["float"]["noise"].transpose(0, 2, 3, 1), vectors["float"]["class"]
    for name, flags in FORMS.items():
        path = work / "model.tflite"
        run(built / "pixgen-edge", "tflite", model, "-o", path, *flags)
        runtime = (Micro if "Micro" in name else LiteRt)(path)
        one_hot = numpy.eye(classes.max() + 1, dtype=numpy.float32)
        drawn = [
            runtime.draw({"noise": noise[number], "class": one_hot[classes[number]]}).transpose(1, 2, 0)
            for number in range(micro if "Micro" in name else count)
        ]
        yield name, numpy.array(drawn, numpy.uint8)


def measured(built, model, pictures, work):
    """Fréchet distance and, for clothes, the share of the class that was asked for."""
    if pictures.shape[1:] == (28, 28, 1):
        path = work / "pictures.bin"
        path.write_bytes(pictures.tobytes())
        _, _, distance, share = run(built / "examples/measure_clothes", path).split()
        return distance, f"{100 * float(share):.1f} %"
    path = work / "pictures.npz"
    numpy.savez(path, arr_0=pictures)
    report = run(built / "pixgen-train", "eval", "--folder", path, "--against", "bundled:avatars", "--size", 32, "--reference-count", 2000, "--json")
    return f"{json.loads(report)['rows'][0]['generated']['frechet']:.1f}", ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("built", type=pathlib.Path)
    parser.add_argument("models", type=pathlib.Path, nargs="*", default=sorted(MODELS.glob("*.safetensors")))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--micro", type=int, default=200)
    args = parser.parse_args()
    print("| model | drawn by | pictures | rms | Fréchet distance | class asked for |\n|---|---|---|---|---|---|")
    for model in args.models:
        with tempfile.TemporaryDirectory() as work:
            work, real = pathlib.Path(work), None
            for name, pictures in sets(args.built, model, work, args.count, args.micro):
                real = pictures if real is None else real
                levels = rms(pictures.astype(float) - real[: len(pictures)])
                distance, share = measured(args.built, model, pictures, work)
                print(f"| {model.stem} | {name} | {len(pictures)} | {levels:.2f} | {distance} | {share} |", flush=True)


main()
