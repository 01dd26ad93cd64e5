#!/usr/bin/env python3
"""Checkpoints with the authors' names and layouts, and what the network must answer.

Usage: python3 tests/gen/authors_checkpoint.py                     write the small files of tests/golden/authors/
       python3 tests/gen/authors_checkpoint.py NAME FOLDER         write FOLDER/NAME.pth and FOLDER/NAME-vectors.safetensors
       python3 tests/gen/authors_checkpoint.py --list              print the names

Needs torch and safetensors. The weights are random at the real shapes, those that training starts at zero too (AdaLN, output layer,
biases), since a network of zeros would agree with any other. The forward pass below is written from the paper and the names of the
authors' released code, not from the Rust code; it reads the state dict itself. Only the time sinusoid is computed in float64: its
argument reaches 1442 radians.

Vectors: input [B, C, H, W] is what the network reads (c_in x), t [B] the shifted noise levels, classes [B] rows of the class
embedding; output [B, C, H, W]. Of an encoder: feature [B, d] = LN(CLS), projected [B, out].
"""

import collections
import dataclasses
import math
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "golden" / "authors"
NORM_EPSILON = 1e-5


@dataclasses.dataclass
class Net:
    """An encoder, and a decoder if it has a width."""

    size: int
    patch: int
    depth: int
    width: int
    heads: int
    decoder_width: int = 0
    decoder_heads: int = 0
    classes: int = 1000
    channels: int = 3
    projector: tuple = ()  # hidden and output width
    levels: tuple = (0.5, 160.0)
    dtype: torch.dtype = torch.float32
    zipped: bool = True


NETS = {
    "EPG-L-16-256": Net(256, 16, 16, 1024, 16, 1024, 16),
    "EPG-L-32-512": Net(512, 32, 16, 1024, 16, 1024, 16, dtype=torch.bfloat16),
    "EPG-XL-16-256": Net(256, 16, 12, 768, 12, 1584, 22, zipped=False),
    "EPG-XXL-16-256": Net(256, 16, 12, 768, 12, 1920, 16, dtype=torch.float16),
    "EPG-G-16-256": Net(256, 16, 12, 768, 12, 2688, 21, dtype=torch.float16),
    "RCM-B-16-256": Net(256, 16, 12, 768, 12, projector=(4096, 256)),
    "RCM-B-32-512": Net(512, 32, 12, 768, 12, projector=(4096, 256)),
    "RCM-L-16-256": Net(256, 16, 16, 1024, 16, projector=(4096, 256)),
    "RCM-L-16-256-bare": Net(256, 16, 16, 1024, 16, dtype=torch.float16),
}
TINY = Net(8, 4, 2, 8, 2, 12, 3, classes=5, levels=(0.25, 40.0))
TINY_ENCODER = Net(8, 4, 2, 8, 2, classes=5, levels=(0.25, 40.0), projector=(16, 6))


def shapes(net):
    """Names and shapes of the state dict."""
    d, w = net.width, net.decoder_width
    tokens = 2 + (net.size // net.patch) ** 2

    def linear(name, out, inp, bias=True):
        yield f"{name}.weight", (out, inp)
        if bias:
            yield f"{name}.bias", (out,)

    def norm(name, width):
        yield f"{name}.weight", (width,)
        yield f"{name}.bias", (width,)

    def block(name, width):
        yield from norm(f"{name}.norm1", width)
        yield from linear(f"{name}.attn.qkv", 3 * width, width, bias=False)
        yield from linear(f"{name}.attn.proj", width, width)
        yield from norm(f"{name}.norm2", width)
        yield from linear(f"{name}.mlp.fc1", 4 * width, width)
        yield from linear(f"{name}.mlp.fc2", width, 4 * width)

    yield "cls_token", (1, 1, d)
    yield "pos_embed", (1, tokens, d)
    yield "patch_embed.proj.weight", (d, net.channels, net.patch, net.patch)
    yield "patch_embed.proj.bias", (d,)
    for i in range(net.depth):
        yield from block(f"blocks.{i}", d)
    yield from norm("norm", d)
    if net.projector:
        hidden, out = net.projector
        yield from linear("projection_head.0", hidden, d, bias=False)
        yield from norm("projection_head.1", hidden)
        yield from linear("projection_head.3", hidden, hidden, bias=False)
        yield from norm("projection_head.4", hidden)
        yield from linear("projection_head.6", out, hidden, bias=False)
        for i in (1, 4):
            yield f"projection_head.{i}.running_mean", (hidden,)
            yield f"projection_head.{i}.running_var", (hidden,)
            yield f"projection_head.{i}.num_batches_tracked", ()
    if w:
        for i in range(net.depth):
            yield from block(f"decoder_blocks.{i}", w)
            yield from linear(f"decoder_blocks.{i}.skip_linear", w, w + d)
            yield from norm(f"decoder_blocks.{i}.skip_norm", w)
            yield from linear(f"decoder_blocks.{i}.adaLN_modulation.1", 6 * w, d)
        if w != d:
            yield from linear("encoder_to_decoder", w, d)
        yield from norm("out_norm", w)
        yield from linear("out", net.channels * net.patch**2, w)
        yield "class_embed.weight", (net.classes + 1, d)


def random_state(net, seed):
    """A state dict; every tensor has a spread that a mistake would show in."""
    torch.manual_seed(seed)
    state = collections.OrderedDict()
    for name, shape in shapes(net):
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(600_000)
            continue
        value = torch.randn(shape)
        if name.endswith("running_var"):
            value = 0.5 + value.abs()
        elif name.endswith("weight") and len(shape) == 1:
            value = 1 + 0.2 * value
        elif name.endswith("bias") or len(shape) == 1:
            value = 0.2 * value
        elif name in ("cls_token", "pos_embed", "class_embed.weight"):
            value = 0.5 * value
        else:
            value = value / math.sqrt(math.prod(shape[1:]))
        state[name] = value.to(net.dtype)
    return state


class Forward:
    """The network on a state dict; half types are widened one tensor at a time."""

    def __init__(self, net, state):
        self.net, self.state = net, state

    def get(self, name):
        return self.state[name].float()

    def linear(self, name, x):
        bias = self.get(f"{name}.bias") if f"{name}.bias" in self.state else None
        return F.linear(x, self.get(f"{name}.weight"), bias)

    def norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.get(f"{name}.weight"), self.get(f"{name}.bias"), NORM_EPSILON)

    def attention(self, name, x, heads):
        batch, tokens, width = x.shape
        q, k, v = self.linear(f"{name}.qkv", x).view(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        scores = (q @ k.mT) / math.sqrt(width // heads)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, width)
        return self.linear(f"{name}.proj", mixed)

    def mlp(self, name, x):
        return self.linear(f"{name}.fc2", F.gelu(self.linear(f"{name}.fc1", x)))

    def time(self, t):
        """Sinusoid of 250 ln t: cosines, then sines."""
        half = self.net.width // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / half)
        angles = 250 * torch.log(t.double())[:, None] * frequencies
        return torch.cat([angles.cos(), angles.sin()], 1).float()

    def encode(self, x, t, label=None):
        """Outputs of the encoder's blocks."""
        patches = F.conv2d(x, self.get("patch_embed.proj.weight"), self.get("patch_embed.proj.bias"), stride=self.net.patch)
        patches = patches.flatten(2).transpose(1, 2)
        cls = self.get("cls_token").expand(len(x), -1, -1)
        if label is not None:
            cls = cls + label[:, None]
        x = torch.cat([cls, self.time(t)[:, None], patches], 1) + self.get("pos_embed")
        outputs = []
        for i in range(self.net.depth):
            x = x + self.attention(f"blocks.{i}.attn", self.norm(f"blocks.{i}.norm1", x), self.net.heads)
            x = x + self.mlp(f"blocks.{i}.mlp", self.norm(f"blocks.{i}.norm2", x))
            outputs.append(x)
        return outputs

    def feature(self, x, t):
        return self.norm("norm", self.encode(x, t)[-1][:, 0])

    def project(self, z):
        for linear, norm in ((0, 1), (3, 4)):
            name = f"projection_head.{norm}"
            z = self.linear(f"projection_head.{linear}", z)
            z = F.batch_norm(
                z, self.get(f"{name}.running_mean"), self.get(f"{name}.running_var"), self.get(f"{name}.weight"), self.get(f"{name}.bias")
            ).relu()
        return self.linear("projection_head.6", z)

    def denoise(self, x, t, classes):
        """F(input, t, class)."""
        label = self.get("class_embed.weight")[classes]
        skips = self.encode(x, t, label)
        x = self.norm("norm", skips[-1])
        if "encoder_to_decoder.weight" in self.state:
            x = self.linear("encoder_to_decoder", x)
        condition = F.silu(self.time(t) + label)
        for i in range(self.net.depth):
            name = f"decoder_blocks.{i}"
            x = self.norm(f"{name}.skip_norm", self.linear(f"{name}.skip_linear", torch.cat([x, skips.pop()], -1)))
            chunks = self.linear(f"{name}.adaLN_modulation.1", condition)[:, None].chunk(6, -1)
            shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = chunks
            y = self.norm(f"{name}.norm1", x) * (1 + scale) + shift
            x = x + gate * self.attention(f"{name}.attn", y, self.net.decoder_heads)
            y = self.norm(f"{name}.norm2", x) * (1 + mlp_scale) + mlp_shift
            x = x + mlp_gate * self.mlp(f"{name}.mlp", y)
        x = self.linear("out", self.norm("out_norm", x[:, 2:]))
        side, patch, channels = self.net.size // self.net.patch, self.net.patch, self.net.channels
        x = x.view(-1, side, side, patch, patch, channels)  # a patch's pixels by row, column, colour
        return x.permute(0, 5, 1, 3, 2, 4).reshape(-1, channels, self.net.size, self.net.size)


@torch.no_grad()
def vectors(net, state):
    """Inputs and outputs, one for each noise level; the last is without a class."""
    torch.manual_seed(2)
    batch = len(net.levels)
    forward = Forward(net, state)
    tensors = {"input": torch.randn(batch, net.channels, net.size, net.size), "t": torch.tensor(net.levels)}
    if net.decoder_width:
        tensors["classes"] = torch.tensor([3] * (batch - 1) + [net.classes])
        tensors["output"] = forward.denoise(tensors["input"], tensors["t"], tensors["classes"])
    else:
        tensors["feature"] = forward.feature(tensors["input"], tensors["t"])
        if net.projector:
            tensors["projected"] = forward.project(tensors["feature"])
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def main():
    if sys.argv[1:] == ["--list"]:
        print("\n".join(NETS))
    elif len(sys.argv) == 3:
        name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
        net = NETS[name]
        state = random_state(net, seed=1)
        save_file(vectors(net, state), folder / f"{name}-vectors.safetensors")
        torch.save(state, folder / f"{name}.pth", _use_new_zipfile_serialization=net.zipped)
        count = sum(t.numel() for key, t in state.items() if not key.endswith(("tracked", "running_mean", "running_var")))
        print(f"{name}: {len(state)} tensors, {count / 1e6:.3f} M parameters, {net.dtype}, torch {torch.__version__}")
    else:
        FOLDER.mkdir(exist_ok=True)
        ema, raw = random_state(TINY, 1), random_state(TINY, 7)
        wrapped = collections.OrderedDict((f"module.{name}", value) for name, value in ema.items())
        torch.save({"nnet": raw, "nnet_ema": wrapped, "step": 700_000}, FOLDER / "tiny.pth")
        save_file(vectors(TINY, ema), FOLDER / "tiny-vectors.safetensors")
        encoder = random_state(TINY_ENCODER, 3)
        torch.save(encoder, FOLDER / "tiny-encoder.pth")
        save_file(vectors(TINY_ENCODER, encoder), FOLDER / "tiny-encoder-vectors.safetensors")


if __name__ == "__main__":
    main()
