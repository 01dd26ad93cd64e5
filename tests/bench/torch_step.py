"""One training step of EPG in PyTorch: the comparison for `pixgen-train bench`. Written from docs/reference/method.md, shares no code with Rust.

    python torch_step.py --preset base-32-rgb --stage finetune --batch 32 --mode eager --threads 2
    python torch_step.py --preset EPG-L-16-256 --stage pretrain --batch 64 --mode compile-bf16 --device cuda

Needs PyTorch 2.6 or later (`pip install torch`); the modes that compile also need a C++ compiler, or Triton on a GPU. Prints one line of
JSON that describes the network. Then every line on stdin is one step, the number of pictures that the teacher of stage 2b draws in it, and
the answer on stdout is a line with its seconds and the bytes of GPU memory that PyTorch has taken. `cpu_step.py` and `gpu_step.py` run it
beside pixgen-train.

What a step does, in both programs: take pictures from memory, draw noise and levels, forward, loss, backward, global norm of the gradient
with a check that it is finite, AdamW, two moving averages (and that of stage 1's target). PyTorch gets what makes it fastest: fused
attention and AdamW, the two no-gradient passes of stage 1 under theta' and the three passes with gradient as one pass each, layer norm as
one call, `foreach` operations for everything per tensor, and no augmentation in stage 1 although the trainer's steps include it. On a GPU its
pictures and noise are made there. Stage 2b has no dropout and no auxiliary loss. The modes that compile take the whole network as one graph
on the CPU; on a GPU, where the graph of a model of 32 blocks takes minutes, they compile a block and use it for all of its kind.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import random
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

SIGMA_MIN, SIGMA_MAX, RHO, SIGMA_DATA = 0.002, 80.0, 7.0, 0.5



@dataclasses.dataclass
class Model:
    """Sizes of a network (section 2.5)."""

    size: int
    channels: int
    patch: int
    encoder: tuple  # width, depth, heads
    decoder: tuple
    shift: float  # of noise levels, for the resolution
    classes: int = 10
    projector: tuple = (256, 64)

    @property
    def patch_len(self):
        return self.patch * self.patch * self.channels

    @property
    def patches(self):
        return (self.size // self.patch) ** 2


def imagenet(encoder, decoder):
    """A network of the paper for pictures of 256x256."""
    return Model(256, 3, 16, encoder, decoder, 4.0, 1000, (4096, 256))


PRESETS = {
    "base-32-rgb": Model(32, 3, 4, (256, 6, 8), (256, 6, 8), 0.5),
    "small-28-grey": Model(28, 1, 7, (64, 4, 4), (64, 4, 4), 1.0),
    "EPG-S-16-256": imagenet((768, 6, 12), (768, 6, 12)),
    "EPG-B-16-256": imagenet((768, 12, 12), (768, 12, 12)),
    "EPG-L-16-256": imagenet((1024, 16, 16), (1024, 16, 16)),
    "EPG-XL-16-256": imagenet((768, 12, 12), (1584, 12, 22)),
    "EPG-XXL-16-256": imagenet((768, 12, 12), (1920, 12, 16)),
    "EPG-G-16-256": imagenet((768, 12, 12), (2688, 12, 21)),
}


def attention(x, heads):
    """qkv [B, T, 3 D] to [B, T, D]."""
    batch, tokens, width = x.shape
    q, k, v = x.view(batch, tokens, 3, heads, width // 3 // heads).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width // 3)


class Block(nn.Module):
    """A transformer block; with `skip`, one of the decoder: long skip and AdaLN-Zero (sections 2.1 and 2.3)."""

    def __init__(self, width, heads, skip=None):
        """`skip` is the width of the encoder in a block of the decoder."""
        super().__init__()
        self.heads, self.modulated = heads, skip is not None
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        if skip is not None:
            self.skip, self.skip_norm = nn.Linear(width + skip, width), nn.LayerNorm(width)
            self.adaln = nn.Linear(skip, 6 * width)

    def forward(self, x, skip=None, c=None):
        if not self.modulated:
            x = x + self.proj(attention(self.qkv(self.norm1(x)), self.heads))
            return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        x = self.skip_norm(self.skip(torch.cat([x, skip], -1)))
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaln(c).unsqueeze(1).chunk(6, -1)
        y = torch.addcmul(shift_a, self.norm1(x), 1 + scale_a)
        x = torch.addcmul(x, gate_a, self.proj(attention(self.qkv(y), self.heads)))
        y = torch.addcmul(shift_m, self.norm2(x), 1 + scale_m)
        return torch.addcmul(x, gate_m, self.fc2(F.gelu(self.fc1(y))))


class Encoder(nn.Module):
    """Section 2.1."""

    def __init__(self, model):
        super().__init__()
        width, depth, heads = model.encoder
        self.cls_token = nn.Parameter(1e-6 * torch.randn(width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(2 + model.patches, width))
        self.patch_embed = nn.Linear(model.patch_len, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, patches, time, label=None):
        cls = self.cls_token.expand(len(patches), -1)
        cls = cls if label is None else cls + label
        x = torch.cat([torch.stack([cls, time], 1), self.patch_embed(patches)], 1) + self.pos_embed
        skips = []
        for block in self.blocks:
            x = block(x)
            skips.append(x)
        return skips

    def features(self, patches, time):
        return self.norm(self.forward(patches, time)[-1][:, 0])


class Generator(nn.Module):
    """Encoder and decoder, F(c_in x, t) (sections 2.3 and 2.4)."""

    def __init__(self, model):
        super().__init__()
        (skip, *_), (width, depth, heads) = model.encoder, model.decoder
        self.encoder = Encoder(model)
        self.class_embed = nn.Parameter(0.02 * torch.randn(model.classes + 1, skip))
        self.bridge = nn.Identity() if width == skip else nn.Linear(skip, width)
        self.blocks = nn.ModuleList(Block(width, heads, skip) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, model.patch_len)
        for zero in [self.head, *(block.adaln for block in self.blocks)]:
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    def forward(self, patches, time, classes):
        label = self.class_embed[classes]
        skips = self.encoder(patches, time, label)
        x, c = self.bridge(self.encoder.norm(skips[-1])), F.silu(time + label)
        for block in self.blocks:
            x = block(x, skips.pop(), c)
        return self.head(self.norm(x[:, 2:]))


class Pretraining(nn.Module):
    """Encoder and projector (section 2.2)."""

    def __init__(self, model):
        super().__init__()
        self.encoder = Encoder(model)
        hidden, out = model.projector
        self.fc1, self.bn1 = nn.Linear(model.encoder[0], hidden, bias=False), nn.BatchNorm1d(hidden)
        self.fc2, self.bn2 = nn.Linear(hidden, hidden, bias=False), nn.BatchNorm1d(hidden)
        self.fc3 = nn.Linear(hidden, out, bias=False)

    def project(self, z):
        return self.fc3(F.relu(self.bn2(self.fc2(F.relu(self.bn1(self.fc1(z)))))))


def time_embedding(t, width):
    """Section 1, in float64 like every schedule."""
    half = width // 2
    angle = (250 * t.log())[:, None] * torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float64) / half)
    return torch.cat([angle.cos(), angle.sin()], 1).float()


def c_in(t):
    return (1 / (t * t + SIGMA_DATA**2).sqrt()).float()[:, None, None]


def nt_xent(q, k, tau):
    """Section 3.1."""
    return F.cross_entropy(F.normalize(q) @ F.normalize(k).T / tau, torch.arange(len(q)))


def whole_graph(args):
    """Whether the network is compiled as one."""
    return args.mode.startswith("compile") and args.device == "cpu"


def compile_blocks(*nets):
    """Compiles the blocks of networks; those of one shape share their code."""
    for block in (module for net in nets for module in net.modules() if isinstance(module, Block)):
        block.compile(dynamic=False)


class Step:
    """A network with its optimiser, averages and data."""

    def __init__(self, net, args, betas, rate):
        self.net, self.args, self.model = net, args, PRESETS[args.preset]
        size, channels = self.model.size, self.model.channels
        self.width, self.shift = self.model.encoder[0], self.model.shift
        self.pictures = torch.randint(0, 256, (1024, size, size, channels), dtype=torch.uint8)
        self.classes = torch.randint(0, self.model.classes, (1024,))
        self.params = list(net.parameters())
        self.optimiser = torch.optim.AdamW(self.params, rate, betas, weight_decay=0.03, fused=True)
        self.averages = [[p.detach().clone() for p in self.params] for _ in range(2)]

    def autocast(self):
        return torch.autocast(torch.device(self.args.device).type, torch.bfloat16) if "bf16" in self.args.mode else contextlib.nullcontext()

    def batch(self):
        """Pictures in patch layout [B, N_p, p p C], noise of that shape and classes."""
        rows = torch.randint(0, len(self.pictures), (self.args.batch,))
        x = (self.pictures[rows].float() - 127.5) * (0.5 / 74)
        batch, size, _, channels = x.shape
        across, p = size // self.model.patch, self.model.patch
        x = x.view(batch, across, p, across, p, channels).transpose(2, 3).reshape(batch, across * across, p * p * channels)
        return x, torch.randn_like(x), self.classes[rows]

    def __call__(self, taught):
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(taught)
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.params if p.grad is not None], foreach=True)
        if not math.isfinite(norm.item()) or not math.isfinite(loss.item()):
            raise SystemExit("torch_step.py: the loss or its gradient is not finite")
        self.optimiser.step()
        with torch.no_grad():
            for average, decay in zip(self.averages, (0.99, 0.999)):
                torch._foreach_lerp_(average, self.params, 1 - decay)
            self.accept()

    def accept(self):
        pass


class Finetune(Step):
    """Stage 2b (section 5) with plain x-prediction (7.1), as the small presets train."""

    def __init__(self, args):
        super().__init__(Generator(PRESETS[args.preset]), args, (0.9, 0.99), 3e-4)
        compiled = whole_graph(args)
        self.network = torch.compile(self.net, dynamic=False) if compiled else self.net
        # The teacher sees another number of pictures in each step.
        self.teacher = torch.compile(self.net, dynamic=True) if compiled else self.net

    def loss(self, taught):
        x0, eps, classes = self.batch()
        level = torch.exp(-0.4 + 1.6 * torch.randn(len(x0), dtype=torch.float64)).clamp(SIGMA_MIN, SIGMA_MAX)
        below = (level * (1 - (1 + 8 * torch.sigmoid(-level)) / 4)).clamp(min=SIGMA_MIN)
        t, r = self.shift * level, self.shift * below
        target = x0.clone()
        if taught:
            # The caller says how many pictures have a target other than x0, so that both programs do the same work.
            some = slice(0, taught)
            with torch.no_grad(), self.autocast():
                x = x0[some] + r[some].float()[:, None, None] * eps[some]
                # A whole batch needs no graph for other sizes.
                teacher = self.network if taught == len(x0) else self.teacher
                target[some] = teacher(c_in(r[some]) * x, time_embedding(r[some], self.width), classes[some]).float()
        x = x0 + t.float()[:, None, None] * eps
        with self.autocast():
            f = self.network(c_in(t) * x, time_embedding(t, self.width), classes).float()
        u = (f - target).square().sum((1, 2))
        weight = (1 / ((t - r).square() + 0.25).sqrt()).float()
        return (weight * u / (u.detach() + 0.03**2).sqrt()).mean()


class Pretrain(Step):
    """Stage 1 (section 3)."""

    def __init__(self, args):
        super().__init__(Pretraining(PRESETS[args.preset]), args, (0.9, 0.95), 1e-3)
        self.target = Pretraining(PRESETS[args.preset])
        self.target.load_state_dict(self.net.state_dict())
        self.target.requires_grad_(False)
        self.target_params = list(self.target.parameters())
        compiled = whole_graph(args)
        features = [net.encoder.features for net in (self.net, self.target, self.net)]
        self.online, self.keys, self.below = [torch.compile(f, dynamic=False) for f in features] if compiled else features

    def loss(self, _):
        x0, eps, _ = self.batch()
        grid = [(a**(1 / RHO) + i / 80 * (b**(1 / RHO) - a**(1 / RHO)))**RHO for a, b in [(SIGMA_MAX, SIGMA_MIN)] for i in range(81)]
        i = random.randrange(80)
        t0, t, r = (torch.full((len(x0),), self.shift * s, dtype=torch.float64) for s in (SIGMA_MIN, grid[i], grid[i + 1]))
        noised = [x0 + level.float()[:, None, None] * eps for level in (t0, t0, t, r)]

        def inputs(*which):
            levels = torch.cat([(t0, t0, t, r)[i] for i in which])
            return c_in(levels) * torch.cat([noised[i] for i in which]), time_embedding(levels, self.width)

        with torch.no_grad(), self.autocast():
            key1, key2 = (self.target.project(z) for z in self.keys(*inputs(0, 1)).chunk(2))
            below = self.below(*inputs(3))
        with self.autocast():
            z1, z2, z = self.online(*inputs(0, 1, 2)).chunk(3)
            p1, p2 = self.net.project(z1), self.net.project(z2)
        return nt_xent(p1.float(), key2.float(), 0.2) + nt_xent(p2.float(), key1.float(), 0.2) + nt_xent(z.float(), below.float(), 0.1)

    def accept(self):
        torch._foreach_lerp_(self.target_params, self.params, 0.01)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, required=True)
    parser.add_argument("--stage", choices=["pretrain", "finetune"], required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--mode", choices=["eager", "compile", "bf16", "compile-bf16"], default="eager")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:NUMBER")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_default_device(args.device)
    gpu = args.device != "cpu"
    if gpu:
        torch.cuda.set_device(torch.device(args.device).index or 0)
    torch.manual_seed(1)
    step = (Finetune if args.stage == "finetune" else Pretrain)(args)
    if args.mode.startswith("compile") and not whole_graph(args):
        compile_blocks(step.net, *([step.target] if args.stage == "pretrain" else []))
    count = sum(p.numel() for p in step.params)
    device = torch.cuda.get_device_name() if gpu else "cpu"
    print(json.dumps({"torch": torch.__version__, "parameters": count, "threads": torch.get_num_threads(), "device": device}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        step(int(line))
        if gpu:
            torch.cuda.synchronize()
        print(f"{time.perf_counter() - started:.6f} {torch.cuda.max_memory_reserved() if gpu else 0}", flush=True)


if __name__ == "__main__":
    main()
