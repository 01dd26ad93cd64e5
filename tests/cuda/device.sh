#!/usr/bin/env bash
# Checks an NVIDIA GPU: what it computes, beside the CPU, and how fast. The machine needs no network and no Rust: build elsewhere, copy the
# programs and this into one folder, and run it there. It needs a glibc that is not older than that of the machine that built.
#
#   cargo build --release --locked -p pixgen-train -p pixgen-tests -p pixgen-cubecl --features pixgen-train/cuda --bin pixgen-train --bin cuda_step --example cuda_kernels
#   git describe --always --dirty >target/release/commit          for the report
#   ssh MACHINE mkdir -p check
#   scp target/release/{pixgen-train,cuda_step,commit,examples/cuda_kernels} tests/cuda/device.sh MACHINE:check/  and, for PyTorch beside it, tests/bench/*_step.py
#
#   ./device.sh                          all of it, at most 8 minutes (SECONDS_IN_ALL)
#   ./device.sh train SET MINUTES        trains base-32-rgb (PRESET) for so long on a prepared set of colour pictures (`pixgen-train data prepare`):
#                                        stage 1 for a quarter of the time, then stage 2b, and a grid of pictures
#
# Rows are written to report.md and report.json as they are had, in the order of what matters: the machine and its device; every operation of a
# step beside the CPU; whole steps of small networks beside the CPU; steps of EPG-L/16 in stages 1 and 2b, beside PyTorch if a python3 has it;
# each operation's time and rate of its products; the ways to compute a product and the tiles of attention, of which one is taken; stage 2a;
# memory. Without a device that works, the second row says why and is the last. Else a row that fails, or for which there is no time left, says
# so, and the rest goes on. Each row has its share of the time, and what earlier ones have left. The exit status is 1 if a row fails, and if what
# is compared with the CPU was not compared to the end; 130 and above if a signal ended it, which is the last row then. Kernels that a row has
# compiled are kept for the next ones, in a folder that goes at the end.
#
# Environment: OUT (the folder of the reports, .), PRESET (EPG-L-16-256, and base-32-rgb to train), DEVICE (cuda), PRECISION (bf16), PYTHON (python3),
# CUDA_PATH (/usr/local/cuda); for the rows BATCH (32) and STEPS (15).
set -uo pipefail

# What this says itself, wherever a signal finds it.
exec 8>&2
# A process of its own prints: nobody may be there to read it.
say() { (printf '%s\n' "$1") || :; }
die() { echo "device.sh: $1" >&8; exit 1; }
usage() { printf 'usage: device.sh                     compares and measures a GPU\n       device.sh train SET MINUTES   trains on a prepared set\n'; }
case "$#:${1:-}" in
  0: | 3:train) ;;
  1:-h | 1:--help) usage; exit ;;
  *) usage >&2; exit 1 ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
case "${1:-}" in train) : "${PRESET:=base-32-rgb}" ;; esac
: "${OUT:=$PWD}" "${PRESET:=EPG-L-16-256}" "${BATCH:=32}" "${STEPS:=15}" "${DEVICE:=cuda}" "${PRECISION:=bf16}" "${PYTHON:=python3}" "${SECONDS_IN_ALL:=480}"
[ -n "${CUDA_PATH:-}" ] || [ ! -d /usr/local/cuda ] || export CUDA_PATH=/usr/local/cuda

# As a number of decimals without a leading zero, which the shell would read as octal.
whole() { [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || die "$1 must be a whole number from 1, not '$2'"; }
whole SECONDS_IN_ALL "$SECONDS_IN_ALL"
whole BATCH "$BATCH"
whole STEPS "$STEPS"
[ $# = 0 ] || whole MINUTES "$3"
[[ $DEVICE =~ ^(cpu|(cuda|vulkan)(:[0-9]+)?)$ ]] || die "DEVICE must be cpu, cuda, cuda:NUMBER, vulkan or vulkan:NUMBER, not '$DEVICE'"
case $DEVICE:$PRECISION in
  *:f32 | cuda*:bf16) ;;
  *:bf16) die "PRECISION=bf16 needs a DEVICE of CUDA, and DEVICE is $DEVICE; set PRECISION=f32" ;;
  *) die "PRECISION must be bf16 or f32, not '$PRECISION'" ;;
esac
for needed in flock timeout mktemp awk; do command -v "$needed" >/dev/null || die "this needs the program $needed"; done

# Programs lie beside this script, or where cargo puts them.
bin=$here
[ -x "$bin/pixgen-train" ] || bin=${CARGO_TARGET_DIR:-$here/../../target}/release
[ -x "$bin/pixgen-train" ] || die "no pixgen-train in $here or $bin"
bin=$(cd "$bin" && pwd)
train=$bin/pixgen-train kernels=$bin/cuda_kernels peers=$here/gpu_step.py
[ -x "$kernels" ] || kernels=$bin/examples/cuda_kernels
[ -f "$peers" ] || peers=$here/../bench/gpu_step.py

# Programs start in a folder of their own.
case $PYTHON in /*) ;; */*) PYTHON=$PWD/$PYTHON ;; esac
case $OUT in /*) ;; *) OUT=$PWD/$OUT ;; esac
mkdir -p "$OUT" || exit 1
exec 9<"$OUT"
flock -n 9 || die "another device.sh writes to $OUT; set OUT to another folder"
# Programs take their settings of CubeCL from the folder that they start in.
work=$(mktemp -d "$OUT/work.XXXXXX") || exit 1
printed=$work/printed
trap 'rm -rf "$work"' EXIT
printf '[autotune]\ncache = "local"\n[compilation]\ncache = "local"\n' >"$work/cubecl.toml" || exit 1

# The first field of a name in JSON, and an empty string if there is none.
field() { grep -o "\"$1\": *[^,}]*" <<<"$2" | head -n 1 | cut -d: -f2- | tr -d '" '; }

# Runs a command for so many seconds at most; returns its status, or that of `timeout`. One that does not end when asked to has `grace` seconds more.
running='' grace=5
start() { exec timeout --kill-after "$grace" "$@"; }
limited() { # SECONDS COMMAND...
  (exec 8>&- 9<&- && cd "$work" && start "$@") &
  running=$!
  # So that a signal is heard at once. The shell's own words about a crash are left out.
  wait "$running" 2>/dev/null
  local status=$?
  running=''
  return "$status"
}

# A signal ends what runs, which is waited for, and then this; `ended` says so.
stopped() { # SIGNAL STATUS
  trap '' INT TERM HUP
  local was=$running
  [ -z "$was" ] || { kill "$was" && wait "$was"; } 2>/dev/null
  ended "stopped by SIG$1" "$was"
  exit "$2"
}
trap 'stopped INT 130' INT
trap 'stopped TERM 143' TERM
trap 'stopped HUP 129' HUP

# --- train -------------------------------------------------------------------------------------------------------------------------------

if [ "${1:-}" = train ]; then
  # A checkpoint is written when training is asked to end.
  grace=30 total=$((60 * $3)) set=$2
  ended() { echo "device.sh: $1; what was trained is in $OUT" >&8; }
  case $set in /* | bundled | bundled:*) ;; *) set=$PWD/$set ;; esac
  for made in encoder generator; do [ ! -e "$OUT/$made" ] || die "$OUT/$made is there already; set OUT to another folder"; done
  common=(--preset "$PRESET" --data "$set" --device "$DEVICE" --precision "$PRECISION")
  # Images a second, by a dry run, which also looks at the set, the settings and the device.
  rate() { # STAGE
    local status left=$((total - SECONDS))
    [ "$left" -gt 0 ] || die "no time is left for the dry run of $1; give more MINUTES than $((total / 60))"
    limited "$left" "$train" "$1" "${common[@]}" --dry-run --json >"$printed"
    status=$?
    [ "$status" != 124 ] || die "the dry run of $1 was not finished in $left s; give more MINUTES than $((total / 60))"
    [ "$status" = 0 ] || exit "$status"
    rate=$(field images_per_second "$(cat "$printed")")
    awk -v rate="$rate" 'BEGIN { exit !(rate + 0 > 0) }' || die "the dry run of $1 says no speed: $(head -c 200 "$printed")"
  }
  # Trains a stage for so long: on four fifths of the images that the dry run promises, and no longer in any case.
  train() { # STAGE RATE SECONDS ARGUMENT...
    local stage=$1 images status seconds=$3
    [ "$seconds" -gt 0 ] || die "no time is left for $stage; give more MINUTES than $((total / 60))"
    images=$(awk -v rate="$2" -v seconds="$seconds" 'BEGIN { printf "%d", rate * seconds * 0.8 + 1 }')
    say "$stage: $images images, at most $seconds s"
    limited "$seconds" "$train" "$stage" "${common[@]}" --images "$images" "${@:4}"
    status=$?
    [ "$status" != 124 ] || say "$stage: stopped after $seconds s, before its last image"
    [ "$status" = 0 ] || [ "$status" = 124 ] || exit "$status"
  }
  rate pretrain; first=$rate
  rate finetune; second=$rate
  train pretrain "$first" $(((total - SECONDS) / 4)) --out "$OUT/encoder"
  # The rest, but for a twentieth that the grid is drawn in.
  train finetune "$second" $((total - SECONDS - total / 20)) --encoder "$OUT/encoder" --out "$OUT/generator"
  limited 60 "$train" sample "$OUT/generator" --device "$DEVICE" --out "$OUT/grid.png"
  exit
fi

# --- Rows --------------------------------------------------------------------------------------------------------------------------------

[ -x "$bin/cuda_step" ] || die "no cuda_step in $bin"
case $DEVICE in cuda*) [ -x "$kernels" ] || die "no cuda_kernels in $bin" ;; esac
report=$OUT/report rows=$work/rows log=$OUT/report.log
# Both reports, without a row yet: what is left of another run is not of this one.
{ : >"$log" && printf '| what | result | took |\n|---|---|---:|\n' >"$report.md" && echo '[]' >"$report.json"; } || exit 1
failures=0 unmeasured=0 is_comparison=0 name='' started=0 due=0

# Text that can stand in both reports.
plain() { tr '\n' ' ' <<<"$1" | tr -cd ' -~' | tr -d '"|\\' | sed 's/ *$//'; }

# What a program prints is kept.
start() { exec timeout --kill-after "$grace" "$@" >"$printed" 2>>"$log"; }

# Appends a row to both reports.
row() { # NAME RESULT SECONDS JSON
  set -- "$(plain "$1")" "$(plain "$2")" "${@:3}"
  local line="| $1 | $2 | $3 s |"
  echo "$line" >>"$report.md" || die "cannot write $report.md"
  printf '{"row":"%s","result":"%s","took":%s,"data":%s}\n' "$1" "$2" "$3" "${4:-null}" >>"$rows" || die "cannot write $rows"
  { echo '['; sed '$!s/$/,/' "$rows"; echo ']'; } >"$work/json" && mv -T "$work/json" "$report.json" || die "cannot write $report.json"
  say "$line"
}

# A row that is not for this machine, one that failed, and one without a result; a comparison that was not made is a failure.
skipped() { allot "$1"; row "$2" "$3" 0; }
failed() { failures=$((failures + 1)); row "$1" "FAILED $2" "${@:3}"; }
missed() { unmeasured=$((unmeasured + 1)) failures=$((failures + is_comparison)); row "$@"; }
ended() { # WHAT RUNNING
  if [ -n "$2" ]; then missed "$name" "$1" $((SECONDS - started)) "$(data "$(cat "$printed")")"; else row "between two rows" "$1" 0; fi
}

# What a program said of its failure: its error, its panic, or else its last line.
reason() { # STATUS TEXT
  local said
  said=$(grep -m 1 '^error' <<<"$2" || grep -m 1 -A 1 'panicked at' <<<"$2" || grep -v '^note: ' <<<"$2" | grep . | tail -n 1)
  [ "$1" -le 128 ] || printf '(SIG%s) ' "$(kill -l "$1")"
  echo "${said:-it says nothing}" | paste -sd ' ' | cut -c 1-160
}

# Seconds that a row has: its share of all, and what earlier ones have left, at least 10 while there are as many.
allot() { # SHARE
  due=$((due + $1))
  # What does not end by itself takes five seconds more.
  local all=$((SECONDS_IN_ALL - SECONDS - grace))
  left=$((due * SECONDS_IN_ALL / 480 - SECONDS - grace))
  [ "$left" -ge 10 ] || left=10
  [ "$left" -le "$all" ] || left=$all
}

# Runs a command, and makes a row of it: `summary` prints the row's result from the output, and nothing if there is none; `data` its JSON.
# The shares of all rows are 480 together. `LEFT` among the arguments stands for the seconds that the row has, less some for its start.
measure() { # SHARE NAME COMMAND...
  local output status before took result
  allot "$1"
  name=$2 started=$SECONDS
  shift 2
  [ "$left" -ge 10 ] || { missed "$name" "no time left" 0; return 1; }
  set -- "${@/#LEFT/$((left - 5))}"
  echo "== $name: $*" >>"$log"
  before=$(wc -l <"$log")
  limited "$left" "$@"
  status=$?
  output=$(cat "$printed") took=$((SECONDS - started))
  said=$(tail -n +$((before + 1)) "$log")
  printf '%s\n' "$output" >>"$log"
  result=$(summary "$output")
  case $status in
    0) [ -n "$result" ] || { failed "$name" "without a result, see report.log" "$took"; return 1; } ;;
    124) result="not finished in $left s${result:+: $result}" ;;
    137) [ "$took" -ge "$left" ] && result="not finished in $left s" ;;
  esac
  case $status:$result in
    0:*) row "$name" "$result" "$took" "$(data "$output")" ;;
    *:"not finished"*) missed "$name" "$result" "$took" "$(data "$output")"; return 1 ;;
    *) failed "$name" "with status $status: $(reason "$status" "$said"), see report.log" "$took" "$(data "$output")"; return 1 ;;
  esac
}

finish() {
  say "$report.md, $report.json; $failures failed, $unmeasured without a result"
  [ "$failures" = 0 ]
  exit
}

# What a program prints: a table, whose rows are strings and of which the first names the columns, or JSON, which may have been cut off.
table() { tr -d '\000-\011\013-\037"\\' <<<"$1" | awk 'BEGIN { printf "[" } /^\|/ && ++n != 2 { printf "%s\"%s\"", (n > 1 ? "," : ""), $0 } END { printf "]" }'; }
json() { case $1 in '{'*'}') tr -d '\n' <<<"$1" ;; esac; }
# Version, commit and checksum of the program, the system, and the GPU's driver.
driver() {
  local index=${DEVICE#*:}
  case $DEVICE in cuda*) ;; *) return ;; esac
  timeout --kill-after 1 5 nvidia-smi --id "${index/cuda/0}" --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null 9<&- | sed 's/, /, driver /' ||
    grep -o -m 1 'Kernel Module.*' /proc/driver/nvidia/version 2>/dev/null
}
checksum=$(sha256sum "$train" | cut -c 1-12) date=$(date -u +'%F %T UTC') driver=$(driver)
commit=$(cat "$here/commit" 2>/dev/null || git -C "$here" describe --always --dirty 2>/dev/null || echo "not known")
summary() { echo "$date, $1, commit $commit, sha256 $checksum, $(uname -srm), $(nproc) CPU cores${driver:+, $driver}"; }
data() {
  printf '{"date":"%s","version":"%s","commit":"%s","sha256":"%s","driver":"%s","preset":"%s","batch":%s,"steps":%s,"device":"%s","precision":"%s"}' \
    "$date" "$(plain "$1")" "$(plain "$commit")" "$checksum" "$(plain "$driver")" "$(plain "$PRESET")" "$BATCH" "$STEPS" "$DEVICE" "$PRECISION"
}
is_comparison=1
measure 10 "machine" "$train" --version || finish
# A device says what it is and what computes its products.
summary() { grep -v '^$' <<<"$said" | paste -sd ';' | sed 's/;/; /g' | grep . || echo "opened"; }
data() { :; }
measure 20 "device $DEVICE" "$bin/cuda_step" "$DEVICE" "$PRESET" "$PRECISION" open || [ "$left" -lt 10 ] || finish

summary() { grep -c '^|' <<<"$1" | awk -v bounds="$(sed -n 's/^bounds: //p' <<<"$1")" '$1 > 2 && bounds { print $1 - 2 " rows within the bounds: " bounds }'; }
data() { table "$1"; }
share=80
for precision in $(printf '%s\nf32\n' "$PRECISION" | uniq); do
  measure "$share" "operations of $PRESET beside the CPU, $precision" "$bin/cuda_step" "$DEVICE" "$PRESET" "$precision"
  share=30
done
case $DEVICE in
  cuda*) measure 30 "whole steps beside the CPU" "$bin/cuda_step" "$DEVICE" ;;
  *) skipped 30 "whole steps beside the CPU" "CUDA alone has bf16, which half of them are in" ;;
esac
is_comparison=0

# Output of `bench --json`; a CPU has no MFU and no memory of its own.
step() {
  awk -v s="$(field seconds "$1")" -v i="$(field images_per_second "$1")" -v m="$(field mfu "$1")" -v b="$(field memory "$1")" \
    -v n="$(field micro_batch "$1")" -v all="$(field batch "$1")" 'BEGIN {
      if (!(s + 0 > 0 && i + 0 > 0)) exit
      printf "%.1f ms, %.1f images/s, %d of %d images at once", 1e3 * s, i, n, all
      if (m != "") printf ", MFU %.1f %%", 100 * m
      if (b != "") printf ", %.1f GiB", b / 2^30
    }'
}
bench=("$train" bench --device "$DEVICE" --preset "$PRESET" --precision "$PRECISION" --batch "$BATCH" --steps "$STEPS" --json)
summary() { step "$1"; }
data() { json "$1"; }
for stage in pretrain finetune; do
  measure 40 "$PRESET, $stage, batch $BATCH, $PRECISION" "${bench[@]}" --stage "$stage"
done

# PyTorch in turn with it, in bf16: a table, whose rows are the data. Stage 2b is the same in both, and less than the preset's.
torch() {
  [[ $DEVICE = cuda* ]] || { skipped 140 "PyTorch" "CUDA only"; return 1; }
  [ -f "$peers" ] || { skipped 140 "PyTorch" "gpu_step.py does not lie beside device.sh"; return 1; }
  allot 10
  name=PyTorch started=$SECONDS
  [ "$left" -ge 10 ] || { missed "$name" "no time left" 0; return 1; }
  limited "$left" "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' && return
  row "$name" "$PYTHON has none for CUDA, or does not answer" $((SECONDS - started))
  due=$((due + 130))
  return 1
}
if torch; then
  summary() {
    awk -F ' *[|] *' '/^\|/ && ++n > 2 { printf "%s%s %s, MFU %s%s", (n > 3 ? "; " : ""), $5, $6, $8, (n > 3 ? ", ours / it " $10 : "") }
      /PyTorch .*median/ { printf "; %s", $0 }' <<<"$1"
  }
  data() { table "$1"; }
  less=''
  for stage in pretrain finetune; do
    [ "$stage" = pretrain ] || less=' without dropout and auxiliary loss, the teacher drawing all,'
    measure 65 "$PRESET, $stage$less beside PyTorch, batch $BATCH, bf16" "$PYTHON" "$peers" --binary "$train" --python "$PYTHON" \
      --device "$DEVICE" --case "$PRESET:$stage:$BATCH" --modes compile-bf16,bf16 --steps "$STEPS"
  done
fi

# Each operation: its time, and the rate of its products by cuBLASLt and of attention.
summary() { grep -o '"name": *"[^"]*"\|"gflops": *[0-9.]*' <<<"$1" | sed 's/^[^:]*: *//' | tr -d '"' | awk '/^[0-9.]+$/ { printf "%s %.1f TFLOP/s; ", name, $1 / 1e3; next } { name = $0 }'; }
data() { json "$1"; }
measure 25 "operations of $PRESET, $PRECISION" "${bench[@]}" --stage finetune --ops
# What products and attention choose from, on the rows of a batch.
case $DEVICE:$PRECISION in
  cuda*:bf16)
    summary() { grep '^what is chosen takes .* in [1-9][0-9]* cases' <<<"$1"; }
    data() { table "$1"; }
    measure 30 "ways and tiles of $PRESET" "$kernels" choices "$DEVICE" "$PRESET" "$BATCH" LEFT
    ;;
  *) skipped 30 "ways and tiles" "CUDA chooses in bf16 only" ;;
esac
data() { json "$1"; }
summary() { step "$1"; }
measure 15 "$PRESET, diffusion, batch $BATCH, $PRECISION" "${bench[@]}" --stage diffusion
# The recipe's batch, of which as many pictures as fit go through the network at once.
measure 20 "$PRESET, pretrain, as many pictures as fit" "$train" bench --device "$DEVICE" --preset "$PRESET" --precision "$PRECISION" \
  --stage pretrain --micro-batch auto --steps 2 --warmup 1 --json
finish
