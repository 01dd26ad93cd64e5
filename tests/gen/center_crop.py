#!/usr/bin/env python3
"""Prints the golden pictures of pixgen-edge/src/data/resize.rs: ADM's crop as Pillow computes it.

ADM (openai/guided-diffusion, `center_crop_arr`) halves a picture with BOX while its shorter side is at least twice the target, scales it
with BICUBIC so that the shorter side is the target, and takes the centre.

Usage: python3 tests/gen/center_crop.py   (numpy 2.4.6, Pillow 11.3.0; Pillow 13 filters the columns of upright pictures first)
"""
import numpy as np
from PIL import Image

# Height, width, channels, target.
CASES = [
    (64, 64, 1, 8),  # three halvings
    (53, 97, 3, 6),  # odd sides, nothing left for the bicubic filter
    (30, 41, 1, 8),  # smaller
    (5, 9, 1, 8),  # larger
    (131, 200, 3, 4),
    (100, 37, 1, 10),
]


def picture(height, width, channels):
    """A formula that the Rust test repeats: slopes, and edges at which the cubic overshoots."""
    y, x, c = np.mgrid[:height, :width, :channels]
    return ((x * 7 + y * 3 + c * 50) // 2 + 97 * ((x // 5 + y // 3) % 2) + (x * y) % 31).astype(np.int64) % 256


def center_crop(image, size):
    while min(image.size) >= 2 * size:
        image = image.resize(tuple(side // 2 for side in image.size), resample=Image.BOX)
    scale = size / min(image.size)
    image = image.resize(tuple(round(side * scale) for side in image.size), resample=Image.BICUBIC)
    pixels = np.array(image)
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]


for height, width, channels, size in CASES:
    pixels = picture(height, width, channels).astype(np.uint8)
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    values = ", ".join(str(v) for v in center_crop(image, size).ravel())
    print(f"            ({height}, {width}, {channels}, {size}, &[{values}]),")
