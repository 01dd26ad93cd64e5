#!/usr/bin/env python3
"""Training steps of pixgen-train on a GPU against the same network in PyTorch with torch.compile: the table of docs/results/performance.md.

    cargo build --release -p pixgen-train --features cuda
    tests/bench/gpu_step.py --python venv/bin/python

For each network and stage both programs are started and compile at the same time; then they take one step in turn, while the other waits.
Both compute in bf16 with f32 master weights and sums. Stage 2b is without dropout and auxiliary loss in both, and with levels so high that
the teacher draws every picture, since torch.compile makes a graph for each size of a batch. MFU counts the multiplications of the network,
attention included, against the bf16 peak that the data sheet of the GPU gives (`--peak`, TFLOP/s). Memory is what each program's allocator
took from the device. Prints a markdown table of median times.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

from cpu_step import ROOT, Program

# Preset, stage, batch: both programs fit beside each other in 80 GB.
CASES = [
    ("EPG-L-16-256", "finetune", 32),
    ("EPG-L-16-256", "pretrain", 32),
    ("EPG-XL-16-256", "finetune", 32),
    ("EPG-XL-16-256", "pretrain", 32),
]
OURS = {"cuda": ["--device", "cuda", "--precision", "bf16"], "cpu": ["--device", "cpu"]}
PLAIN = [it for name in ("auxiliary=0", "dropout=0", "p_mean=3", "p_std=0.1") for it in ("--set", f"consistency.{name}")]


def measure(case, args):
    """Prints a row for each program."""
    preset, stage, batch = case
    common = ["--preset", preset, "--stage", stage, "--batch", str(batch)]
    # The trainer reads PIXGEN_* as settings.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIXGEN_")}
    torch = [args.python, str(Path(__file__).with_name("torch_step.py")), "--device", args.device, *common]
    ours = Program([args.binary, "bench", "--interleave", *common, *OURS[args.device], *(PLAIN if stage == "finetune" else [])], environment)
    programs = {"pixgen-train": ours, **{f"PyTorch {mode}": Program([*torch, "--mode", mode], environment) for mode in args.modes.split(",")}}
    seconds, memory = {name: [] for name in programs}, {}
    for round_ in range(args.warmup + args.steps):
        if round_ < args.warmup:
            for program in programs.values():
                program.ask(batch)
        for name, program in programs.items():
            if round_ >= args.warmup:
                program.ask(batch)
            answer = program.answer()
            memory[name] = answer[-1]
            if round_ >= args.warmup:
                seconds[name].append(answer[0])
            if program is ours and int(answer[1]) != batch:
                sys.exit(f"gpu_step.py: the teacher drew {int(answer[1])} pictures of {batch}")
    peers = [program for program in programs.values() if program is not ours]
    for program in programs.values():
        program.close()
    if any(peer.about["parameters"] != ours.about["parameters"] for peer in peers):
        sys.exit("gpu_step.py: the networks differ in their number of parameters")
    gflop = ours.about["gflop"][0] + ours.about["gflop"][1] * batch
    first = statistics.median(seconds["pixgen-train"])
    for name in programs:
        median = statistics.median(seconds[name])
        cells = [preset, stage, str(batch), name, f"{1e3 * median:.1f} ms", f"{batch / median:.1f}"]
        cells += [f"{100 * gflop / median / 1e3 / args.peak:.1f} %", f"{memory[name] / 2**30:.1f} GiB", f"{first / median:.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)
    return {(peer.about["torch"], peer.about["device"]) for peer in peers}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="Python that has PyTorch with CUDA")
    parser.add_argument("--binary", default=str(ROOT / "target/release/pixgen-train"))
    parser.add_argument("--device", choices=OURS, default="cuda", help="cpu, where pixgen-train computes in f32, is for trying this script")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each program")
    parser.add_argument("--warmup", type=int, default=4)
    parser.add_argument("--modes", default="compile-bf16", help="of PyTorch, separated by commas: compile-bf16, bf16")
    parser.add_argument("--peak", type=float, default=989.4, help="bf16 TFLOP/s of the GPU's data sheet; the default is an H100 SXM's")
    parser.add_argument("--case", action="append", help="PRESET:STAGE[:BATCH], may be repeated; all by default")
    args = parser.parse_args()
    cases = CASES
    if args.case:
        asked = [(*case.split(":"), "")[:3] for case in args.case]
        cases = [(preset, stage, int(batch or 32)) for preset, stage, batch in asked]
    print("| network | stage | batch | program | step | images/s | MFU | memory | ours / it |")
    print("|" + "---|" * 9, flush=True)
    versions = set().union(*(measure(case, args) for case in cases))
    for torch, device in sorted(versions):
        print(f"\n{device}, PyTorch {torch}, median of {args.steps} interleaved steps")


if __name__ == "__main__":
    main()
