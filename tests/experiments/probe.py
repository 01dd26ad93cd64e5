#!/usr/bin/env python3
"""The table of probe.sh: nearest neighbours / linear probe over noise levels, means over seeds.   Usage: probe.py OUT SET"""
import json
import statistics
import sys
from pathlib import Path

from runs import METHODS

out, set_name = Path(sys.argv[1]), sys.argv[2]
found = {method: [json.loads(file.read_text()) for file in sorted(out.glob(f"{set_name}-{method}-*.probe.json"))] for method in METHODS}
found = {method: probes for method, probes in found.items() if probes}
if not found:
    sys.exit(f"probe.py: no probes of {set_name} in {out}; hint: probe.sh {out} {set_name}")
first = next(iter(found.values()))[0]


def cells(probes, prefix=""):
    for level in range(len(first["levels"])):
        mean = lambda key: 100 * statistics.mean(probe["levels"][level][prefix + key] for probe in probes)
        yield f"{mean('knn'):.1f} / {mean('linear'):.1f}"


seeds = ", ".join(f"{len(probes)} of {METHODS[method]}" for method, probes in found.items())
print(f"\n**{set_name}**: {first['asked']} held-out pictures, {first['neighbours']} neighbours, guessing {100 * first['guessing']:.1f} %; seeds: {seeds}\n")
print("| encoder | " + " | ".join(f"sigma {level['sigma']:g}" for level in first["levels"]) + " |")
print("|---" * (1 + len(first["levels"])) + "|")
print("| before training | " + " | ".join(cells([probe for probes in found.values() for probe in probes], "untrained_")) + " |")
for method, probes in found.items():
    print(f"| {METHODS[method]} | " + " | ".join(cells(probes)) + " |")
