#!/usr/bin/env python3
"""Writes the tables of docs/reference/settings.md: meaning and type of each setting from the doc comments of the structs that hold them,
defaults from the program.

    tests/settings_reference.py PIXGEN-TRAIN           write them
    tests/settings_reference.py PIXGEN-TRAIN --check   exit status 1 if the page is not what would be written
"""
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference/settings.md"
START, END = "<!-- Written by tests/settings_reference.py from the doc comments; edit those. -->\n", "<!-- End of the tables. -->\n"
SOURCES = [path for crate in ("core", "edge", "train") for path in sorted(ROOT.glob(f"pixgen-{crate}/src/**/*.rs"))]
PRESETS = "the preset's"
STAGES = {"pretrain": "1", "diffusion": "2a", "finetune": "2b", "drift": "3"}
# Sections of the page: a heading, and the first parts of the names below it.
SECTIONS = [
    ("Run", ["stage", "preset", "encoder", "from", "train"]),
    ("Data", ["data", "augment"]),
    ("Model and noise", ["model", "noise"]),
    ("Stage 1", ["pretrain"]),
    ("Stage 2a", ["diffusion"]),
    ("Stage 2b", ["consistency"]),
    ("Stage 3", ["drift"]),
    ("Optimiser and averages", ["schedule", "optimiser", "ema"]),
    ("Compute and output", ["compute", "output", "quality"]),
]
TYPES = {"bool": "true or false", "String": "text", "Vec<f64>": "list of numbers", "[f32; 2]": "two numbers", "[f64; 3]": "three numbers"}
TYPES |= {"[usize; 2]": "two whole numbers"}
TYPES |= {kind: "whole number" for kind in ("u32", "u64", "usize")} | {kind: "number" for kind in ("f32", "f64")}


def doc(lines):
    """Doc comments as one line; links to items of the code become their names."""
    text = " ".join(line.strip()[3:].strip() for line in lines if line.strip().startswith("///"))
    text = re.sub(r"\[`([^`]*)`\](\([^)]*\))?", r"`\1`", text)
    return re.sub(r"docs/reference/([\w-]+\.md)", r"[\1](\1)", text).replace("|", "\\|")


def kebab(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def items():
    """Structs by name with their fields (name, type, doc), enums with their variants (name, doc)."""
    structs, enums = {}, {}
    for path in SOURCES:
        for kind, name, body in re.findall(r"^pub (struct|enum) (\w+) \{\n(.*?)^\}", path.read_text(), re.M | re.S):
            comment, found = [], []
            for line in body.split("\n"):
                if line.strip().startswith("///"):
                    comment.append(line)
                elif field := re.fullmatch(r"    pub (\w+): (.*),", line):
                    found.append((field[1], field[2], doc(comment)))
                    comment = []
                elif variant := re.fullmatch(r"    (\w+)(?:\(\w+\))?,", line):
                    found.append((kebab(variant[1]), doc(comment)))
                    comment = []
            # The first wins: a struct of a test has the name of none before it.
            (structs if kind == "struct" else enums).setdefault(name, found)
    return structs, enums


STRUCTS, ENUMS = items()


def in_sentence(text):
    """A doc comment inside a sentence; names such as ImageNet keep their capitals."""
    word = text.split(" ")[0]
    return (text if word[1:].lower() != word[1:] else text[0].lower() + text[1:]).rstrip(".")


def explained(prefix, kind, comment):
    """(name, type, meaning) of a setting, or of all below it."""
    if kind in STRUCTS and kind not in TYPES:
        for name, inner, comment in STRUCTS[kind]:
            yield from explained(f"{prefix}.{name}", inner, comment)
    elif kind in ENUMS:
        choices = "; ".join(f"`{name}`: {in_sentence(text)}" for name, text in ENUMS[kind])
        yield prefix, "one of", f"{comment} {choices}."
    else:
        yield prefix, TYPES[kind], comment


def settings():
    """Every setting, as RunConfig holds them; the stage is a section of its name."""
    for name, kind, comment in STRUCTS["RunConfig"]:
        if kind != "Stage":
            yield from explained(name, kind, comment)
    yield from explained("stage", "StageKind", "What is trained; the verb chooses it.")
    for stage in ("Pretrain", "Diffusion", "Consistency", "Drift"):
        yield from explained(stage.lower(), f"{stage}Config", "")


def defaults(program):
    """(recipe, setting) -> stage -> the values that presets of that recipe have."""
    # `config show` also says that the paper's stage 2b needs an encoder and stage 3 a generator, after what is asked for here.
    run = lambda *arguments: json.loads(subprocess.run([program, *arguments, "--json"], capture_output=True).stdout)
    found = {}
    for preset in run("inspect", "--presets"):
        recipe = "largest" if preset["name"].startswith("EPG-G-") else "paper" if preset["name"].startswith("EPG-") else "small"
        for verb, stage in STAGES.items():
            for key, setting in run("config", "show", verb, "--preset", preset["name"])["settings"].items():
                found.setdefault((recipe, key), {}).setdefault(stage, set()).add(json.dumps(setting["value"]))
    return found


def shown(stages):
    """The defaults of a recipe in a cell: one for all stages, or one for each."""
    if any(len(values) > 1 for values in stages.values()):
        return PRESETS
    values = {stage: next(iter(values)) for stage, values in stages.items()}
    if len(set(values.values())) == 1:
        return text(next(iter(values.values())))
    return ", ".join(f"{stage}: {text(value)}" for stage, value in values.items())


def text(value):
    """A JSON value in a cell."""
    if value.startswith('"'):
        return f"`{json.loads(value)}`" if value != '""' else "empty"
    return f"{json.loads(value):,}" if re.fullmatch(r"\d{5,}", value) else value


def tables(program):
    known, rows = defaults(program), {}
    for name, kind, meaning in settings():
        small, paper, largest = (shown(known[recipe, name]) for recipe in ("small", "paper", "largest"))
        paper += "" if largest in (paper, PRESETS) or paper == PRESETS else f"; `EPG-G-..`: {largest}"
        rows[name] = f"| `{name}` | {meaning} | {kind} | {small} | {paper} |"
    missing = {key for _, key in known} ^ set(rows)
    assert not missing, f"settings without a doc comment, or the other way round: {sorted(missing)}"
    parts = {part for _, parts in SECTIONS for part in parts}
    homeless = {name for name in rows if name.split(".")[0] not in parts}
    assert not homeless, f"SECTIONS has no place for {sorted(homeless)}"
    text = ""
    for heading, parts in SECTIONS:
        text += f"\n## {heading}\n\n| name | meaning | type | small recipe | paper's recipe |\n|---|---|---|---|---|\n"
        for part in parts:
            text += "".join(f"{row}\n" for name, row in rows.items() if name.split(".")[0] == part)
    return f"{START}{text}\n{END}"


if __name__ == "__main__":
    page = PAGE.read_text()
    before, after = page.split(START)[0], page.split(END)[-1]
    wanted = before + tables(sys.argv[1]) + after
    if "--check" not in sys.argv:
        PAGE.write_text(wanted)
    elif page != wanted:
        sys.exit(f"{PAGE.relative_to(ROOT)} is stale: run  tests/settings_reference.py {sys.argv[1]}")
