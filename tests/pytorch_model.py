#!/usr/bin/env python3
"""docs/guides/model.py against float64 (tests/golden), and against the pictures that pixgen-train draws.

    tests/pytorch_model.py PIXGEN-TRAIN      needs torch, numpy and safetensors
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs/guides"))
import model as pixgen  # noqa: E402

LIMIT = 1e-5  # of the largest value, or of 1


def golden(name):
    """The configuration of a golden file, and its tensors by group."""
    groups = {}
    with safe_open(ROOT / f"tests/golden/{name}.safetensors", framework="pt") as file:
        for key in file.keys():
            group, rest = key.split(".", 1)
            groups.setdefault(group, {})[rest] = file.get_tensor(key)
        return json.loads(file.metadata()["config"]), groups


def write(config, params, content, parametrisation, path):
    """A model file as another program may write it: without a checksum."""
    header = {
        "format": 1, "content": content, "model": config["model"], "noise": config["noise"], "parametrisation": parametrisation,
        "normalisation": {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.4, 0.6]}, "projector": None, "ema": "raw", "images": 0, "seed": 0,
        "data": "", "class_names": [str(number) for number in range(config["model"]["classes"])],
    }
    save_file({name: value.contiguous() for name, value in params.items()}, path, metadata={"pixgen": json.dumps(header)})


def error(got, want):
    return float((got.double() - want.double()).abs().max() / max(1.0, float(want.double().abs().max())))


def forward(name, folder):
    """F and D of each golden input; the largest error."""
    config, groups = golden(name)
    path = folder / f"{name}.safetensors"
    write(config, groups["param"], "generator", "edm", path)
    model, inputs, worst = pixgen.load(path), groups["in"], 0.0
    for i, t in enumerate(inputs["t"].double().tolist()):
        x, classes = inputs["x_t"][i : i + 1], inputs["classes"][i : i + 1]
        with torch.no_grad():
            worst = max(worst, error(model.network(x, t, classes), groups["out"]["F"][i : i + 1]))
            worst = max(worst, error(model.denoise(x, t, classes), groups["out"]["D"][i : i + 1]))
    return worst


def pictures(program, name, content, parametrisation, steps, folder):
    """Bytes that differ from those of pixgen-train: how many, and by how much at most."""
    config, groups = golden(name)
    path, out = folder / f"{name}-{content}-{parametrisation}.safetensors", folder / f"{name}-{content}-{parametrisation}-{steps}.npz"
    write(config, groups["param"], content, parametrisation, path)
    count, classes = 24, config["model"]["classes"]
    command = [program, "sample", path, "--seed", "7", "--count", count, "--steps", steps, "--out", out]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    model = pixgen.load(path)
    got = model.to_bytes(model.draw(7, [number % classes for number in range(count)], steps=steps)).numpy().astype(int)
    difference = np.abs(got - np.load(out)["arr_0"][..., : got.shape[-1]].astype(int))
    return int((difference > 0).sum()), int(difference.max()), difference.size


def main(program):
    known = np.array([152_316, 74_994, 47_976, -52_484, 74_161, -1_399]) / 65536
    assert (pixgen.gaussians(42, pixgen.LATENT, 0, 6) == known).all(), "the generator gives other numbers"
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name in ("tiny_a", "tiny_b"):
            worst = forward(name, folder)
            print(f"{name}: max relative error {worst:.1e} against float64")
            assert worst < LIMIT
            for content, parametrisation, steps in [
                ("generator", "edm", 1), ("generator", "plain-x", 2), ("denoiser", "plain-x", 1), ("denoiser", "plain-x", 6),
            ]:
                wrong, most, size = pictures(program, name, content, parametrisation, steps, folder)
                print(f"{name}, {content}, {parametrisation}, {steps} steps: {wrong} of {size} bytes differ, by at most {most}")
                # A value at the edge between two bytes may fall on either side.
                assert most <= 1 and wrong <= size // 1000


if __name__ == "__main__":
    main(sys.argv[1])
