"""What Arm's compiler Vela says of the files of `pixgen-edge tflite`, and the table of it that `pixgen-edge plan` reads.

    venv/bin/python tests/gen/ethos_u.py BUILT > pixgen-edge/src/ethos_u.json      needs ethos-u-vela
    venv/bin/python tests/gen/ethos_u.py BUILT --check                             the first presets, within 1 %

BUILT is the folder with `pixgen-edge` and `examples/random_models`. Models of the presets have random weights and ten classes.
"""

import argparse
import csv
import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys
import tempfile

TABLE = pathlib.Path(__file__).parents[2] / "pixgen-edge/src/ethos_u.json"
PRESETS = ("nano-28-grey", "small-28-grey", "nano-32-rgb", "small-32-rgb", "nano-64-rgb")
CHECKED = 2

# System and memory of Arm's own configuration file for each accelerator.
U55 = ("Ethos_U55_High_End_Embedded", "Shared_Sram")
CONFIGURATIONS = {
    "ethos-u55-64": U55,
    "ethos-u55-128": U55,
    "ethos-u55-256": U55,
    "ethos-u65-256": ("Ethos_U65_High_End", "Dedicated_Sram"),
    "ethos-u85-256": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
}


def vela(path, accelerator):
    """Operators on the CPU, cycles, KiB of SRAM and KiB of the compiled file for one accelerator."""
    system, memory = CONFIGURATIONS[accelerator]
    with tempfile.TemporaryDirectory() as out:
        command = [pathlib.Path(sys.executable).parent / "vela", path, "--accelerator-config", accelerator, "--config", "Arm/vela.ini"]
        command += ["--system-config", system, "--memory-mode", memory, "--output-dir", out, "--show-cpu-operations", "--optimise", "Performance"]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{path}: vela for {accelerator} ends with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        on_cpu = sorted(set(re.findall(r"^\s*CPU: (\S+)", done.stdout, re.M)))
        (summary,) = pathlib.Path(out).glob("*summary*.csv")
        with summary.open() as file:
            row = next(csv.DictReader(file))
        # Vela's lines of flash and DRAM leave out the commands, which the file holds too.
        (compiled,) = pathlib.Path(out).glob("*_vela.tflite")
        return on_cpu, int(float(row["cycles_total"])), float(row["sram_memory_used"]), compiled.stat().st_size / 1024


def rows(built, presets):
    """A row for each preset and accelerator."""
    version = importlib.metadata.version("ethos-u-vela")
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([built / "examples/random_models", work, *presets], check=True, stdout=subprocess.DEVNULL)
        for preset in presets:
            path = pathlib.Path(work) / f"{preset}.tflite"
            subprocess.run([built / "pixgen-edge", "tflite", pathlib.Path(work) / f"{preset}.safetensors", "-o", path, "--pictures", "20"], check=True)
            for accelerator in CONFIGURATIONS:
                on_cpu, cycles, sram, file = vela(path, accelerator)
                if on_cpu:
                    sys.exit(f"{preset} on {accelerator}: on the CPU: {', '.join(on_cpu)}")
                system, memory = CONFIGURATIONS[accelerator]
                sizes = {"sram_bytes": round(sram * 1024), "file_bytes": round(file * 1024)}
                about = {"preset": preset, "accelerator": accelerator, "vela": version, "system": system, "memory": memory}
                yield about | {"cycles": cycles} | sizes


def check(built):
    """Whether the first presets take what the table says, within 1 %."""
    table = {(row["preset"], row["accelerator"]): row for row in json.loads(TABLE.read_text())}
    wrong = 0
    for row in rows(built, PRESETS[:CHECKED]):
        known = table[row["preset"], row["accelerator"]]
        for key in ("cycles", "sram_bytes", "file_bytes"):
            if abs(row[key] - known[key]) > 0.01 * known[key] or row["vela"] != known["vela"]:
                wrong += 1
                print(f"{row['preset']} on {row['accelerator']}: {key} {row[key]} with Vela {row['vela']}, in the table {known[key]} with {known['vela']}")
    print(f"{CHECKED * len(CONFIGURATIONS)} rows of {TABLE.name} compared, {wrong} numbers differ")
    sys.exit(wrong > 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("built", type=pathlib.Path)
    parser.add_argument("--check", action="store_true", help="compare with the table")
    args = parser.parse_args()
    if args.check:
        check(args.built)
    lines = ",\n".join("  " + json.dumps(row) for row in rows(args.built, PRESETS))
    print(f"[\n{lines}\n]")


if __name__ == "__main__":
    main()
