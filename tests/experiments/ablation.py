#!/usr/bin/env python3
"""Mean and spread over seeds of the runs of ablation.sh, as Markdown tables.   Usage: ablation.py OUT"""
import sys
from pathlib import Path

from runs import METHODS, rows, show

out = Path(sys.argv[1])
OBJECTIVES = {"diffusion": "diffusion", "consistency": "consistency, one step"}
# Title, key, digits, factor.
COLUMNS = [
    ("Fréchet distance", "frechet", 2, 1),
    ("kernel distance", "kernel", 2, 1),
    ("precision", "precision", 3, 1),
    ("recall", "recall", 3, 1),
    ("coverage", "coverage", 3, 1),
    ("class seen, %", "accuracy", 1, 100),
    ("nearest, median", "nearest_median", 4, 1),
]

for set_name in ("fashion", "emoji"):
    found = {}
    for objective in OBJECTIVES:
        for method in METHODS:
            files = sorted(out.glob(f"{set_name}-{method}-{objective}-*.json"))
            if files:
                found[objective, method] = {file.stem.rsplit("-", 1)[1]: rows(file)[0] for file in files}
    if not found:
        continue
    first = next(run for runs in found.values() for run in runs.values())
    print(f"\n**{set_name}**: {first['frechet_name']}, n = {first['generated']['n']}, reference {first['reference']}\n")
    print("| stage 2 | stage 1 | evaluations | seeds | " + " | ".join(title for title, *_ in COLUMNS) + " | Fréchet distance less none's |")
    print("|" + "---|" * (5 + len(COLUMNS)))
    for (objective, method), runs in found.items():
        # Runs of a seed see the same pictures with the same noise, so the gap is taken seed by seed.
        plain = found.get((objective, "none"), {})
        gaps = [runs[seed]["generated"]["frechet"] - plain[seed]["generated"]["frechet"] for seed in runs.keys() & plain.keys()]
        gap = show(gaps, 2) if method != "none" and gaps else ""
        cells = [show([run["generated"][key] for run in runs.values()], digits, scale) for _, key, digits, scale in COLUMNS]
        evaluations = next(iter(runs.values()))["evaluations"]
        print(f"| {OBJECTIVES[objective]} | {METHODS[method]} | {evaluations} | {len(runs)} | " + " | ".join(cells) + f" | {gap} |")
    if first["real"]:
        cells = [f"{scale * first['real'][key]:.{digits}f}" for _, key, digits, scale in COLUMNS]
        print(f"| real pictures, n = {first['real']['n']} | | | | " + " | ".join(cells) + " | |")
