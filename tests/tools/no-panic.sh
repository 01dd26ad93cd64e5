#!/usr/bin/env bash
# Proves that no panic can be reached from reading a model file and drawing with it, on chips and with the kernels of PCs and Linux boards:   tests/tools/no-panic.sh [TRIPLE...]
#
# Links firmware-examples/no-panic for each target; then once more with a planted panic, which must not link.
set -euo pipefail
cd "$(dirname "$0")/../../firmware-examples/no-panic"

if [ $# = 0 ]; then
  set -- thumbv6m-none-eabi thumbv7em-none-eabihf riscv32imc-unknown-none-elf
  [ "$(uname -sm)" != "Linux x86_64" ] || set -- "$@" x86_64-unknown-linux-gnu
fi

build() { ../../tests/tools/fw-cargo.sh build --release --locked --target "$@"; }

for target in "$@"; do
  build "$target"
  if output=$(build "$target" --features planted 2>&1) || ! grep -Eq 'undefined (symbol|reference).*a_panic_can_be_reached' <<<"$output"; then
    printf '%s\n' "$output" "no-panic.sh: $target: a planted panic was not found" >&2
    exit 1
  fi
done
