#!/usr/bin/env bash
# Copies a board's example out of the repository, as firmware-examples/README.md says, and builds it there:   tests/tools/copied-example.sh [BOARD TRIPLE]
#
# One line of the copy is changed: where pixgen-core comes from. Here it is this checkout instead of the public repository.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
board=${1:-stm32f446-nucleo} target=${2:-thumbv7em-none-eabihf}

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "$root/firmware-examples/"{"$board",build.rs,models} "$copy/"
cd "$copy/$board"
sed -i "s|^pixgen-core = { path = \"../../pixgen-core\" }\$|pixgen-core = { path = \"$root/pixgen-core\" }|" Cargo.toml
changed=$(diff "$root/firmware-examples/$board/Cargo.toml" Cargo.toml | grep -c '^>' || true)
[ "$changed" = 1 ] || { echo "copied-example.sh: $changed lines of Cargo.toml had to change, not one" >&2; exit 1; }
if grep -rn '\.\./\.\./' Cargo.toml src ../build.rs; then
  echo "copied-example.sh: the copy refers to what was around the original" >&2
  exit 1
fi

elf=$("$root/tests/tools/fw-cargo.sh" build --release --locked --target "$target" --message-format json-render-diagnostics |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
[ -s "$elf" ] || { echo "copied-example.sh: $board: nothing was built" >&2; exit 1; }
echo "$board builds outside the repository"
