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
