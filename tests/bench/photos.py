#!/usr/bin/env python3
"""Makes data for `pixgen-train data bench` from two real photos: random crops as JPEG in a zip archive, in tar shards and in a folder.

    python3 -m venv venv && venv/bin/pip install scikit-learn pillow
    venv/bin/python tests/bench/photos.py OUT [--count 4000] [--side 256] [--quality 95]

The photos are scikit-learn's china.jpg and flower.jpg (427 x 640 pixels, CC BY), a class each. Crops are taken at random places of the
photo enlarged at random by up to two, and mirrored or not, so that no two files are the same.
"""
import argparse
import io
import random
import tarfile
import zipfile
from pathlib import Path

from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

SHARD = 1000


def crops(photo, count, side, quality, draws):
    for _ in range(count):
        scale = draws.uniform(1, 2)
        left, top = (draws.uniform(0, length - side / scale) for length in photo.size)
        box = (left, top, left + side / scale, top + side / scale)
        crop = photo.resize((side, side), Image.BICUBIC, box)
        if draws.random() < 0.5:
            crop = ImageOps.mirror(crop)
        file = io.BytesIO()
        crop.save(file, "JPEG", quality=quality)
        yield file.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--quality", type=int, default=95)
    options = parser.parse_args()
    draws = random.Random(1)
    files = []
    for label, photo in enumerate(load_sample_images().images):
        photo = Image.fromarray(photo)
        count = options.count // 2
        files += [(label, data) for data in crops(photo, count, options.side, options.quality, draws)]
    draws.shuffle(files)

    out = options.out
    (out / "shards").mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out / "photos.zip", "w", zipfile.ZIP_STORED) as archive:
        for number, (label, data) in enumerate(files):
            archive.writestr(f"{('china', 'flower')[label]}/{number:06}.jpg", data)
    for start in range(0, len(files), SHARD):
        with tarfile.open(out / "shards" / f"{start // SHARD:04}.tar", "w") as shard:
            for number, (label, data) in enumerate(files[start : start + SHARD], start):
                for extension, content in [("jpg", data), ("cls", str(label).encode())]:
                    info = tarfile.TarInfo(f"{number:06}.{extension}")
                    info.size = len(content)
                    shard.addfile(info, io.BytesIO(content))
    for number, (label, data) in enumerate(files):
        path = out / "folder" / ("china", "flower")[label] / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    size = sum(len(data) for _, data in files) / len(files)
    print(f"{out}: {len(files)} files of {size / 1e3:.1f} kB as photos.zip, shards/ and folder/")


main()
