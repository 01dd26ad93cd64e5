#!/usr/bin/env python3
"""Training steps of pixgen-train against the same steps in PyTorch, in one run: the table of docs/results/performance.md.

    cargo build --release -p pixgen-train
    python3 -m venv venv && venv/bin/pip install torch
    tests/bench/cpu_step.py --python venv/bin/python

Every program is started once for each network and stage and takes one step at a time in turn, while the others wait: pixgen-train, then
PyTorch eager, compiled and in bf16, and again, so that whatever else the machine does meets all of them. The first rounds are not timed,
since they compile and warm up. Prints a markdown table of median times and of pixgen-train's over each of PyTorch's.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

# Of the repository; any folder will do where this was copied to.
ROOT = Path(__file__).resolve().parent.parent.parent
# Preset, stage, batch: the networks of the acceptance test, with the batches that their stages train with.
CASES = [
    ("base-32-rgb", "finetune", 32),
    ("base-32-rgb", "pretrain", 32),
    ("small-28-grey", "finetune", 128),
    ("small-28-grey", "pretrain", 256),
]
MODES = {"eager": "eager f32", "compile": "torch.compile f32", "bf16": "bf16 autocast"}


class Program:
    """A program that answers lines with steps."""

    def __init__(self, command, environment):
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment)
        except OSError as error:
            sys.exit(f"cannot start {command[0]}: {error}\nhint: see the start of this file for what it needs")
        self.command = command
        self.about = json.loads(self.read())

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{' '.join(self.command)} ended with status {self.process.wait()}")
        return line

    def ask(self, argument=0):
        self.process.stdin.write(f"{argument}\n")
        self.process.stdin.flush()

    def answer(self):
        return [float(number) for number in self.read().split()]

    def step(self, argument=0):
        self.ask(argument)
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(case, modes, args):
    """Median and fastest seconds of each program: {"pixgen": (m, f), "eager": (m, f), ..}, and PyTorch's version."""
    preset, stage, batch = case
    common = ["--preset", preset, "--stage", stage, "--batch", str(batch), "--threads", str(args.threads)]
    # The trainer reads PIXGEN_* as settings.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIXGEN_")}
    # PyTorch's optimiser is AdamW.
    ours = Program([args.binary, "bench", "--interleave", *common, "--optimiser", "adamw"], environment)
    peers = {mode: Program([args.python, str(ROOT / "tests/bench/torch_step.py"), "--mode", mode, *common], environment) for mode in modes}
    for peer in peers.values():
        if peer.about["parameters"] != ours.about["parameters"]:
            sys.exit(f"cpu_step.py: {peer.about['parameters']} parameters in PyTorch, {ours.about['parameters']} in pixgen-train")
    seconds = {name: [] for name in ["pixgen", *modes]}
    for round_ in range(args.warmup + args.steps):
        took, taught, _ = ours.step()
        # PyTorch's teacher draws as many pictures as ours did.
        times = {"pixgen": took, **{mode: peer.step(int(taught))[0] for mode, peer in peers.items()}}
        if round_ >= args.warmup:
            for name, time in times.items():
                seconds[name].append(time)
        print(f"\r{preset} {stage} {round_ + 1}/{args.warmup + args.steps}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    versions = {peer.about["torch"] for peer in peers.values()}
    for program in [ours, *peers.values()]:
        program.close()
    return {name: (statistics.median(times), min(times)) for name, times in seconds.items()}, ", ".join(sorted(versions))


def processor():
    """The processor's name, where the system says."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="Python that has PyTorch")
    parser.add_argument("--binary", default=str(ROOT / "target/release/pixgen-train"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each program")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--modes", default=",".join(MODES), help="of PyTorch, separated by commas")
    parser.add_argument("--case", action="append", help="PRESET:STAGE, may be repeated; all four by default")
    args = parser.parse_args()
    modes = [mode for mode in args.modes.split(",") if mode]
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown:
        sys.exit(f"cpu_step.py: no mode {unknown[0]}\nhint: the modes are {', '.join(MODES)}")
    cases = [case for case in CASES if not args.case or f"{case[0]}:{case[1]}" in args.case]
    if not cases:
        sys.exit("cpu_step.py: no such case\nhint: " + ", ".join(f"{preset}:{stage}" for preset, stage, _ in CASES))
    rows, version = [], ""
    for case in cases:
        seconds, version = measure(case, modes, args)
        rows.append((case, seconds))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{processor()}, {cores} cores, {args.threads} threads, PyTorch {version}, median of {args.steps} interleaved steps\n")
    titles = [title for mode in modes for title in (f"PyTorch {MODES[mode]}", "ratio")]
    print("| " + " | ".join(["network", "stage", "batch", "pixgen-train", *titles]) + " |")
    print("|" + "---|" * (4 + len(titles)))
    for (preset, stage, batch), seconds in rows:
        ours = seconds["pixgen"][0]
        cells = [preset, stage, str(batch), f"{1e3 * ours:.0f} ms"]
        for mode in modes:
            cells += [f"{1e3 * seconds[mode][0]:.0f} ms", f"{ours / seconds[mode][0]:.2f}"]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
