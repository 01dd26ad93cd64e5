#!/usr/bin/env python3
"""Runs the command blocks of README.md and docs/guides/*.md with the built programs, and reads those of the crates' pages.

    tests/docs.py FOLDER            FOLDER holds pixgen-train and pixgen-edge, as `cargo build` leaves them

A block is a fence with the language `sh`, run by bash, which stops at the first line that fails. The blocks of a file run in order in a
folder of its own, in which `photos` holds pictures of two classes. A comment on the line before a fence changes how it is run:

    <!-- ci: 120k=2k "--out q"="--out q --minutes 1" -->    these words become those, so that CI has less to do
    <!-- ci: needs: gpu -->                                 (or cluster, data, network, board) nothing is run: the programs read verb,
                                                            flags and values of every command and stop at a last --help

and `<!-- ci: start q -->` anywhere in a guide copies `q` from the folder in which README.md's blocks ran. The blocks of the pages that crates.io
shows, pixgen-*/README.md, are read like those that need something: they repeat what the guides run.
"""

import pathlib
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import tomllib
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = ("pixgen-train", "pixgen-edge")
OURS = re.compile(r"(?:\w+=\S+ )*(?:pixgen-\w+|cargo|git|tests/\S+|firmware-examples/\S+)(?:\s|$)")
NEEDS = ("gpu", "cluster", "data", "network", "board")
LIMIT_S = 180


class Wrong(Exception):
    """A block that does not do what it says, or that says nothing CI can use."""


class Block:
    def __init__(self, place, lines, marker):
        self.place, self.lines, self.needs = place, lines, None
        text = "\n".join(lines)
        if marker and (needs := re.fullmatch(r"needs: (\w+)", marker)):
            self.needs = needs[1]
            if self.needs not in NEEDS:
                raise Wrong(f"{place}: needs one of {', '.join(NEEDS)}, not `{self.needs}`")
        elif marker:
            for change in shlex.split(marker):
                old, equals, new = change.partition("=")
                found = re.compile(rf"(?<![^\s='\"]){re.escape(old)}(?![^\s='\"])")
                if not (old and equals and found.search(text)):
                    raise Wrong(f"{place}: `{change}` of its marker changes nothing in the block")
                text = found.sub(lambda _: new, text)
        self.text = text


def read(path):
    """The blocks of a page, and the names it starts from."""
    blocks, start, marker = [], [], None
    fence = language = None
    lines, first = [], 0
    name = path.relative_to(ROOT)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        place = f"{name}:{number}"
        if fence:
            if line.strip() != fence:
                lines.append(line.removeprefix(indent))
                continue
            if language == "sh":
                blocks.append(Block(f"{name}:{first}", lines, marker))
            elif language != "text" and lines and OURS.match(lines[0]):
                raise Wrong(f"{name}:{first}: a command block must have the language `sh` (or `text`, if nobody should run it)")
            fence = marker = None
        elif opened := re.match(r"( *)(```+)\s*(\S*)", line):
            indent, fence, language = opened.groups()
            lines, first = [], number
        elif line.startswith("    ") and OURS.match(line.strip()):
            raise Wrong(f"{place}: an indented command; command blocks are fences with the language `sh`")
        elif comment := re.fullmatch(r"\s*<!-- ci: (.*) -->", line):
            if comment[1].startswith("start "):
                start += comment[1].split()[1:]
            else:
                marker = comment[1]
        elif marker:
            raise Wrong(f"{place}: a `ci:` marker stands on the line before its fence")
    return blocks, start


def picture(kind, seed, side=64):
    """A PNG: a disc on a gradient, or stripes."""
    rows = bytearray()
    for y in range(side):
        rows.append(0)
        for x in range(side):
            inside = (x - 20 - seed % 24) ** 2 + (y - 32) ** 2 < (10 + seed % 12) ** 2 if kind else (x + y * (1 + seed % 3)) // 8 % 2
            rows += bytes((255 - 4 * seed, 40 + 5 * seed, 90) if inside else (2 * x, 3 * seed, 2 * y))
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data)) for tag, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def furnish(folder):
    """What a reader has at hand: the clone, and pictures."""
    for kind, name in enumerate(("cats", "dogs")):
        (folder / "photos" / name).mkdir(parents=True)
        for seed in range(40):
            (folder / "photos" / name / f"{seed}.png").write_bytes(picture(kind, seed))
    (folder / "firmware-examples").symlink_to(ROOT / "firmware-examples")
    (folder / "tests").mkdir()
    for path in (ROOT / "tests").iterdir():
        if path.name != "run.sh":
            (folder / "tests" / path.name).symlink_to(path)
    # Alone, it would run this script again.
    (folder / "tests/run.sh").write_text(f'#!/bin/sh\n[ $# = 0 ] || exec {shlex.quote(str(ROOT))}/tests/run.sh "$@"\n')
    (folder / "tests/run.sh").chmod(0o755)


def stand_ins(folder, built):
    """Programs in front of the path: the built ones, and those that would build or download."""
    for name in PROGRAMS:
        if not (built / name).is_file():
            raise Wrong(f"no {name} in {built}")
        (folder / name).symlink_to(built / name)
    for name in ("cargo", "git"):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, __file__, "--as", name, str(built)])} "$@"\n')
        script.chmod(0o755)
    (folder / "rustup").write_text("#!/bin/sh\n")
    (folder / "rustup").chmod(0o755)


def manifest(folder):
    path = ROOT / folder / "Cargo.toml"
    if not path.is_file():
        raise Wrong(f"there is no package {folder}")
    return tomllib.loads(path.read_text())


def cargo(arguments):
    """What `cargo ARGUMENTS` would run, or None if it would only build; everything that it names is there."""
    verb, *rest = arguments
    options, given = rest, []
    if "--" in rest:
        options, given = rest[:rest.index("--")], rest[rest.index("--") + 1:]
    value = lambda *names: next((word for before, word in zip(options, options[1:]) if before in names), None)
    package = value("-p", "--package", "--path")
    if package:
        features = manifest(package).get("features", {})
        for feature in (value("--features", "-F") or "").replace(",", " ").split():
            if feature not in features:
                raise Wrong(f"{package} has no feature {feature}")
    if verb in ("build", "install", "add"):
        return None
    if example := value("--example"):
        return [f"examples/{example}", *given]
    if verb != "run" or not package:
        raise Wrong(f"cannot stand in for `cargo {' '.join(arguments)}`")
    return [value("--bin") or package, *given]


def stand_in(name, built, arguments):
    """This script as `cargo` or `git` of a block."""
    if name == "git":
        url = manifest(".")["workspace"]["package"]["repository"]
        if arguments[:1] != ["clone"] or arguments[1].removesuffix(".git") != url:
            raise Wrong(f"cannot stand in for `git {' '.join(arguments)}`; the repository is {url}")
        folder = pathlib.Path(arguments[2] if len(arguments) > 2 else url.rsplit("/", 1)[1])
        return folder.symlink_to(".")
    command = cargo(arguments)
    if command:
        sys.exit(subprocess.run([pathlib.Path(built) / command[0], *command[1:]]).returncode)


def commands(text):
    """The commands of a block that start one of the programs, through whatever launcher."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        simple = [[]]
        for token in lexer:
            if re.fullmatch(r"[&|;<>()]+", token):
                simple.append([])
            else:
                simple[-1].append(token)
        for words in simple:
            if words[:2] == ["cargo", "run"]:
                words = cargo(words[1:]) or []
            elif words[:1] in (["cargo"], ["scp"]):
                # They name programs and start none.
                continue
            for i, word in enumerate(words):
                if word.rsplit("/", 1)[-1] in PROGRAMS:
                    yield [word.rsplit("/", 1)[-1], *words[i + 1:]]
                    break


def execute(command, folder, environment):
    done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S)
    return done.returncode, done.stdout


def run(block, folder, environment):
    """How many commands were read instead of run, or None if the block was run."""
    if not block.needs:
        status, output = execute(["bash", "-euo", "pipefail", "-c", block.text], folder, environment)
        if status:
            raise Wrong(f"{block.place}: exit status {status}\n{block.text}\n---\n{output}")
        return None
    count = 0
    for command in commands(block.text):
        status, output = execute([*command, "--help"], folder, environment)
        if status:
            raise Wrong(f"{block.place}: {shlex.join(command)}\n---\n{output}")
        count += 1
    return count


def main():
    if sys.argv[1:2] == ["--as"]:
        return stand_in(sys.argv[2], sys.argv[3], sys.argv[4:])
    built = pathlib.Path(sys.argv[1]).resolve()
    crates = sorted(ROOT.glob("pixgen-*/README.md"))
    pages = [ROOT / "README.md", *sorted((ROOT / "docs/guides").glob("*.md")), *crates]
    ran = parsed = shown = 0
    with tempfile.TemporaryDirectory(prefix="pixgen-docs-") as top:
        top = pathlib.Path(top)
        (top / "bin").mkdir()
        stand_ins(top / "bin", built)
        environment = {"PATH": f"{top / 'bin'}:/usr/local/bin:/usr/bin:/bin", "HOME": str(top), "LC_ALL": "C.UTF-8"}
        for page in pages:
            folder = top / (page.parent.name if page in crates else page.stem)
            folder.mkdir()
            furnish(folder)
            blocks, start = read(page)
            for name in start:
                shutil.copytree(top / "README" / name, folder / name)
            for block in blocks:
                if page in crates:
                    block.needs = block.needs or "crates.io"
                begun = time.monotonic()
                count = run(block, folder, environment)
                what = "run" if count is None else f"{count} commands parsed, needs: {block.needs}" if count else f"shown, needs: {block.needs}"
                print(f"{block.place}: {what} ({time.monotonic() - begun:.1f} s)", flush=True)
                ran, parsed, shown = ran + (count is None), parsed + (count or 0), shown + (count == 0)
    print(f"{ran} blocks run, {parsed} commands of others parsed, {shown} blocks shown only")


try:
    main()
except (Wrong, subprocess.TimeoutExpired) as error:
    sys.exit(f"tests/docs.py: {error}")
