#!/usr/bin/env python3
"""A Pixgen model in PyTorch: loads `model.safetensors` and draws the pictures that `pixgen-train sample` draws.

    python3 model.py model.safetensors --seed 7 --classes 9 1 1 --steps 1 --out pictures.npy

As a module:  model = load("model.safetensors"); pictures = model.draw(seed=7, classes=[9, 1, 1])
Needs torch (1.13 or newer), numpy and safetensors; no other file of Pixgen. Sections are those of docs/reference/method.md.
"""
import argparse
import json
import os
from statistics import NormalDist

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn

LATENT, RENOISE = 1, 2  # what a stream of random numbers is for
MIDDLE_LEVEL = 0.821  # between two steps of a one-step generator, before the shift


# --- noise: the standard Gaussians of (seed, number), bit for bit (docs/reference/numerics.md section 1) ---
def _quantiles(cells=64, octaves=32):
    """The normal distribution's z at tail probabilities p from 2^-33 to 1/2, 24 fractional bits."""
    p = [2.0 ** -(octave + 2) * (1 + cell / cells) for octave in reversed(range(octaves)) for cell in range(cells)]
    return np.array([round(-NormalDist().inv_cdf(x) * (1 << 24)) for x in p] + [0], dtype=np.int64)


QUANTILES = _quantiles()


def gaussians(seed, purpose, number, count):
    """Philox4x32-10 through the inverse distribution function, as float32."""
    low, stream, c = np.uint64(0xFFFFFFFF), (number << 8) | purpose, np.arange(-(-count // 4), dtype=np.uint64)
    c = [c & low, c >> np.uint64(32), np.full_like(c, stream & 0xFFFFFFFF), np.full_like(c, stream >> 32)]
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(b >> np.uint64(32)) ^ c[1] ^ np.uint64(key[0]), b & low, (a >> np.uint64(32)) ^ c[3] ^ np.uint64(key[1]), a & low]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    word = np.stack(c, axis=1).reshape(-1)[:count].astype(np.int64)
    v = ((word & 0x7FFFFFFF) << 1) | 1  # v / 2^33 is the tail probability
    octave = 32 - np.frexp(v.astype(np.float64))[1].astype(np.int64)
    mantissa = (v << octave) & 0x7FFFFFFF
    cell, fraction = mantissa >> 25, (mantissa >> 9) & 0xFFFF
    at = (31 - octave) * 64 + cell
    z = (QUANTILES[at] << 16) + (QUANTILES[at + 1] - QUANTILES[at]) * fraction
    z = (z + (1 << 23)) >> 24
    return (np.where(word >> 31 == 0, z, -z) / 65536).astype(np.float32)


# --- network (section 2) ---
class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    """A block of the encoder, or of the decoder: that one joins a long skip and is modulated by the condition."""

    def __init__(self, width, heads, condition=None):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        if condition is not None:
            self.skip, self.skip_norm = nn.Linear(width + condition, width), nn.LayerNorm(width)
            self.adaln = nn.Linear(condition, 6 * width)

    def forward(self, x, skip=None, condition=None):
        shift_a = scale_a = shift_m = scale_m = 0.0
        gate_a = gate_m = 1.0
        if condition is not None:
            x = self.skip_norm(self.skip(torch.cat([x, skip], dim=2)))
            shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaln(F.silu(condition))[:, None].chunk(6, dim=2)
        x = x + gate_a * self.attn(self.norm1(x) * (1 + scale_a) + shift_a)
        h = self.norm2(x) * (1 + scale_m) + shift_m
        return x + gate_m * self.mlp["fc2"](F.gelu(self.mlp["fc1"](h)))


class Epg(nn.Module):
    """The network with the header of its file: `model`, `noise`, `normalisation`, `parametrisation`, `content`, `class_names`, .."""

    def __init__(self, header):
        super().__init__()
        self.header, self.config, self.noise = header, header["model"], header["noise"]
        size, patch, channels = (self.config[key] for key in ("size", "patch", "channels"))
        e, d = self.config["encoder"], self.config["decoder"]
        pixels = patch * patch * channels
        self.encoder = nn.ModuleDict({
            "patch_embed": nn.Linear(pixels, e["width"]),
            "blocks": nn.ModuleList(Block(e["width"], e["heads"]) for _ in range(e["depth"])),
            "norm": nn.LayerNorm(e["width"]),
        })
        self.encoder.cls_token = nn.Parameter(torch.zeros(e["width"]))
        self.encoder.pos_embed = nn.Parameter(torch.zeros((size // patch) ** 2 + 2, e["width"]))
        if header["content"] != "encoder":
            self.class_embed = nn.Embedding(self.config["classes"] + 1, e["width"])  # the last row: no class
            self.decoder = nn.ModuleDict({
                "blocks": nn.ModuleList(Block(d["width"], d["heads"], e["width"]) for _ in range(d["depth"])),
                "norm": nn.LayerNorm(d["width"]),
                "head": nn.Linear(d["width"], pixels),
            })
            if e["width"] != d["width"]:
                self.decoder["bridge"] = nn.Linear(e["width"], d["width"])

    def time(self, t, batch):
        """The sinusoid of c_noise(t) = 250 ln t, [batch, width]; t is shifted."""
        half = self.config["encoder"]["width"] // 2
        angle = 250 * np.log(t) * np.exp(-np.log(10000.0) * np.arange(half) / half)
        row = torch.tensor(np.concatenate([np.cos(angle), np.sin(angle)]), dtype=torch.float32)
        return row.to(self.encoder.cls_token.device).expand(batch, -1)

    def encode(self, x, t, classes=None):
        """Pictures [B, H, W, C] at noise level t: normed tokens [B, 2 + patches, width] and the output of every block."""
        e, b, p = self.encoder, x.shape[0], self.config["patch"]
        side, data = self.config["size"] // p, self.noise["sigma_data"]
        patches = x.reshape(b, side, p, side, p, -1).transpose(2, 3).reshape(b, side * side, -1)
        token = e.cls_token.expand(b, -1) + (0 if classes is None else self.class_embed(classes))
        scaled = patches / (t * t + data * data) ** 0.5
        x = torch.cat([token[:, None], self.time(t, b)[:, None], e["patch_embed"](scaled)], dim=1) + e.pos_embed
        blocks = []
        for block in e["blocks"]:
            x = block(x)
            blocks.append(x)
        return e["norm"](x), blocks

    def network(self, x, t, classes):
        """F: the raw output, [B, H, W, C]."""
        d, b, p, side = self.decoder, x.shape[0], self.config["patch"], self.config["size"] // self.config["patch"]
        normed, skips = self.encode(x, t, classes)
        condition = self.time(t, b) + self.class_embed(classes)
        h = d["bridge"](normed) if "bridge" in d else normed
        for block, skip in zip(d["blocks"], reversed(skips)):
            h = block(h, skip, condition)
        pixels = d["head"](d["norm"](h[:, 2:]))
        return pixels.reshape(b, side, side, p, p, -1).transpose(2, 3).reshape(x.shape)

    def denoise(self, x, t, classes):
        """f(x, t): the clean picture that the model sees in x, at the shifted level t."""
        out = self.network(x, t, classes)
        if self.header["parametrisation"] == "plain-x":
            return out
        data, above = self.noise["sigma_data"], t - self.noise["shift"] * self.noise["sigma_min"]
        return x * (data**2 / (above**2 + data**2)) + out * (above * data / (t * t + data * data) ** 0.5)

    @torch.no_grad()
    def draw(self, seed=0, classes=(0,), first=0, steps=None):
        """Pictures number first, first + 1, .. of a seed, a class for each: normalised values [B, H, W, C].

        `steps`: 1 or 2 of a one-step generator (default 1), levels of Heun's method for a diffusion model (default 32).
        """
        device, side, channels = self.encoder.cls_token.device, self.config["size"], self.config["channels"]
        std, mean = (torch.tensor(self.header["normalisation"][key][:channels], device=device) for key in ("std", "mean"))
        low, high = float((-mean / std).min()), float(((1 - mean) / std).max())
        shift, rho = self.noise["shift"], 1 / self.noise["rho"]
        rows = torch.tensor(list(classes), device=device)

        def noise(purpose):
            numbers = range(first, first + len(rows))
            drawn = np.stack([gaussians(seed, purpose, number, side * side * channels) for number in numbers])
            return torch.from_numpy(drawn).to(device).reshape(-1, side, side, channels)

        f = lambda x, t: self.denoise(x, t, rows).clamp(low, high)
        x = shift * self.noise["sigma_max"] * noise(LATENT)
        if self.header["content"] == "generator":
            x = f(x, shift * self.noise["sigma_max"])
            if steps == 2:
                x = f(x + shift * MIDDLE_LEVEL * noise(RENOISE), shift * MIDDLE_LEVEL)
            return x
        levels, top, bottom = steps or 32, self.noise["sigma_max"] ** rho, self.noise["sigma_min"] ** rho
        grid = [shift * (top + i / max(levels - 1, 1) * (bottom - top)) ** (1 / rho) for i in range(levels)] + [0.0]
        for t, to in zip(grid, grid[1:]):
            clean = f(x, t)
            slope, after = (x - clean) / t, to / t * x + (1 - to / t) * clean
            x = after if to == 0 else x + 0.5 * (to - t) * (slope + (after - f(after, to)) / to)
        return x

    def to_bytes(self, x):
        """Normalised values to bytes."""
        std, mean = (torch.tensor(self.header["normalisation"][key][: x.shape[-1]], device=x.device) for key in ("std", "mean"))
        return ((x * std + mean) * 255 + 0.5).floor().clamp(0, 255).to(torch.uint8)


def load(path):
    """The model in a `model.safetensors` of Pixgen."""
    with safe_open(path, framework="pt") as file:
        model = Epg(json.loads(file.metadata()["pixgen"]))
        tensors = {name: file.get_tensor(name) for name in file.keys() if not name.startswith("projector.")}
    model.load_state_dict(tensors)
    return model.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draws pictures with a Pixgen model.")
    parser.add_argument("model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--classes", type=int, nargs="+", default=[0], help="a class for each picture")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", default="pictures.npy", help="bytes, N x height x width x channels")
    args = parser.parse_args()
    if os.path.isdir(args.model):
        parser.error(f"{args.model} is a folder: give the model.safetensors in it")
    model = load(args.model)
    wrong = [number for number in args.classes if not 0 <= number < model.config["classes"]]
    if wrong:
        parser.error(f"class {wrong[0]}: the model has {model.config['classes']} classes, numbered from 0")
    if args.steps is not None and (args.steps < 1 or model.header["content"] == "generator" and args.steps > 2):
        parser.error(f"--steps {args.steps}: a one-step generator takes 1 or 2, a diffusion model 1 or more")
    np.save(args.out, model.to_bytes(model.draw(args.seed, args.classes, steps=args.steps)).numpy())
