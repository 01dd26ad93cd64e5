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
from contextlib import contextmanager
from pathlib import Path

SCRIPT = Path(__file__).resolve().with_name("device.sh")
BENCH = SCRIPT.parent.parent / "bench"
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
    machine, device, compared, steps, pretrain, finetune, torch, operations, ways, diffusion, most = data.values()
    said = [machine[1]["version"], f"commit {machine[1]['commit']}", f"sha256 {machine[1]['sha256']}"]
    assert f", {', '.join(said)}, Linux " in machine[0] and "CPU cores" in machine[0], machine
    assert machine[1]["version"].startswith("pixgen-train ") and machine[1]["date"].endswith("UTC") and machine[1]["batch"] == 4, machine
    assert device[0] == "opened", device
    assert "rows within the bounds: outputs and gradients 1e-5 of the CPU's" in compared[0], compared
    assert len(compared[1]) > 10 and compared[1][0].startswith("| operation of nano-28-grey, f32 |"), compared
    assert steps == ("CUDA alone has bf16, which half of them are in", None), steps
    for result, report in (pretrain, finetune, diffusion):
        assert report["stages"][0]["steps"] == 2 and result.endswith("images/s, 4 of 4 images at once"), result
    assert torch == ("CUDA only", None), torch
    assert "encoder attention " in operations[0] and len(operations[1]["stages"][0]["operations"]) > 10, operations
    assert ways == ("CUDA chooses in bf16 only", None), ways
    assert f"{most[1]['stages'][0]['micro_batch']} of 256 images at once" in most[0], most
    assert done.returncode == 0 and done.stdout.endswith("0 failed, 0 without a result\n"), done


def wrong_arguments():
    done, rows = run("--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: device.sh") and rows is None, done
    cases = [(["all"], "usage:"), (["train", "set"], "usage:")]
    cases += [(["train", "set", minutes], f"MINUTES must be a whole number from 1, not '{minutes}'") for minutes in ("-1", "0", "08", "1.5", "x")]
    for arguments, message in cases:
        done, rows = run(*arguments)
        assert done.returncode == 1 and message in done.stderr and rows is None, done
    settings = {"SECONDS_IN_ALL": "all", "BATCH": "x", "STEPS": "0", "OUT": "/proc/nothing", "DEVICE": "gpu", "PRECISION": "f8"}
    for name, value in settings.items():
        done, rows = run(**{name: value})
        assert done.returncode == 1 and (name in done.stderr or value in done.stderr) and len(done.stderr.splitlines()) == 1, done
    done, _ = run(PRECISION="bf16")
    assert done.returncode == 1 and "PRECISION=bf16 needs a DEVICE of CUDA" in done.stderr, done
    # A second row says what is wrong with a preset and a device, and is the last.
    for settings, message in (({"PRESET": "none"}, "none is no preset"), ({"DEVICE": "cuda:7"}, "error: ")):
        done, rows = run(**settings)
        assert done.returncode == 1 and len(rows) == 2 and f"FAILED with status 1: error: " in rows[1]["result"] and message in rows[1]["result"], rows
    # What fails before the training ends it.
    done, _ = run("train", "/nothing", "1")
    assert done.returncode == 1 and "cannot read /nothing" in done.stderr and not done.stdout, done


# What a device says, two rows of a table, with what JSON and Markdown could not hold, their bounds, and what follows them.
FAKE = """#!/bin/sh
case "$1 $4" in '--version '*) echo 'pixgen-train 0'; exit ;; *' open') echo 'Fake, compute capability 9.0' >&2; exit ;; esac
printf '| a | b |\\n|---|---|\\n| "one" | a\\\\b\\t |\\n| two | 2 |\\n'
"""
FIRST = 2  # the rows before those of the fakes


def heard():
    """A shell cannot trap what its parent ignores, as one does that runs in the background."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def fakes(program, torch="exit 1\n", **settings):
    """A folder with the script beside programs and a Python that do nothing but this, and the environment for them."""
    with tempfile.TemporaryDirectory(prefix="a b") as folder:
        shutil.copy(SCRIPT, folder)
        Path(folder, "gpu_step.py").touch()
        for name, text in {**dict.fromkeys(("pixgen-train", "cuda_step", "cuda_kernels"), program), "python": "#!/bin/sh\n" + torch}.items():
            Path(folder, name).write_text(text)
            Path(folder, name).chmod(0o755)
        settings = {"DEVICE": "cuda", "PRECISION": "bf16", "OUT": folder, "PYTHON": f"{folder}/python", **settings}
        yield Path(folder), {**os.environ, **SMALL, **settings}


def logged(folder, text, script):
    """Waits until the log says so."""
    while script.poll() is None and text not in (log.read_text() if (log := folder / "report.log").exists() else ""):
        time.sleep(0.05)


def fake(then, torch="exit 1\n", started=lambda script: script.wait(timeout=60), **settings):
    """Status, output and rows of the script beside fakes. `started` is called while the first row of them runs."""
    with fakes(FAKE + then, torch, **settings) as (folder, environment):
        (folder / "report.json").write_text("of another run")
        with subprocess.Popen([folder / "device.sh"], env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=heard) as script:
            logged(folder, "== operations", script)
            started(script)
            output = script.stdout.read()
        table = (folder / "report.md").read_text().splitlines()
        rows = json.loads((folder / "report.json").read_text())
        assert len(table) == 2 + len(rows), table
        assert list(folder.glob("work.*")) == [] or script.returncode == -signal.SIGKILL
        return script.returncode, output, rows


def everything_fails():
    """All rows are there, with what was printed and what was said of it."""
    status, output, rows = fake("echo 'error: no \"GPU\"' >&2\nexit 3\n")
    assert status == 1 and output.endswith("9 failed, 0 without a result\n"), output
    assert len(rows) == 12 and rows[1]["result"] == "Fake, compute capability 9.0", rows
    assert rows[FIRST]["result"] == "FAILED with status 3: error: no GPU, see report.log", rows
    assert rows[FIRST]["data"] == ["| a | b |", "| one | ab |", "| two | 2 |"], rows
    panic = "printf \"\\nthread 'main' panicked at a.rs:1:2:\\nall is lost\\nnote: run with RUST_BACKTRACE=1\\n\" >&2\nexit 101\n"
    assert "101: thread 'main' panicked at a.rs:1:2: all is lost, see" in fake(panic)[2][FIRST]["result"]
    assert "FAILED with status 139: (SIGSEGV) " in fake("ulimit -c 0\nkill -SEGV $$\n")[2][FIRST]["result"]
    # Killed by the system before its time is up.
    assert "FAILED with status 137: (SIGKILL) " in fake("kill -KILL $$\n")[2][FIRST]["result"]


def nothing_is_no_result():
    """What ends well and prints no bounds, no steps and no choices; and the shares of the rows fill the time."""
    status, output, rows = fake("")
    assert status == 1 and output.endswith("9 failed, 0 without a result\n"), output
    assert all(row["result"] == "FAILED without a result, see report.log" for row in rows[FIRST:] if row["row"] != "PyTorch"), rows
    _, _, rows = fake("echo 'bounds: none'\n")
    assert [row["result"] for row in rows[FIRST : FIRST + 3]] == ["2 rows within the bounds: none"] * 3, rows


def a_program_that_does_not_start():
    for name, row in (("pixgen-train", "machine"), ("cuda_step", "device cuda")):
        with fakes(FAKE) as (folder, environment):
            (folder / name).write_text("#!/bin/sh\necho \"libc.so.6: version 'GLIBC_2.99' not found\" >&2\nexit 1\n")
            done = subprocess.run([folder / "device.sh"], env=environment, capture_output=True, text=True, check=False)
            last = json.loads((folder / "report.json").read_text())[-1]
            assert done.returncode == 1 and last["row"] == row and "GLIBC_2.99" in last["result"], (done, last)


def what_hangs_is_cut_off():
    """What was printed stays, and it is over in time, with a program that does not end when asked to; so is Python."""
    started = time.monotonic()
    status, output, rows = fake("trap '' TERM\nsleep 100 & wait\nsleep 100\n", "sleep 100\n", SECONDS_IN_ALL="16")
    assert status == 1 and time.monotonic() - started < 18 and "3 failed, " in output, output
    assert rows[FIRST]["result"] in ("not finished in 11 s", "not finished in 10 s") and len(rows[FIRST]["data"]) == 3, rows
    assert [row["result"] for row in rows].count("no time left") == 9, rows


def what_stops_it_is_a_row():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        status, output, rows = fake("exec sleep 100\n", started=lambda script, number=number: (time.sleep(0.3), script.send_signal(number)))
        assert status == 128 + number and len(rows) == FIRST + 1 and f"stopped by {number.name}" in output, (status, rows)
        assert rows[FIRST]["result"] == f"stopped by {number.name}" and len(rows[FIRST]["data"]) == 3, rows
    # Nothing can be said of this one, but that no report of another run is left.
    _, _, rows = fake("exec sleep 3\n", started=lambda script: script.kill())
    assert len(rows) == FIRST, rows


def one_at_a_time():
    """A folder belongs to one script, and what cannot be written ends it; a reader that goes does not."""
    with fakes(FAKE + "exec sleep 100\n") as (folder, environment):
        with subprocess.Popen([folder / "device.sh"], env=environment, stdout=subprocess.DEVNULL, preexec_fn=heard) as script:
            logged(folder, "== operations", script)
            done = subprocess.run([folder / "device.sh"], env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 1 and "another device.sh writes to" in done.stderr, done
            script.terminate()
    with fakes(FAKE) as (folder, environment):
        (folder / "report.md").mkdir()
        assert subprocess.run([folder / "device.sh"], env=environment, capture_output=True, check=False).returncode == 1
    with fakes(FAKE) as (folder, environment):
        piped = f"set -o pipefail; '{folder}/device.sh' | head -1; exit ${{PIPESTATUS[0]}}"
        assert subprocess.run(["bash", "-c", piped], env=environment, capture_output=True, check=False).returncode == 1


# Says a rate, and then writes down what it trains, for so long.
TRAIN = """#!/bin/sh
case "$*" in
  *--dry-run*) echo "{\\"images_per_second\\": %s}"; exit ;;
esac
echo "$*" >>"$OUT/trained"
%s
"""


def training():
    """A quarter of a minute for stage 1; a speed that is not known, a folder that is taken and a signal end it."""
    with fakes(TRAIN % ("100.5", "")) as (folder, environment):
        command = [folder / "device.sh", "train", "bundled", "1"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        pretrain, finetune, sample = (folder / "trained").read_text().splitlines()
        assert done.returncode == 0 and " --images 1207 --out " in pretrain or " --images 1126 --out " in pretrain, (done, pretrain)
        assert finetune.startswith("finetune ") and f"--encoder {folder}/encoder " in finetune and sample.startswith("sample "), finetune
        (folder / "generator").mkdir()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "generator is there already" in done.stderr, done
    with fakes(TRAIN % ("null", "")) as (folder, environment):
        done = subprocess.run([folder / "device.sh", "train", "bundled", "1"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "the dry run of pretrain says no speed" in done.stderr and not (folder / "trained").exists(), done
    with fakes(TRAIN % ("100.5", "trap 'echo saved >>\"$OUT/trained\"; exit 130' TERM\nsleep 100 & wait")) as (folder, environment):
        with subprocess.Popen([folder / "device.sh", "train", "bundled", "1"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as script:
            while not (folder / "trained").exists():
                time.sleep(0.05)
            time.sleep(0.2)
            script.terminate()
            assert "stopped by SIGTERM" in script.stderr.readline()
        assert script.returncode == 143 and (folder / "trained").read_text().endswith("saved\n")


# Programs that take steps: ours of a tenth of a second, PyTorch of two tenths. After the first timed step PyTorch hangs, if asked to.
OURS = """#!/bin/sh
echo '{"parameters": 1, "batch": 4, "gflop": [100, 25], "published_gflops": %s}'
while read -r batch; do echo "0.1 $batch 1073741824"; done
"""
PEER = """#!/bin/sh
echo '{"parameters": 1, "torch": "2.0", "device": "Fake GPU"}'
steps=0
while read -r batch; do steps=$((steps + 1)); [ $steps -le %d ] || exec sleep 100; echo "0.2 0"; done
"""


def beside_pytorch():
    """The table of gpu_step.py, also if it is cut off, and what device.sh makes of it."""
    for steps, most in ((20, 100), (4, 2)):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in (("ours", OURS % "2000"), ("peer", PEER % most)):
                Path(folder, name).write_text(text)
                Path(folder, name).chmod(0o755)
            options = ["--binary", f"{folder}/ours", "--python", f"{folder}/peer", "--device", "cuda:1", "--steps", str(steps), "--warmup", "1"]
            command = ["timeout", "1" if most == 2 else "20", BENCH / "gpu_step.py", "--case", "EPG-L-16-256:pretrain:4", *options]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == (124 if most == 2 else 0), done
            taken = 1 if most == 2 else steps
            assert f"Fake GPU, PyTorch 2.0, median of {taken} interleaved steps" in done.stdout, done
            assert "| pixgen-train | 100.0 ms | 40.0 | 100.0 % | 1.0 GiB | 1.00 |" in done.stdout, done
            assert "| PyTorch compile-bf16 | 200.0 ms | 20.0 | 50.0 % | 0.0 GiB | 0.50 |" in done.stdout, done
            _, _, rows = fake("exit 1\n", f"case $1 in -c) exit ;; esac\ncat <<'END'\n{done.stdout}END\n")
            _, _, _, _, _, _, _, pretrain, finetune, *_ = rows
            assert pretrain["result"].startswith("pixgen-train 100.0 ms, MFU 100.0 %; PyTorch compile-bf16 200.0 ms, MFU 50.0 %, ours / it 0.50; Fake GPU"), pretrain
            assert "finetune without dropout and auxiliary loss" in finetune["row"], finetune


everything()
everything_fails()
nothing_is_no_result()
a_program_that_does_not_start()
what_hangs_is_cut_off()
what_stops_it_is_a_row()
one_at_a_time()
training()
beside_pytorch()
wrong_arguments()
print("device.sh: its rows, reports and errors are as they should be")
