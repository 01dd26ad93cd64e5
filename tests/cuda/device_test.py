#!/usr/bin/env python3
"""Runs device.sh where there is no GPU: on the CPU, with the smallest network. Needs pixgen-train and cuda_step, built in release (execute.sh does).

    tests/cuda/device_test.py
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

SCRIPT = Path(__file__).resolve().with_name("device.sh")
SMALL = {"DEVICE": "cpu", "PRECISION": "f32", "PRESET": "nano-28-grey", "BATCH": "4", "STEPS": "2", "PYTHON": "/nothing/python3"}


def run(*arguments, **settings):
    """The script with these settings in an empty folder: what it returned, and the rows of its report."""
    with tempfile.TemporaryDirectory() as out:
        environment = {**os.environ, **SMALL, "OUT": out, **settings}
        done = subprocess.run([SCRIPT, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False)
        reports = [Path(out) / name for name in ("report.json", "report.md")]
        if not all(report.exists() for report in reports):
            return done, None
        rows, table = json.loads(reports[0].read_text()), reports[1].read_text().splitlines()
        assert table[2:] == [f"| {row['row']} | {row['result']} | {row['took']} s |" for row in rows], table
        return done, rows


def everything():
    done, rows = run()
    data = {row["row"]: (row["result"], row["data"]) for row in rows}
    compared, steps, pretrain, finetune, torch, operations, ways, diffusion, most = data.values()
    assert "rows within the bounds" in compared[0] and len(compared[1]) > 10, compared
    # The steps in bf16 are not for a CPU: a row that fails.
    assert steps[0].startswith("FAILED with status 1: error: the CPU computes in f32 only") and len(steps[1]) == 3, steps
    for result, report in (pretrain, finetune, diffusion):
        assert report["stages"][0]["steps"] == 2 and result.endswith("images/s, 4 of 4 images at once"), result
    assert torch == ("/nothing/python3 has none for CUDA", None), torch
    assert "encoder attention " in operations[0] and len(operations[1]["stages"][0]["operations"]) > 10, operations
    assert ways == ("CUDA chooses in bf16 only", None), ways
    assert f"{most[1]['stages'][0]['micro_batch']} of 256 images at once" in most[0], most
    assert done.returncode == 1 and done.stdout.endswith("1 failed, 0 without a result\n"), done


def nothing_in_time():
    done, rows = run(SECONDS_IN_ALL="5")
    assert [row["result"] for row in rows].count("no time left") == 7, rows
    assert done.returncode == 1 and done.stdout.endswith("2 failed, 7 without a result\n"), done


def wrong_arguments():
    done, rows = run("--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: device.sh") and rows is None, done
    cases = [(["all"], "usage:"), (["train", "set"], "usage:")]
    cases += [(["train", "set", minutes], f"MINUTES must be a whole number from 1, not '{minutes}'") for minutes in ("-1", "0", "08", "1.5", "x")]
    for arguments, message in cases:
        done, rows = run(*arguments)
        assert done.returncode == 1 and message in done.stderr and rows is None, done
    for settings, message in (({"SECONDS_IN_ALL": "all"}, "SECONDS_IN_ALL must be"), ({"OUT": "/proc/nothing"}, "/proc/nothing")):
        done, rows = run(**settings)
        assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1, done
    # What fails before the training ends it.
    done, _ = run("train", "/nothing", "1", PRECISION="f8")
    assert done.returncode != 0 and "f8" in done.stderr and not done.stdout, done


everything()
nothing_in_time()
wrong_arguments()
print("device.sh: its rows, reports and errors are as they should be")
