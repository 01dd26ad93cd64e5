#!/usr/bin/env python3
"""Prints FRECHET_GOLDEN of pixgen-edge/src/eval/frechet.rs: Fréchet distances through scipy's general matrix square root.

Usage: python3 tests/gen/frechet_golden.py   (numpy 2.4.6, scipy 1.17.1)
"""
import numpy as np
from scipy.linalg import sqrtm


def features(group, n, dim):
    """A formula that the Rust test repeats: values in [0, 1) mixed so that neighbouring columns correlate."""
    i, j = np.arange(n)[:, None], np.arange(dim)[None, :]

    def raw(j):
        x = np.sin(i * 12.9898 + j * 78.233 + group * 37.719) * 43.7585
        return x - np.floor(x)

    return (group * raw(j) + 0.5 * raw(j // 2) + 0.01 * group * j).astype(np.float32).astype(np.float64)


def frechet(a, b):
    mean = a.mean(0) - b.mean(0)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return mean @ mean + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)


if __name__ == "__main__":
    for n1, n2, dim in [(50, 80, 4), (300, 200, 16), (1000, 500, 64)]:
        print(f"        ({n1}, {n2}, {dim}, {float(frechet(features(1, n1, dim), features(2, n2, dim)))}),")
