#!/usr/bin/env bash
# Checks an NVIDIA GPU: what it computes, beside the CPU, and how fast. The machine needs no network and no Rust: build elsewhere, copy the
# programs and this into one folder, and run it there.
#
#   cargo build --release --locked -p pixgen-train -p pixgen-tests -p pixgen-cubecl --features pixgen-train/cuda --bin pixgen-train --bin cuda_step --example cuda_kernels
#   ssh MACHINE mkdir -p check
#   scp target/release/{pixgen-train,cuda_step,examples/cuda_kernels} tests/cuda/device.sh MACHINE:check/     and, for PyTorch beside it, tests/bench/*_step.py
#
#   ./device.sh                          all of it, at most 8 minutes (SECONDS_IN_ALL)
#   ./device.sh train SET MINUTES        trains base-32-rgb (PRESET) for so long on a prepared set of colour pictures (`pixgen-train data prepare`)
#
# Rows are written to report.md and report.json as they are had, in the order of what matters: every operation of a step beside the CPU; whole
# steps of small networks beside the CPU; steps of EPG-L/16 in stages 1 and 2b, beside PyTorch if a python3 has it; each operation's time and
# rate of its products; the ways to compute a product and the tiles of attention, of which one is taken; stage 2a; memory. A row that fails, or
# for which there is no time left, says so, and the rest goes on. The exit status is 1 if a row fails, and if what is compared with the CPU was
# not compared to the end; 130 and above if a signal ended it, which is the last row then. Kernels that a row has compiled are kept for the next
# ones, in a folder that goes at the end.
#
# Environment: OUT (the folder of the reports, .), PRESET (EPG-L-16-256, and base-32-rgb to train), BATCH (32), STEPS (15), DEVICE (cuda), PRECISION (bf16), PYTHON
# (python3), CUDA_PATH (/usr/local/cuda).
set -uo pipefail

die() { echo "device.sh: $1" >&2; exit 1; }
usage() { printf 'usage: device.sh                     compares and measures a GPU\n       device.sh train SET MINUTES   trains on a prepared set\n'; }
case "$#:${1:-}" in
  0: | 3:train) ;;
  1:-h | 1:--help) usage; exit ;;
  *) usage >&2; exit 1 ;;
esac
# As a number of decimals without a leading zero, which the shell would read as octal.
whole() { [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || die "$1 must be a whole number from 1, not '$2'"; }

here=$(cd "$(dirname "$0")" && pwd)
case "${1:-}" in train) : "${PRESET:=base-32-rgb}" ;; esac
: "${OUT:=$PWD}" "${PRESET:=EPG-L-16-256}" "${BATCH:=32}" "${STEPS:=15}" "${DEVICE:=cuda}" "${PRECISION:=bf16}" "${PYTHON:=python3}" "${SECONDS_IN_ALL:=480}"
[ -n "${CUDA_PATH:-}" ] || [ ! -d /usr/local/cuda ] || export CUDA_PATH=/usr/local/cuda
# Programs lie beside this script, or where cargo puts them.
bin=$here
[ -x "$bin/pixgen-train" ] || bin=${CARGO_TARGET_DIR:-$here/../../target}/release
[ -x "$bin/pixgen-train" ] || die "no pixgen-train in $here or $bin"
bin=$(cd "$bin" && pwd)
train=$bin/pixgen-train
bench=("$train" bench --device "$DEVICE" --preset "$PRESET" --precision "$PRECISION" --batch "$BATCH" --steps "$STEPS" --json)

# Programs start in a folder of their own.
case $PYTHON in /*) ;; */*) PYTHON=$PWD/$PYTHON ;; esac
case $OUT in /*) ;; *) OUT=$PWD/$OUT ;; esac

whole SECONDS_IN_ALL "$SECONDS_IN_ALL"
[ $# = 0 ] || whole MINUTES "$3"
mkdir -p "$OUT" || exit 1

# The first field of a name in JSON, and an empty string if there is none.
field() { grep -o "\"$1\": *[^,}]*" <<<"$2" | head -n 1 | cut -d: -f2- | tr -d '" '; }

# --- train -------------------------------------------------------------------------------------------------------------------------------

if [ "${1:-}" = train ]; then
  set -e
  common=(--preset "$PRESET" --data "$2" --device "$DEVICE" --precision "$PRECISION")
  # A quarter of the time for stage 1, the rest for stage 2b; what is measured beforehand counts too.
  images() { # STAGE SECONDS
    local line
    [ "$2" -gt 0 ] || die "no time is left for $1; give more MINUTES than $((total / 60))"
    # What fails here does not end the script by itself: `set -e` does not hold in a substitution.
    line=$("$train" bench --json --stage "$1" --steps 10 "${common[@]:0:2}" "${common[@]:4}") || return
    awk -v rate="$(field images_per_second "$line")" -v seconds="$2" 'BEGIN { printf "%d", rate * seconds * 0.8 / 1000 + 1 }'
  }
  total=$((60 * $3))
  thousands=$(images pretrain $((total / 4)))
  "$train" pretrain "${common[@]}" --images "${thousands}000" --out "$OUT/encoder"
  thousands=$(images finetune $((total - SECONDS)))
  "$train" finetune "${common[@]}" --encoder "$OUT/encoder" --images "${thousands}000" --out "$OUT/generator"
  "$train" sample "$OUT/generator" --device "$DEVICE" --out "$OUT/grid.png"
  exit
fi

# --- Rows --------------------------------------------------------------------------------------------------------------------------------

rows=$OUT/report.rows log=$OUT/report.log printed=$OUT/report.out
{ : >"$rows" && : >"$log" && : >"$printed"; } || exit 1
failures=0 unmeasured=0 is_comparison=0 name='' started=0 running=''
data() { :; }

# Programs take their settings of CubeCL from the folder that they start in.
work=$(mktemp -d "$OUT/work.XXXXXX") || exit 1
trap 'rm -rf "$work" "$printed"' EXIT
printf '[autotune]\ncache = "local"\n[compilation]\ncache = "local"\n' >"$work/cubecl.toml"

# Text that can stand in both reports.
plain() { tr -cd ' -~' <<<"$1" | tr -d '"|\\'; }

# Both reports, without a row yet: what is left of another run is not of this one.
printf '| what | result | took |\n|---|---|---:|\n' >"$OUT/report.md"
echo '[]' >"$OUT/report.json"

# Appends a row to both reports.
row() { # NAME RESULT SECONDS JSON
  set -- "$(plain "$1")" "$(plain "$2")" "${@:3}"
  printf '| %s | %s | %s s |\n' "$1" "$2" "$3" >>"$OUT/report.md"
  printf '{"row":"%s","result":"%s","took":%s,"data":%s}\n' "$1" "$2" "$3" "${4:-null}" >>"$rows"
  { echo '['; sed '$!s/$/,/' "$rows"; echo ']'; } >"$OUT/report.json.new" && mv "$OUT/report.json.new" "$OUT/report.json"
  # By a process of its own: nobody may be there to read it.
  tail -n 1 "$OUT/report.md" || :
}

# A row without a result; a comparison that was not made is a failure.
missed() { # NAME RESULT SECONDS JSON
  unmeasured=$((unmeasured + 1))
  failures=$((failures + is_comparison))
  row "$@"
}

# A signal ends what runs, and is the last row.
stopped() { # SIGNAL STATUS
  trap '' INT TERM HUP
  if [ -n "$running" ]; then
    kill "$running" 2>/dev/null
    missed "$name" "stopped by SIG$1" $((SECONDS - started)) "$(data "$(cat "$printed")")"
  else
    row "between two rows" "stopped by SIG$1" 0
  fi
  exit "$2"
}
trap 'stopped INT 130' INT
trap 'stopped TERM 143' TERM
trap 'stopped HUP 129' HUP

# The error among new lines of the log, or else the last of them.
reason() {
  local lines
  lines=$(tail -n "+$1" "$log" | grep .)
  grep -m 1 '^error' <<<"$lines" || tail -n 1 <<<"$lines"
}

# Runs a command for so many seconds at most, its output in $printed; returns its status, or that of `timeout`.
limited() { # SECONDS COMMAND...
  (cd "$work" && exec timeout --kill-after 5 "$@") >"$printed" 2>>"$log" &
  running=$!
  # So that a signal is heard at once.
  wait "$running"
  local status=$?
  running=''
  return "$status"
}

# Runs a command for so many seconds at most, and makes a row of it: `summary` prints the row's result from the output, `data` its JSON.
measure() { # SECONDS NAME COMMAND...
  # What does not end by itself takes five seconds more.
  local most=$1 left=$((SECONDS_IN_ALL - SECONDS - 5)) output status before
  name=$2 started=$SECONDS
  shift 2
  [ "$left" -lt "$most" ] || left=$most
  [ "$left" -ge 10 ] || { missed "$name" "no time left" 0; return; }
  echo "== $name: $*" >>"$log"
  before=$(wc -l <"$log")
  limited "$left" "$@"
  status=$?
  output=$(cat "$printed")
  local took=$((SECONDS - started))
  case $status in
    0) row "$name" "$(summary "$output")" "$took" "$(data "$output")" ;;
    124 | 137) missed "$name" "not finished in $left s" "$took" "$(data "$output")" ;;
    *)
      failures=$((failures + 1))
      row "$name" "FAILED with status $status: $(reason $((before + 1)) | cut -c 1-160), see report.log" "$took" "$(data "$output")"
      ;;
  esac
  printf '%s\n' "$output" >>"$log"
}

# What a program prints: a table, whose rows are strings, or JSON, which may have been cut off.
table() { tr -d '\000-\011\013-\037"\\' <<<"$1" | awk 'BEGIN { printf "[" } /^\|/ && ++n > 2 { printf "%s\"%s\"", (n > 3 ? "," : ""), $0 } END { printf "]" }'; }
json() { case $1 in '{'*'}') tr -d '\n' <<<"$1" ;; esac; }

summary() { echo "$(grep -c '^|' <<<"$1" | awk '{ print $1 - 2 }') rows within the bounds"; }
data() { table "$1"; }
is_comparison=1
# Of a GPU: what it is, and what computes its products, as the first program has said it.
machine() { awk '/^== / { rows++ } rows == 1 && /compute capability|^products by/' "$log" | paste -sd ';' | sed 's/;/; /g'; }
for precision in $(printf '%s\nf32\n' "$PRECISION" | uniq); do
  measure 120 "operations of $PRESET beside the CPU, $precision" "$bin/cuda_step" "$DEVICE" "$PRESET" "$precision"
done
measure 90 "whole steps beside the CPU" "$bin/cuda_step" "$DEVICE"
is_comparison=0
row "machine" "$(machine | grep . || uname -sm), $(nproc) CPU cores, $("$train" --version)" 0

# Output of `bench --json`; a CPU has no MFU and no memory of its own.
step() {
  awk -v s="$(field seconds "$1")" -v i="$(field images_per_second "$1")" -v m="$(field mfu "$1")" -v b="$(field memory "$1")" \
    -v n="$(field micro_batch "$1")" -v all="$(field batch "$1")" 'BEGIN {
      printf "%.1f ms, %.1f images/s, %d of %d images at once", 1e3 * s, i, n, all
      if (m != "") printf ", MFU %.1f %%", 100 * m
      if (b != "") printf ", %.1f GiB", b / 2^30
    }'
}
summary() { step "$1"; }
data() { json "$1"; }
for stage in pretrain finetune; do
  measure 120 "$PRESET, $stage, batch $BATCH, $PRECISION" "${bench[@]}" --stage "$stage"
done

# PyTorch in turn with it: a table, whose rows are the data.
peers=$here/gpu_step.py
[ -f "$peers" ] || peers=$here/../bench/gpu_step.py
name="PyTorch" started=$SECONDS left=$((SECONDS_IN_ALL - SECONDS - 5))
if [ ! -f "$peers" ]; then
  row "$name" "gpu_step.py does not lie beside device.sh" 0
elif [ "$left" -lt 10 ]; then
  row "$name" "no time left" 0
elif ! limited $((left < 60 ? left : 60)) "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  row "$name" "$PYTHON has none for CUDA, or does not answer" $((SECONDS - started))
else
  summary() { grep '^|' <<<"$1" | tail -n +3 | cut -d '|' -f 5,6,8 | tr '|\n' ',;' | tr -s ' '; }
  data() { table "$1"; }
  for stage in pretrain finetune; do
    measure 150 "$PRESET, $stage, beside PyTorch" "$PYTHON" "$peers" --binary "$train" --python "$PYTHON" --case "$PRESET:$stage:$BATCH" \
      --modes compile-bf16,bf16 --steps "$STEPS"
  done
fi

# Each operation: its time, and the rate of its products by cuBLASLt and of attention.
summary() { grep -o '"name": *"[^"]*"\|"gflops": *[0-9.]*' <<<"$1" | sed 's/^[^:]*: *//' | tr -d '"' | awk '/^[0-9.]+$/ { printf "%s %.1f TFLOP/s; ", name, $1 / 1e3; next } { name = $0 }'; }
data() { json "$1"; }
measure 120 "operations of $PRESET, $PRECISION" "${bench[@]}" --stage finetune --ops
# What products and attention choose from, on the rows of a batch.
kernels=$bin/cuda_kernels
[ -x "$kernels" ] || kernels=$bin/examples/cuda_kernels
case $DEVICE:$PRECISION in
  cuda*:bf16)
    summary() { tail -n 1 <<<"$1"; }
    data() { table "$1"; }
    measure 100 "ways and tiles of $PRESET" "$kernels" choices "$DEVICE" "$PRESET" "$BATCH" 70
    ;;
  *) row "ways and tiles" "CUDA chooses in bf16 only" 0 ;;
esac
data() { json "$1"; }
summary() { step "$1"; }
measure 120 "$PRESET, diffusion, batch $BATCH, $PRECISION" "${bench[@]}" --stage diffusion
# The recipe's batch, of which as many pictures as fit go through the network at once.
measure 120 "$PRESET, pretrain, as many pictures as fit" "$train" bench --device "$DEVICE" --preset "$PRESET" --precision "$PRECISION" \
  --stage pretrain --micro-batch auto --steps 2 --warmup 1 --json

echo "$OUT/report.md, $OUT/report.json; $failures failed, $unmeasured without a result"
[ "$failures" = 0 ]
