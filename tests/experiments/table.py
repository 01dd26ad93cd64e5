#!/usr/bin/env python3
"""Mean and spread over seeds of the runs of stage1.sh, as a Markdown table.   Usage: table.py OUT BUDGET ..."""
import json
import sys
from pathlib import Path

from runs import show

out, budgets = Path(sys.argv[1]), sys.argv[2:]

print("| stage-2 images | stage 1 | seeds | accuracy, % | FD-fmnist (n = 5000) | nearest training picture, median |")
print("|---|---|---|---|---|---|")
for budget in budgets:
    for kind, name in (("scratch", "none"), ("pretrained", "120k images")):
        runs = [json.loads(p.read_text()) for p in sorted(out.glob(f"{kind}-{budget}-*.json"))]
        column = lambda key: [run[key] for run in runs]
        print(
            f"| {budget} | {name} | {len(runs)} | {show(column('accuracy'), 1, 100)} | {show(column('fd'), 1)} "
            f"| {show(column('nearest_median'), 4)} |"
        )
floors = runs[0]["floors"]
print(
    f"\nReal pictures: accuracy {100 * floors['real_accuracy']:.1f} %, FD-fmnist {floors['real_fd_at_same_n']:.2f}, "
    f"nearest training picture {floors['real_nearest_median']:.4f}."
)
