#!/usr/bin/env python3
"""The table of levels.sh: nearest neighbours / linear probe over noise levels, means over seeds.   Usage: levels.py OUT IMAGES"""
import json
import sys
from collections import defaultdict
from pathlib import Path

from runs import probe_table

out, images = Path(sys.argv[1]), sys.argv[2]
found = defaultdict(list)
for file in sorted(out.glob(f"{images}-*.probe.json"), key=lambda file: file.stat().st_mtime):
    name = file.name.removesuffix(".probe.json").removeprefix(f"{images}-").rsplit("-", 1)[0]
    found[name.replace("_", " ")].append(json.loads(file.read_text()))
if not found:
    sys.exit(f"levels.py: no probes of {images} images in {out}; hint: levels.sh {out} {images}")
probe_table(found)
