#!/usr/bin/env python3
"""Writes the PyTorch files of tests/golden/pytorch/ and what they hold, for the tests of the reader.

Usage: python3 tests/gen/pytorch_files.py            write the files (needs torch and safetensors)
       python3 tests/gen/pytorch_files.py FILE.pth   write FILE.safetensors, to be compared with the program's conversion

zip.pth, old.pth   the same dict in the format of PyTorch 1.6 and later and in the one before it
want.safetensors   each tensor of it as tensor.contiguous().float(), named by its keys joined by dots
"""

import argparse
import collections
import pathlib
import sys

import torch
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "golden" / "pytorch"


def contents():
    """Every number type; strides, offsets and shared storages; dicts in dicts and lists; things that are no tensors."""
    torch.manual_seed(1)
    base = torch.randn(6, 8)
    state = collections.OrderedDict()
    state["conv.weight"] = torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last)
    # The strides of a TensorFlow kernel, [height, width, in, out], as PyTorch sees it.
    state["stem.weight"] = torch.randn(3, 3, 2, 4).permute(3, 2, 0, 1)
    state["transposed"] = base.t()
    state["window"] = base[2:5, 1:7:2]
    state["whole"] = base
    state["expanded"] = torch.tensor([1.5, -2.0]).unsqueeze(1).expand(2, 3)
    state["one_row"] = base[3:4]
    state["parameter"] = torch.nn.Parameter(torch.randn(5))
    state["num_batches_tracked"] = torch.tensor(123456789)
    state["none"] = torch.zeros(0, 4)
    types = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
    for dtype in types:
        name = str(dtype).removeprefix("torch.")
        values = torch.tensor([0, 1, 2, 3, 100, 127]) if dtype == torch.uint8 else torch.tensor([0, -1, 2, -3, 100, -128])
        state[name] = values.to(dtype).reshape(2, 3).t()
    state["bool"] = torch.tensor([True, False, True])
    state["half.exact"] = torch.randn(7).to(torch.float16)
    state._metadata = collections.OrderedDict(version=1)
    ema = collections.OrderedDict((name, state[name].clone()) for name in ("whole", "parameter"))
    return {
        "model": state,
        "ema": ema,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2, 2), "step": 5}}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        "list": [torch.arange(3), (torch.arange(2), None)],
        "args": argparse.Namespace(lr=0.1, name="x", many=list(range(300))),
        "epoch": 12,
        "big": 1 << 70,
        "loss": 0.25,
    }


def flatten(value, keys=()):
    """Names and tensors in dicts, lists and tuples."""
    if isinstance(value, torch.Tensor):
        yield ".".join(keys) or "tensor", value.detach()
    elif isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from flatten(item, (*keys, str(key)))


def save(value, path):
    """The tensors as another program sees them."""
    save_file({name: tensor.contiguous().float().clone() for name, tensor in flatten(value)}, path)
    print(path, path.stat().st_size, "bytes")


def main():
    if len(sys.argv) == 2:
        path = pathlib.Path(sys.argv[1])
        save(torch.load(path, map_location="cpu", weights_only=True), path.with_suffix(".safetensors"))
        return
    FOLDER.mkdir(exist_ok=True)
    value = contents()
    for name, zipped in (("zip", True), ("old", False)):
        torch.save(value, FOLDER / f"{name}.pth", _use_new_zipfile_serialization=zipped)
    save(value, FOLDER / "want.safetensors")


if __name__ == "__main__":
    main()
