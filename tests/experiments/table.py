#!/usr/bin/env python3
"""Mean and spread over seeds of the runs of stage1.sh, as a Markdown table.   Usage: table.py OUT BUDGET ..."""
import sys
from pathlib import Path

from runs import rows, show

out, budgets = Path(sys.argv[1]), sys.argv[2:]

print("| stage-2 images | stage 1 | seeds | accuracy, % | FD-fmnist (n = 5000) | nearest training picture, median |")
print("|---|---|---|---|---|---|")
for budget in budgets:
    for kind, name in (("scratch", "none"), ("pretrained", "120k images")):
        runs = [row for path in sorted(out.glob(f"{kind}-{budget}-*.json")) for row in rows(path)]
        column = lambda key: [run["generated"][key] for run in runs]
        print(
            f"| {budget} | {name} | {len(runs)} | {show(column('accuracy'), 1, 100)} | {show(column('frechet'), 1)} "
            f"| {show(column('nearest_median'), 4)} |"
        )
real = runs[0]["real"]
print(
    f"\nReal pictures: accuracy {100 * real['accuracy']:.1f} %, FD-fmnist {real['frechet']:.2f}, "
    f"nearest training picture {real['nearest_median']:.4f}."
)
