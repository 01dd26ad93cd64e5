#!/usr/bin/env bash
# Fuzzes each target for some seconds, or with a number of inputs:   tests/fuzz/run.sh [SECONDS | -runs=N [TARGET...]]
#
# libFuzzer with coverage but without a sanitizer, which stable Rust does not have; overflow and debug assertions are checked. Inputs that
# reached something new are kept in the target folder and are the start of the next run. Exit status 1 on a crash; its input stays in
# tests/fuzz/found/TARGET/ and is run again with the program named in the output. A line for each target says how many inputs ran, and how many
# of the edges in the program's flow they reached.
set -euo pipefail
cd "$(dirname "$0")"

case ${1:-30} in
  -runs=*) limit=$1 ;;
  *) limit=-max_total_time=${1:-30} ;;
esac
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(pxg safetensors pth settings idx labels picture tar zip)

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
  log=$CARGO_TARGET_DIR/$target.log
  "$program" "$limit" -max_len=16384 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$found/" \
    "$corpus" "seeds/$target" >"$log" 2>&1 ||
    { tail -n 40 "$log"; echo "run.sh: $program found a fault; the input is in tests/fuzz/$found/" >&2; exit 1; }
  number() { sed -n "s/^stat::$1: *//p" "$log"; }
  echo "$target: $(number number_of_executed_units) inputs, $(number average_exec_per_sec) a second, $(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)" \
    "edges reached, at most $(number peak_rss_mb) MiB"
done
