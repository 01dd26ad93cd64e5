#!/usr/bin/env python3
"""The table and the plot of guidance.sh: distance and class over weights of guidance.   Usage: guidance.py OUT SET"""
import sys
from pathlib import Path

from runs import mean_and_spread, rows, show

out, set_name = Path(sys.argv[1]), sys.argv[2]
few = [rows(file)[0] for file in sorted(out.glob(f"guidance-{set_name}-*-10.json"))]
many = [rows(file) for file in sorted(out.glob(f"guidance-{set_name}-*-75.json"))]
if not few or not many:
    sys.exit(f"guidance.py: no measurements of {set_name} in {out}; hint: guidance.sh {out} {set_name}")
groups = [("10", few)] + [(f"{runs[0]['evaluations']}", list(runs)) for runs in zip(*many)]

print(f"\n**{set_name}**: {few[0]['frechet_name']}, n = {few[0]['generated']['n']}, {len(few)} seeds\n")
print("| evaluations | guidance | Fréchet distance | class seen, % | recall | coverage |\n|---|---|---|---|---|---|")
for evaluations, runs in groups:
    number = lambda key: [run["generated"][key] for run in runs]
    cells = [show(number("frechet"), 2), show(number("accuracy"), 1, 100), show(number("recall"), 3), show(number("coverage"), 3)]
    print(f"| {evaluations} | {runs[0]['guidance']:g} | " + " | ".join(cells) + " |")

# The plot: two panels over the weight; bars are the spread over seeds, the dashed line is 10 evaluations without guidance.
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 300, 220, 50, 34, 26
weights = [runs[0]["guidance"] for _, runs in groups[1:]]
svg = []


def panel(offset, title, key, scale):
    points = [mean_and_spread([scale * run["generated"][key] for run in runs]) for _, runs in groups]
    low = min(mean - spread for mean, spread in points)
    high = max(mean + spread for mean, spread in points)
    low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)
    x = lambda w: offset + LEFT + (WIDTH - LEFT - 12) * (w - weights[0]) / (weights[-1] - weights[0])
    y = lambda v: HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (v - low) / (high - low)
    svg.append(f'<text x="{offset + LEFT}" y="16">{title}</text>')
    for step in range(5):
        value = low + (high - low) * step / 4
        svg.append(f'<line x1="{x(weights[0])}" x2="{x(weights[-1])}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>')
        svg.append(f'<text x="{offset + LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for weight in weights:
        svg.append(f'<text x="{x(weight):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{weight:g}</text>')
    base = y(points[0][0])
    svg.append(f'<line x1="{x(weights[0])}" x2="{x(weights[-1])}" y1="{base:.1f}" y2="{base:.1f}" stroke="#c60" stroke-dasharray="5 4"/>')
    svg.append(f'<text x="{x(weights[-1])}" y="{base - 4:.1f}" text-anchor="end" fill="#c60">10 evaluations</text>')
    for weight, (mean, spread) in zip(weights, points[1:]):
        svg.append(f'<line x1="{x(weight):.1f}" x2="{x(weight):.1f}" y1="{y(mean - spread):.1f}" y2="{y(mean + spread):.1f}" stroke="#06a"/>')
        svg.append(f'<circle cx="{x(weight):.1f}" cy="{y(mean):.1f}" r="3" fill="#06a"/>')
    path = " ".join(f"{x(weight):.1f},{y(mean):.1f}" for weight, (mean, _) in zip(weights, points[1:]))
    svg.append(f'<polyline points="{path}" fill="none" stroke="#06a" stroke-width="1.5"/>')
    svg.append(f'<text x="{offset + LEFT + (WIDTH - LEFT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">weight of guidance</text>')


panel(0, f"{set_name}: Fréchet distance", "frechet", 1)
panel(WIDTH, f"{set_name}: class seen, %", "accuracy", 100)
plot = out / f"guidance-{set_name}.svg"
plot.write_text(
    f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="11">'
    f'<rect width="100%" height="100%" fill="white"/>{"".join(svg)}</svg>\n'
)
print(f"\n{plot}")
