#!/usr/bin/env python3
"""Runs device.sh where there is no GPU: on the CPU, with the smallest network, and with programs that fail, hang and are stopped. Needs
pixgen-train and cuda_step, built in release (execute.sh does).

    tests/cuda/device_test.py
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
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
    compared, steps, machine, pretrain, finetune, torch, operations, ways, diffusion, most = data.values()
    assert "rows within the bounds" in compared[0] and len(compared[1]) > 10, compared
    # The steps in bf16 are not for a CPU: a row that fails.
    assert steps[0].startswith("FAILED with status 1: error: the CPU computes in f32 only") and len(steps[1]) == 3, steps
    assert "CPU cores, pixgen-train " in machine[0], machine
    for result, report in (pretrain, finetune, diffusion):
        assert report["stages"][0]["steps"] == 2 and result.endswith("images/s, 4 of 4 images at once"), result
    assert torch == ("/nothing/python3 has none for CUDA, or does not answer", None), torch
    assert "encoder attention " in operations[0] and len(operations[1]["stages"][0]["operations"]) > 10, operations
    assert ways == ("CUDA chooses in bf16 only", None), ways
    assert f"{most[1]['stages'][0]['micro_batch']} of 256 images at once" in most[0], most
    assert done.returncode == 1 and done.stdout.endswith("1 failed, 0 without a result\n"), done


def nothing_in_time():
    done, rows = run(SECONDS_IN_ALL="5")
    assert [row["result"] for row in rows].count("no time left") == 8, rows
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


# Two rows of a table, with what JSON and Markdown could not hold, and what follows them.
FAKE = """#!/bin/sh
case $1 in --version) echo 'pixgen-train 0'; exit ;; esac
echo 'Fake, compute capability 9.0' >&2
printf '| a | b |\\n|---|---|\\n| "one" | a\\\\b\\t |\\n| two | 2 |\\n'
"""


def heard():
    """A shell cannot trap what its parent ignores, as one does that runs in the background."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def fake(then, torch, started=lambda script: script.wait(timeout=60), **settings):
    """The script beside programs and a Python that do nothing but this: its status, output and rows. `started` is called while it runs."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(SCRIPT, folder)
        Path(folder, "gpu_step.py").touch()
        for name, text in {**dict.fromkeys(("pixgen-train", "cuda_step", "cuda_kernels"), FAKE + then), "python": "#!/bin/sh\n" + torch}.items():
            Path(folder, name).write_text(text)
            Path(folder, name).chmod(0o755)
        Path(folder, "report.json").write_text("of another run")
        environment = {**os.environ, **SMALL, "DEVICE": "cuda", "PRECISION": "bf16", "OUT": folder, "PYTHON": f"{folder}/python", **settings}
        with subprocess.Popen([f"{folder}/device.sh"], env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=heard) as script:
            while script.poll() is None and "== " not in (log.read_text() if (log := Path(folder, "report.log")).exists() else ""):
                time.sleep(0.05)
            started(script)
            output = script.stdout.read()
        table = Path(folder, "report.md").read_text().splitlines()
        rows = json.loads(Path(folder, "report.json").read_text())
        assert len(table) == 2 + len(rows), table
        assert list(Path(folder).glob("work.*")) == [] or script.returncode == -signal.SIGKILL
        return script.returncode, output, rows


def everything_fails():
    """All rows are there, with what was printed."""
    status, output, rows = fake("echo 'error: no \"GPU\"' >&2\nexit 3\n", "exit 1\n")
    assert status == 1 and output.endswith("9 failed, 0 without a result\n"), output
    assert len(rows) == 11 and rows[0]["result"] == "FAILED with status 3: error: no GPU, see report.log", rows
    assert rows[0]["data"] == ["| one | ab |", "| two | 2 |"], rows
    assert rows[3]["result"].startswith("Fake, compute capability 9.0, "), rows


def what_hangs_is_cut_off():
    """What was printed stays, and it is over in time, with a program that does not end when asked to; so is Python."""
    started = time.monotonic()
    status, output, rows = fake("trap '' TERM\nsleep 100 & wait\nsleep 100\n", "sleep 100\n", SECONDS_IN_ALL="16")
    assert status == 1 and time.monotonic() - started < 18 and "3 failed, " in output, output
    assert rows[0]["result"] in ("not finished in 11 s", "not finished in 10 s") and len(rows[0]["data"]) == 2, rows


def what_stops_it_is_a_row():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        status, _, rows = fake("exec sleep 100\n", "exit 1\n", lambda script, number=number: (time.sleep(0.3), script.send_signal(number)))
        assert status == 128 + number and len(rows) == 1, (status, rows)
        assert rows[0]["result"] == f"stopped by {number.name}" and len(rows[0]["data"]) == 2, rows
    # Nothing can be said of this one, but that no report of another run is left.
    _, _, rows = fake("exec sleep 3\n", "exit 1\n", lambda script: script.kill())
    assert rows == [], rows


everything()
nothing_in_time()
everything_fails()
what_hangs_is_cut_off()
what_stops_it_is_a_row()
wrong_arguments()
print("device.sh: its rows, reports and errors are as they should be")
