#!/usr/bin/env python3
"""Writes pixgen-edge/data/fashion-mnist-10k/: the first 1,000 training images of each Fashion-MNIST class, in file order.

Usage: python3 tests/gen/fashion_subset.py [SOURCE_FOLDER]   (standard library only)
SOURCE_FOLDER holds train-{images-idx3,labels-idx1}-ubyte.gz; the default is where Debian's dataset-fashion-mnist puts them.
"""
import gzip
import struct
import sys
from pathlib import Path

PER_CLASS, CLASSES, SIDE = 1000, 10, 28
IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"

source = Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/datasets/fashion-mnist")
target = Path(__file__).resolve().parents[2] / "pixgen-edge" / "data" / "fashion-mnist-10k"

images = gzip.decompress((source / IMAGES).read_bytes())
labels = gzip.decompress((source / LABELS).read_bytes())
magic, count, rows, columns = struct.unpack(">4I", images[:16])
assert (magic, rows, columns) == (0x803, SIDE, SIDE), f"{IMAGES}: magic {magic:#x}, {rows}x{columns}"
assert struct.unpack(">2I", labels[:8]) == (0x801, count), f"{LABELS}: wrong header"
assert len(images) == 16 + count * SIDE * SIDE and len(labels) == 8 + count, "wrong file length"

taken, chosen = [0] * CLASSES, []
for index, label in enumerate(labels[8:]):
    if taken[label] < PER_CLASS:
        taken[label] += 1
        chosen.append(index)
assert taken == [PER_CLASS] * CLASSES, taken

size = SIDE * SIDE
subset_images = struct.pack(">4I", 0x803, len(chosen), SIDE, SIDE)
subset_images += b"".join(images[16 + i * size : 16 + (i + 1) * size] for i in chosen)
subset_labels = struct.pack(">2I", 0x801, len(chosen)) + bytes(labels[8 + i] for i in chosen)

target.mkdir(parents=True, exist_ok=True)
for name, data in ((IMAGES, subset_images), (LABELS, subset_labels)):
    packed = gzip.compress(data, 9, mtime=0)
    (target / name).write_bytes(packed)
    print(f"{target / name}: {len(packed)} bytes")
