"""What the tables and plots of the experiments share: rows that `pixgen-train eval --json` wrote, and mean and spread over seeds."""
import json
import statistics

METHODS = {"none": "none", "moco": "MoCo v3", "rrcm": "rRCM", "epg": "EPG"}


def rows(path):
    """The measurements of a file, one for each way of drawing."""
    return json.loads(path.read_text())["rows"]


def mean_and_spread(values):
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def show(values, digits, scale=1):
    mean, spread = mean_and_spread([scale * value for value in values])
    return f"{mean:.{digits}f} ± {spread:.{digits}f}"


def probe_table(found):
    """Nearest neighbours / linear probe over noise levels, means over the probes of each row, as Markdown."""
    levels = next(iter(found.values()))[0]["levels"]

    def row(name, probes, prefix=""):
        mean = lambda level, key: 100 * statistics.mean(probe["levels"][level][prefix + key] for probe in probes)
        cells = (f"{mean(level, 'knn'):.1f} / {mean(level, 'linear'):.1f}" for level in range(len(levels)))
        print(f"| {name} | " + " | ".join(cells) + " |")

    print("| encoder | " + " | ".join(f"sigma {level['sigma']:g}" for level in levels) + " |")
    print("|---" * (1 + len(levels)) + "|")
    row("before training", [probe for probes in found.values() for probe in probes], "untrained_")
    for name, probes in found.items():
        row(name, probes)
