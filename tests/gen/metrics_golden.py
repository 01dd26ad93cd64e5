#!/usr/bin/env python3
"""Prints KERNEL_GOLDEN and MANIFOLD_GOLDEN of pixgen-train/src/quality/{kernel,neighbours}.rs.

The kernel distance through torch-fidelity's own functions, on subsets that this project's generator draws; precision, recall, density
and coverage through the authors' package prdc.

Usage: python3 tests/gen/metrics_golden.py   (torch-fidelity 0.4.0, prdc 0.2, numpy 2.4.6, torch 2.15.0)
"""
import contextlib
import io

import numpy as np
from prdc import compute_prdc
from torch_fidelity.metric_kid import kernel_poly, mmd2

from frechet_golden import features
from philox import below

KERNEL = dict(kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1)


def sample(n, size, seed, stream):
    """`kernel::sample`: the first steps of a Fisher-Yates shuffle."""
    order = list(range(n))
    for i in range(size):
        j = i + below(seed, stream, i, n - i)
        order[i], order[j] = order[j], order[i]
    return order[:size]


def full(x, y):
    """The estimate from all pairs; torch-fidelity's takes sets of one size only, so the means are written out."""
    xx, yy, xy = (kernel_poly(a, b, **KERNEL) for a, b in [(x, x), (y, y), (x, y)])
    off_diagonal = lambda k: (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))
    value = off_diagonal(xx) + off_diagonal(yy) - 2 * xy.mean()
    m = min(len(x), len(y))
    theirs = mmd2(xx[:m, :m], xy[:m, :m], yy[:m, :m])
    ours = off_diagonal(xx[:m, :m]) + off_diagonal(yy[:m, :m]) - 2 * xy[:m, :m].mean()
    assert abs(theirs / ours - 1) < 1e-9, (theirs, ours)
    return value


def subset(x, y, size, seed, number):
    x, y = (set[sample(len(set), size, seed, 2 * number + side)] for side, set in enumerate([x, y]))
    return mmd2(*(kernel_poly(a, b, **KERNEL) for a, b in [(x, x), (x, y), (y, y)]))


if __name__ == "__main__":
    for n1, n2, dim in [(100, 90, 4), (300, 200, 16), (700, 800, 64)]:
        x, y = features(1, n1, dim), features(2, n2, dim)
        values = [subset(x, y, 40, 7, number) for number in range(10)]
        print(f"        ({n1}, {n2}, {dim}, {float(full(x, y))}, {float(np.mean(values))}, {float(np.std(values))}),")
    for n1, n2, dim, k in [(100, 90, 4, 1), (300, 200, 6, 5), (700, 600, 8, 3)]:
        with contextlib.redirect_stdout(io.StringIO()):
            found = compute_prdc(features(1, n1, dim), features(2, n2, dim), k)
        values = ", ".join(str(float(found[name])) for name in ["precision", "recall", "density", "coverage"])
        print(f"        ({n1}, {n2}, {dim}, {k}, [{values}]),")
