#!/usr/bin/env python3
"""Training steps of pixgen-train on a GPU against the same network in PyTorch with torch.compile: the table of docs/results/performance.md.

    cargo build --release -p pixgen-train --features cuda
    tests/bench/gpu_step.py --python venv/bin/python

For each network and stage both programs are started and compile at the same time; then they take one step in turn, while the other waits.
Both compute in bf16 with f32 master weights and sums. Stage 2b is without dropout and auxiliary loss in both, and with levels so high that
the teacher draws every picture, since torch.compile makes a graph for each size of a batch. MFU counts the multiplications of the network,
attention included, against the bf16 peak that the data sheet of the GPU gives. Memory is what each program's allocator took from the device.
Prints a markdown table of median times, of those that were taken if it is asked to end.
"""

import argparse
import os
import signal
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
PLAIN = [it for name in ("auxiliary=0", "dropout=0", "p_mean=3", "p_std=0.1") for it in ("--set", f"consistency.{name}")]


def measure(case, args):
    """Prints a row for each program, also if it is asked to end before the last step."""
    preset, stage, batch = case
    common = ["--preset", preset, "--stage", stage, "--batch", str(batch)]
    # The trainer reads PIXGEN_* as settings.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIXGEN_")}
    torch = [args.python, str(Path(__file__).with_name("torch_step.py")), "--device", args.device, *common]
    precision = ["--precision", "bf16"] if args.device != "cpu" else []
    # PyTorch's optimiser is AdamW.
    plain = [*(PLAIN if stage == "finetune" else []), "--optimiser", "adamw"]
    ours = Program([args.binary, "bench", "--interleave", *common, "--device", args.device, *precision, *plain], environment)
    programs = {"pixgen-train": ours, **{f"PyTorch {mode}": Program([*torch, "--mode", mode], environment) for mode in args.modes.split(",")}}
    peers = [program for program in programs.values() if program is not ours]
    if any(peer.about["parameters"] != ours.about["parameters"] for peer in peers):
        sys.exit("gpu_step.py: the networks differ in their number of parameters")
    seconds, memory = {name: [] for name in programs}, {}
    try:
        interleave(programs, seconds, memory, batch, args)
        for program in programs.values():
            program.close()
    finally:
        for row in rows(ours.about, seconds, memory, args.peak):
            print("| " + " | ".join([preset, stage, str(batch), *row]) + " |", flush=True)
        for torch, device in sorted({(peer.about["torch"], peer.about["device"]) for peer in peers}):
            steps = min(map(len, seconds.values()))
            print(f"\n{device}, PyTorch {torch}, median of {steps} interleaved steps", flush=True)


def interleave(programs, seconds, memory, batch, args):
    """Takes the steps: adds to the seconds of each program, and writes down the memory that it holds."""
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
            # Ours answers with the pictures of its teacher too.
            if len(answer) == 3 and int(answer[1]) != batch:
                sys.exit(f"gpu_step.py: the teacher drew {int(answer[1])} pictures of {batch}")


def rows(about, seconds, memory, peak):
    """The cells of the programs that have taken a timed step; `about` is what ours says of itself."""
    if peak is None and about["published_gflops"]:
        peak = about["published_gflops"] / 1e3
    first = None
    for name, times in seconds.items():
        if not times:
            continue
        median = statistics.median(times)
        first = first or median
        batch_gflop = about["gflop"][0] + about["gflop"][1] * about["batch"]
        mfu = f"{100 * batch_gflop / median / 1e3 / peak:.1f} %" if peak else "not known"
        yield [name, f"{1e3 * median:.1f} ms", f"{about['batch'] / median:.1f}", mfu, f"{memory[name] / 2**30:.1f} GiB", f"{first / median:.2f}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="Python that has PyTorch with CUDA")
    parser.add_argument("--binary", default=str(ROOT / "target/release/pixgen-train"))
    parser.add_argument("--device", default="cuda", help="cuda, cuda:NUMBER, or cpu, where pixgen-train computes in f32, for trying this script")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each program")
    parser.add_argument("--warmup", type=int, default=4)
    parser.add_argument("--modes", default="compile-bf16", help="of PyTorch, separated by commas: compile-bf16, bf16")
    parser.add_argument("--peak", type=float, help="bf16 TFLOP/s of the GPU's data sheet, for a GPU whose peak pixgen-train does not know")
    parser.add_argument("--case", action="append", help="PRESET:STAGE[:BATCH], may be repeated; all by default")
    args = parser.parse_args()
    cases = CASES
    if args.case:
        asked = [(*case.split(":"), "")[:3] for case in args.case]
        cases = [(preset, stage, int(batch or 32)) for preset, stage, batch in asked]
    # `timeout` asks so, and what was measured is printed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("gpu_step.py: asked to end"))
    print("| network | stage | batch | program | step | images/s | MFU | memory | ours / it |")
    print("|" + "---|" * 9, flush=True)
    for case in cases:
        measure(case, args)


if __name__ == "__main__":
    main()
