#!/usr/bin/env python3
"""Checks that what the documentation names exists: links and headings, source files, cited pages and sections, and the
identifiers of docs/reference/equations.md. Prints what does not; exit status 1."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASES = [ROOT, ROOT / "tests", *(ROOT / f"pixgen-{crate}/src" for crate in ("core", "edge", "cubecl", "train"))]
PLACES = ("*.md", "docs/**/*", "firmware-examples/**/*", "pixgen-*/**/*", "tests/**/*")
PATHS = [path for place in PLACES for path in ROOT.glob(place) if path.suffix in (".md", ".rs", ".py", ".sh", ".toml") and "target" not in path.parts]
TEXTS = {path: path.read_text() for path in PATHS if path.is_file()}
wrong = []


def headings(page):
    return [line.lstrip("#").strip() for line in page.split("\n") if line.startswith("#")]


def anchors(page):
    return {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings(page)}


for path, text in TEXTS.items():
    where = path.relative_to(ROOT)
    if path.suffix == ".md":
        for link, name, heading in re.findall(r"\]\((([^)#:]*)#?([^):]*))\)", text):
            to = path.parent / name if name else path
            if not to.exists() or heading and heading not in anchors(to.read_text()):
                wrong.append(f"{where}: link {link}")
        for source in re.findall(r"`([\w.-]+/[\w./-]+\.(?:rs|py|sh))", text):
            if not any((base / source).exists() for base in [path.parent, *BASES]) and source != "rcm/vit.py":
                wrong.append(f"{where}: file {source}")
    for name, section in re.findall(r"\b(docs/[\w/-]+\.md)(?: section ([\d.]*\d))?", text):
        page = (ROOT / name).read_text() if (ROOT / name).exists() else ""
        item = section.split(".")[-1]  # Section 6.7 may be item 7 of a list.
        known = [heading.split(" ")[0].rstrip(".") for heading in headings(page)] + re.findall(r"^(\d+)\. ", page, re.M)
        if not page or section and section not in known and not ("." in section and item in known):
            wrong.append(f"{where}: {name} section {section}")

for row in TEXTS[ROOT / "docs/reference/equations.md"].split("\n"):
    cells = row.strip("|").split(" | ")
    if row.startswith("| ") and len(cells) == 4 and "`" in row:
        home, sources = "", ""
        for crate, name in re.findall(r"\b(core|edge|train)\b(?= `)|`([\w/]+\.rs)`", cells[3]):
            home = crate or home
            if name and (file := ROOT / f"pixgen-{home}/src/{name}") not in TEXTS:
                wrong.append(f"equations.md: there is no {file.relative_to(ROOT)}")
            sources += TEXTS.get(file, "") if name else ""
        for identifier in re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", cells[2]))):
            if not re.search(rf"\b{identifier}\b", sources):
                wrong.append(f"equations.md: {identifier} is not in {cells[3].strip()}")

print("\n".join(wrong) or f"{len(TEXTS)} files: what the documentation names exists")
sys.exit(bool(wrong))
