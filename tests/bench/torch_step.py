"""One training step of EPG in PyTorch: the comparison for `pixgen-train bench`. Written from docs/method.md, shares no code with Rust.

    python torch_step.py --preset base-32-rgb --stage finetune --batch 32 --mode eager --threads 2

Needs PyTorch 2.4 or later (`pip install torch`); mode `compile` also needs a C++ compiler. Prints one line of JSON that describes the
network. Then every line on stdin is one step, the number of pictures that the teacher of stage 2b draws in it, and the answer on stdout is
a line with its seconds. `cpu_step.py` runs it beside pixgen-train.

What a step does, in both programs: take pictures from memory, draw noise and levels, forward, loss, backward, global norm of the gradient
with a check that it is finite, AdamW, two moving averages (and that of stage 1's target). PyTorch gets what makes it fastest: fused
attention and AdamW, the two no-gradient passes of stage 1 under theta' and the three passes with gradient as one pass each, layer norm as
one call, `foreach` operations for everything per tensor, and no augmentation in stage 1 although the trainer's steps include it.
"""

import argparse
import contextlib
import json
import math
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

SIGMA_MIN, SIGMA_MAX, RHO, SIGMA_DATA = 0.002, 80.0, 7.0, 0.5

# size, channels, patch, width, depth, heads, resolution shift: towers of the same shape, ten classes.
PRESETS = {
    "base-32-rgb": (32, 3, 4, 256, 6, 8, 0.5),
    "small-28-grey": (28, 1, 7, 64, 4, 4, 1.0),
}
CLASSES = 10
PROJECTOR = (256, 64)


def attention(x, heads):
    """qkv [B, T, 3 D] to [B, T, D]."""
    batch, tokens, width = x.shape
    q, k, v = x.view(batch, tokens, 3, heads, width // 3 // heads).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width // 3)


class Block(nn.Module):
    """A transformer block; with `modulated`, one of the decoder: long skip and AdaLN-Zero (sections 2.1 and 2.3)."""

    def __init__(self, width, heads, modulated):
        super().__init__()
        self.heads, self.modulated = heads, modulated
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        if modulated:
            self.skip, self.skip_norm = nn.Linear(2 * width, width), nn.LayerNorm(width)
            self.adaln = nn.Linear(width, 6 * width)

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

    def __init__(self, size, channels, patch, width, depth, heads):
        super().__init__()
        self.cls_token = nn.Parameter(1e-6 * torch.randn(width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(2 + (size // patch) ** 2, width))
        self.patch_embed = nn.Linear(patch * patch * channels, width)
        self.blocks = nn.ModuleList(Block(width, heads, False) for _ in range(depth))
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

    def __init__(self, size, channels, patch, width, depth, heads):
        super().__init__()
        self.encoder = Encoder(size, channels, patch, width, depth, heads)
        self.class_embed = nn.Parameter(0.02 * torch.randn(CLASSES + 1, width))
        self.blocks = nn.ModuleList(Block(width, heads, True) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, patch * patch * channels)
        for zero in [self.head, *(block.adaln for block in self.blocks)]:
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    def forward(self, patches, time, classes):
        label = self.class_embed[classes]
        skips = self.encoder(patches, time, label)
        x, c = self.encoder.norm(skips[-1]), F.silu(time + label)
        for block in self.blocks:
            x = block(x, skips.pop(), c)
        return self.head(self.norm(x[:, 2:]))


class Pretraining(nn.Module):
    """Encoder and projector (section 2.2)."""

    def __init__(self, *sizes):
        super().__init__()
        self.encoder = Encoder(*sizes)
        hidden, out = PROJECTOR
        self.fc1, self.bn1 = nn.Linear(sizes[3], hidden, bias=False), nn.BatchNorm1d(hidden)
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


class Step:
    """A network with its optimiser, averages and data."""

    def __init__(self, net, args, betas, rate):
        self.net, self.args = net, args
        size, channels, self.patch, self.width, *_, self.shift = PRESETS[args.preset]
        self.pictures = torch.randint(0, 256, (1024, size, size, channels), dtype=torch.uint8)
        self.classes = torch.randint(0, CLASSES, (1024,))
        self.params = list(net.parameters())
        self.optimiser = torch.optim.AdamW(self.params, rate, betas, weight_decay=0.03, fused=True)
        self.averages = [[p.detach().clone() for p in self.params] for _ in range(2)]

    def autocast(self):
        return torch.autocast("cpu", torch.bfloat16) if self.args.mode == "bf16" else contextlib.nullcontext()

    def batch(self):
        """Pictures in patch layout [B, N_p, p p C], noise of that shape and classes."""
        rows = torch.randint(0, len(self.pictures), (self.args.batch,))
        x = (self.pictures[rows].float() - 127.5) * (0.5 / 74)
        batch, size, _, channels = x.shape
        across, p = size // self.patch, self.patch
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
        super().__init__(Generator(*PRESETS[args.preset][:6]), args, (0.9, 0.99), 3e-4)
        self.network = torch.compile(self.net, dynamic=False) if args.mode == "compile" else self.net
        # The teacher sees another number of pictures in each step.
        self.teacher = torch.compile(self.net, dynamic=True) if args.mode == "compile" else self.net

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
                target[some] = self.teacher(c_in(r[some]) * x, time_embedding(r[some], self.width), classes[some]).float()
        x = x0 + t.float()[:, None, None] * eps
        with self.autocast():
            f = self.network(c_in(t) * x, time_embedding(t, self.width), classes).float()
        u = (f - target).square().sum((1, 2))
        weight = (1 / ((t - r).square() + 0.25).sqrt()).float()
        return (weight * u / (u.detach() + 0.03**2).sqrt()).mean()


class Pretrain(Step):
    """Stage 1 (section 3)."""

    def __init__(self, args):
        super().__init__(Pretraining(*PRESETS[args.preset][:6]), args, (0.9, 0.95), 1e-3)
        self.target = Pretraining(*PRESETS[args.preset][:6])
        self.target.load_state_dict(self.net.state_dict())
        self.target.requires_grad_(False)
        self.target_params = list(self.target.parameters())
        compiled = args.mode == "compile"
        features = [net.encoder.features for net in (self.net, self.target, self.net)]
        self.online, self.keys, self.below = [torch.compile(f, dynamic=False) for f in features] if compiled else features

    def loss(self, _):
        x0, eps, _ = self.batch()
        grid = [(a**(1 / RHO) + i / 80 * (b**(1 / RHO) - a**(1 / RHO)))**RHO for a, b in [(SIGMA_MAX, SIGMA_MIN)] for i in range(81)]
        i = int(torch.randint(0, 80, ()))
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
    parser.add_argument("--mode", choices=["eager", "compile", "bf16"], default="eager")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    step = (Finetune if args.stage == "finetune" else Pretrain)(args)
    count = sum(p.numel() for p in step.params)
    print(json.dumps({"torch": torch.__version__, "parameters": count, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        step(int(line))
        print(f"{time.perf_counter() - started:.6f}", flush=True)


if __name__ == "__main__":
    main()
