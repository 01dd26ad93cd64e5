#!/usr/bin/env bash
# Builds the engine for web pages, with and without SIMD.
#
#   pixgen-edge/wasm/build.sh            renews what the program embeds, pixgen-edge/src/web/{simd,scalar}.wasm
#   pixgen-edge/wasm/build.sh FOLDER     writes both files there instead
#
# Needs Rust's core library for wasm32-unknown-unknown, or its sources: tests/tools/fw-cargo.sh says how to get either.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$(realpath "${1:-$root/pixgen-edge/src/web}")
target=${CARGO_TARGET_DIR:-$root/target}/wasm
cd "$root/pixgen-edge/wasm"

for engine in scalar simd; do
  flags=
  [ $engine = scalar ] || flags=-Ctarget-feature=+simd128
  # A folder for each: other flags compile core anew.
  RUSTFLAGS=$flags CARGO_TARGET_DIR=$target/$engine \
    "$root/tests/tools/fw-cargo.sh" build --quiet --release --locked --target wasm32-unknown-unknown
  built=$(find "$target/$engine" -path '*wasm32-unknown-unknown/release/pixgen_wasm.wasm')
  cp "$built" "$out/$engine.wasm"
  printf '%s: %d bytes\n' "$out/$engine.wasm" "$(stat -c %s "$built")"
done
