#!/usr/bin/env bash
# Fuzzes each target for some seconds:   tests/fuzz/run.sh [SECONDS [TARGET...]]
#
# libFuzzer with coverage but without a sanitizer, which stable Rust does not have; overflow and debug assertions are checked. Inputs that
# reached something new are kept in the target folder and are the start of the next run. Exit status 1 on a crash; its input stays in
# tests/fuzz/found/TARGET/ and is run again with the program named in the output.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-30}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(pxg safetensors)

CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
export CARGO_TARGET_DIR
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cdebug-assertions=on -Coverflow-checks=on -Cdebuginfo=1 -Ccodegen-units=1 -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"

# With a target triple the flags stay away from build scripts and procedural macros.
cargo build --release --locked --target "$host" $(printf -- '--bin %s ' "${targets[@]}")

for target in "${targets[@]}"; do
  corpus=$CARGO_TARGET_DIR/corpus/$target found=found/$target
  mkdir -p "$corpus" "$found"
  program=$CARGO_TARGET_DIR/$host/release/$target
  echo "$program, $seconds s"
  "$program" -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$found/" "$corpus" "seeds/$target" || { echo "run.sh: $target crashed; the input is in tests/fuzz/$found/" >&2; exit 1; }
done
