#!/usr/bin/env python3
"""Writes tests/golden/feature_networks.safetensors: features of EfficientNet-Lite0 and Inception with weights by formula, and resized images.

The networks are other people's: package efficientnet_lite_pytorch, and torch-fidelity's FeatureExtractorInceptionV3 with its own
resizing. Images are resized by PIL in mode F and by torch-fidelity's copy of TensorFlow 1. Weights and images come from the project's
generator, so that the test makes them again and only features are stored.

Usage: python3 tests/gen/feature_networks_golden.py
(efficientnet_lite_pytorch 0.1.0, torch-fidelity 0.4.0, torch 2.15.0, torchvision 0.29.2, Pillow 13.0.0, numpy 2.4.6)
"""
import pathlib
import tempfile
import zlib
from unittest import mock

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from safetensors.numpy import save_file
from torch_fidelity import feature_extractor_inceptionv3 as fid
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from philox import uniform, words

SEED = 5


def weight(name, shape):
    """A tensor that keeps features of ordinary size through many layers."""
    u = uniform(SEED, zlib.crc32(name.encode()), int(np.prod(shape))).reshape(shape)
    if name.endswith("running_var"):
        return u + np.float32(0.5)
    if name.endswith("running_mean") or name.endswith("bias"):
        return (u - np.float32(0.5)) * np.float32(0.25)
    if len(shape) == 1:
        return u + np.float32(0.5)
    return (2 * u - 1) * np.float32(np.sqrt(6 / np.prod(shape[1:])))


def fill(module):
    state = module.state_dict()
    values = {name: torch.from_numpy(weight(name, tuple(t.shape))) for name, t in state.items() if t.dtype == torch.float32}
    return {**state, **values}


def images(stream, n, height, width, channels):
    """Squares of 8 x 8 pixels of random bytes: n x height x width x channels."""
    rows, columns = -(-height // 8), -(-width // 8)
    squares = (words(SEED, stream, np.arange(n * rows * columns * channels)) >> np.uint32(24)).astype(np.uint8)
    squares = squares.reshape(n, rows, columns, channels)
    return squares.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]


def planes(pictures):
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))


def efficientnet(pictures):
    net = EfficientNet.from_name("efficientnet-lite0").eval()
    net.load_state_dict(fill(net))
    # Its own padding is for 224 pixels; the same rule for the size at hand.
    from efficientnet_lite_pytorch.utils import Conv2dDynamicSamePadding

    for module in net.modules():
        if hasattr(module, "static_padding"):
            module.__class__ = Conv2dDynamicSamePadding
    found = {}
    for name, module in [("40", net._blocks[4]), ("112", net._blocks[10])]:
        module.register_forward_hook(lambda _, __, out, name=name: found.update({name: out.mean((2, 3))}))
    net._avg_pooling.register_forward_hook(lambda _, __, out: found.update({"1280": out[:, :, 0, 0]}))
    found["logits"] = net((planes(pictures).float() - 127) / 128)
    return found


def inception(pictures):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "weights.pth"
        # The class loads a file while it is built; its own shapes make one.
        with mock.patch.object(fid.FeatureExtractorInceptionV3, "load_state_dict"), mock.patch.object(fid.torch, "load"):
            empty = fid.FeatureExtractorInceptionV3("empty", ["2048"], feature_extractor_weights_path="none")
        torch.save(fill(empty), path)
        layers = ["64", "192", "768", "2048", "logits"]
        net = fid.FeatureExtractorInceptionV3("fid", layers, feature_extractor_weights_path=path)
        return dict(zip(layers, net(planes(pictures))))


def pil(picture, side):
    """clean-fid's resizing: each channel as floats, limited to bytes' range."""
    channels = [Image.fromarray(picture[:, :, c].astype(np.float32)) for c in range(picture.shape[2])]
    assert all(channel.mode == "F" for channel in channels)
    resized = [np.asarray(channel.resize((side, side), Image.Resampling.BICUBIC)).clip(0, 255) for channel in channels]
    return np.stack(resized, axis=2)


def tensorflow(picture, side):
    resized = interpolate_bilinear_2d_like_tensorflow1x(planes(picture[None]).float(), size=(side, side), align_corners=False)
    return resized[0].numpy().transpose(1, 2, 0)


if __name__ == "__main__":
    torch.manual_seed(0)
    out = {}
    with torch.no_grad():
        for name, values in efficientnet(images(1, 2, 64, 64, 3)).items():
            out[f"efficientnet.{name}"] = values.numpy()
        for name, values in inception(images(2, 1, 48, 40, 3)).items():
            out[f"inception.{name}"] = values.numpy()
    for number, (height, width, side) in enumerate([(23, 17, 32), (61, 40, 19)]):
        picture = images(3 + number, 1, height, width, 3)[0]
        out[f"pil.{number}"] = pil(picture, side)
        out[f"tensorflow.{number}"] = tensorflow(picture, side)
    for name, values in out.items():
        print(f"{name:24} {str(values.shape):16} mean {values.mean():10.4f} std {values.std():10.4f} max {np.abs(values).max():10.4f}")
    path = pathlib.Path(__file__).parent.parent / "golden" / "feature_networks.safetensors"
    save_file({name: np.ascontiguousarray(values, dtype=np.float32) for name, values in out.items()}, path)
    print(path.stat().st_size, "bytes")
