#!/usr/bin/env bash
# Builds the C library for a kind of core, as a folder that a firmware project takes:
#
#   firmware-examples/c/library.sh cortex-m4 [FOLDER]       FOLDER is `pixgen` when it is not given
#
#   FOLDER/src/pixgen.h                  the interface
#   FOLDER/src/CORE/libpixgen.a          the library; call again with another core to add it
#   FOLDER/library.properties            Arduino: a precompiled library
#   FOLDER/library.json                  PlatformIO
#   FOLDER/CMakeLists.txt                ESP-IDF: a component
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..

# Core, target, what its kernels need besides. An f at the end: arguments in floating-point registers, gcc's -mfloat-abi=hard.
cores="
cortex-m0plus  thumbv6m-none-eabi
cortex-m3      thumbv7m-none-eabi
cortex-m4      thumbv7em-none-eabi
cortex-m4f     thumbv7em-none-eabihf
cortex-m7      thumbv7em-none-eabi
cortex-m7f     thumbv7em-none-eabihf
cortex-m33f    thumbv8m.main-none-eabihf    dsp  cortex-m33
cortex-m55f    thumbv8m.main-none-eabihf    mve  cortex-m55
esp32c3        riscv32imc-unknown-none-elf
esp32c6        riscv32imc-unknown-none-elf
"

core=${1:-} folder=${2:-pixgen}
read -r _ target feature cpu < <(grep "^$core " <<<"$cores" || true) || true
[ -n "$core" ] && [ -n "${target:-}" ] || {
  [ -z "$core" ] || echo "library.sh: unknown core $core" >&2
  echo "usage: library.sh CORE [FOLDER]; cores:" $(awk '{ print $1 }' <<<"$cores") >&2
  exit 1
}

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}/c-library
[ -z "$cpu" ] || export RUSTFLAGS="-Ctarget-cpu=$cpu"
library=$("$root/tests/tools/fw-cargo.sh" build --release --locked --manifest-path "$root/Cargo.toml" -p pixgen-c --target "$target" \
  ${feature:+--features "$feature"} --message-format=json-render-diagnostics | grep -o '"[^"]*libpixgen\.a"' | tail -n 1 | tr -d '"')

mkdir -p "$folder/src/$core"
cp "$here"/package/* "$folder/"
cp "$root/pixgen-edge/c/pixgen.h" "$folder/src/"
cp "$library" "$folder/src/$core/"
echo "$folder/src/$core/libpixgen.a"
