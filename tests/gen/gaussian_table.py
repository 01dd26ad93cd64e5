#!/usr/bin/env python3
"""Writes pixgen-core/src/gaussian_table.rs: the inverse normal CDF that pixgen_core::rng interpolates.

Usage: python3 tests/gen/gaussian_table.py > pixgen-core/src/gaussian_table.rs   (standard library only)
"""
from statistics import NormalDist

OCTAVES, CELL_BITS, FRACTION_BITS = 32, 6, 24

values = []
for octave in reversed(range(OCTAVES)):  # the tail first
    start = 2.0 ** -(octave + 2)
    for cell in range(1 << CELL_BITS):
        p = start * (1 + cell / (1 << CELL_BITS))
        values.append(round(-NormalDist().inv_cdf(p) * (1 << FRACTION_BITS)))
values.append(0)  # p = 1/2

print("//! Quantiles of the standard normal, written by tests/gen/gaussian_table.py; do not edit.\n")
print("/// Octaves of the tail probability p, from [2^-33, 2^-32) to [1/4, 1/2).")
print(f"pub(crate) const OCTAVES: usize = {OCTAVES};")
print("/// Each octave has 2^CELL_BITS cells of equal width.")
print(f"pub(crate) const CELL_BITS: u32 = {CELL_BITS};")
print("/// z with P(Z > z) = p at the cell borders, p ascending from 2^-33 to 1/2, 24 fractional bits.")
print(f"#[rustfmt::skip]\npub(crate) static QUANTILES: [u32; {len(values)}] = [")
for i in range(0, len(values), 10):
    print("    " + ", ".join(str(v) for v in values[i : i + 10]) + ",")
print("];")
