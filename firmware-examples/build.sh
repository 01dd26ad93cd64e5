#!/usr/bin/env bash
# Builds and links the examples for real boards, and says what each takes of its chip.
#
#   firmware-examples/build.sh                      all boards
#   firmware-examples/build.sh rp2350-st7789        these boards only
#
# PIXGEN_MODEL names another model file than the board's own, relative to the folder of the board. The linker fails when flash or RAM is
# too small. Nothing is flashed.
set -euo pipefail
cd "$(dirname "$0")"

# Board, target, KB of flash, KB of RAM, RAM addresses by their leading digits. "Board" is a folder.
boards="
rp2350-st7789     thumbv8m.main-none-eabihf    4096  512  ^20
stm32f446-nucleo  thumbv7em-none-eabihf         512  128  ^20
nrf52840-dk       thumbv7em-none-eabihf        1024  256  ^20
esp32c3-devkit    riscv32imc-unknown-none-elf  4096  400  ^(3fc|403[78])
"

for wanted in "$@"; do
  grep -q "^$wanted " <<<"$boards" || { echo "build.sh: no board $wanted; there are:" $(cut -d' ' -f1 <<<"$boards") >&2; exit 1; }
done

fw_cargo=$PWD/../tests/tools/fw-cargo.sh
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../target}/boards

# Builds a board's firmware; prints the path of the ELF file.
build() { # BOARD TARGET
  cd "$1"
  "$fw_cargo" build --release --locked --target "$2" --message-format json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}

# Prints the bytes that an ELF file takes of flash and of RAM. Flash holds the start values of RAM, too.
sizes() { # ELF RAM-PATTERN
  local name type address size flags flash=0 ram=0
  while read -r name type address size flags; do
    [[ $flags == *A* ]] || continue
    # What is reserved for the stack, and the second address of the same RAM.
    [[ $name == .stack* || $name == *dummy* ]] && continue
    [ "$type" = NOBITS ] || flash=$((flash + 16#$size))
    [[ ! $address =~ $2 ]] || ram=$((ram + 16#$size))
  done < <(readelf --section-headers --wide "$1" | sed -nE 's/^ *\[ *[0-9]+\] (\.[^ ]+) +([A-Z_0-9]+) +([0-9a-f]+) [0-9a-f]+ ([0-9a-f]+) [0-9a-f]+ +([A-Za-z]*) .*/\1 \2 \3 \4 \5/p')
  echo "$flash $ram"
}

printf '%-18s %20s %20s\n' board "flash, bytes" "RAM, bytes"
while read -r board target flash_kb ram_kb pattern; do
  [ -n "$board" ] || continue
  [ $# = 0 ] || [[ " $* " == *" $board "* ]] || continue
  elf=$(build "$board" "$target")
  read -r flash ram < <(sizes "$elf" "$pattern")
  printf '%-18s %9d of %7d %9d of %7d\n' "$board" "$flash" $((flash_kb * 1024)) "$ram" $((ram_kb * 1024))
done <<<"$boards"
