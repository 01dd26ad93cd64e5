#!/usr/bin/env python3
"""The table of probe.sh: nearest neighbours / linear probe over noise levels, means over seeds.   Usage: probe.py OUT SET"""
import json
import sys
from pathlib import Path

from runs import METHODS, probe_table

out, set_name = Path(sys.argv[1]), sys.argv[2]
found = {method: [json.loads(file.read_text()) for file in sorted(out.glob(f"{set_name}-{method}-*.probe.json"))] for method in METHODS}
found = {method: probes for method, probes in found.items() if probes}
if not found:
    sys.exit(f"probe.py: no probes of {set_name} in {out}; hint: probe.sh {out} {set_name}")
first = next(iter(found.values()))[0]
seeds = ", ".join(f"{len(probes)} of {METHODS[method]}" for method, probes in found.items())
print(f"\n**{set_name}**: {first['asked']} held-out pictures, {first['neighbours']} neighbours, guessing {100 * first['guessing']:.1f} %; seeds: {seeds}\n")
probe_table({METHODS[method]: probes for method, probes in found.items()})
