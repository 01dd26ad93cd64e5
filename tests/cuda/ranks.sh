#!/usr/bin/env bash
# Trains on two ranks with a GPU each, without a GPU: the stub driver executes their kernels (execute.sh), and a stub NCCL (stub_nccl.c) joins
# their memory. Losses and gradients of three steps of stage 1, which gathers features, must be those of one process on the CPU, and ranks that
# divide their state must end with the same model. Then the ranks are to end as they should without NCCL, with one that sums wrongly, and with
# one that finds a fault by itself.
#
#   tests/cuda/ranks.sh        needs `pixgen-train` built in release with the feature cuda
#
# 3: the toolkit cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pixgen-target}
program=$CARGO_TARGET_DIR/release/pixgen-train
out=$CARGO_TARGET_DIR/cuda-ranks
rm -rf "$out"
mkdir -p "$out"
train=(pretrain --preset nano-28-grey --data bundled --images 12 --batch 4 --set model.encoder.depth=1 --set model.decoder.depth=1
  --set pretrain.projector.hidden=64 --set pretrain.projector.out=32 --set output.log_every=4)
two=(launch --engine tcp --processes 2 --)

"$program" "${train[@]}" --out "$out/cpu"
CUDA_STUB_DEVICES=2 "$here/execute.sh" "$program" "${two[@]}" "${train[@]}" --device cuda --out "$out/gpus" 2>&1 | tee "$out/gpus.log"
grep -q '\[0\] 2 GPUs joined by NCCL 2.20.5' "$out/gpus.log"
python3 - "$out/cpu/metrics.jsonl" "$out/gpus/metrics.jsonl" <<'PYTHON'
import json, sys
cpu, gpus = ([json.loads(line) for line in open(path) if '"loss"' in line] for path in sys.argv[1:])
assert len(cpu) == len(gpus) == 3, (len(cpu), len(gpus))
for one, two in zip(cpu, gpus):
    for name in ("loss", "contrast", "consistency", "gradient_norm"):
        apart = abs(one[name] - two[name]) / abs(one[name])
        print(f"{one['images']} images, {name}: {one[name]:.6f} and {two[name]:.6f}, apart by {apart:.1e}")
        assert apart < 1e-4, name
PYTHON

# Ranks that divide moments and averages: the same numbers to the last digit, and the same model.
CUDA_STUB_DEVICES=2 "$here/execute.sh" "$program" "${two[@]}" "${train[@]}" --device cuda --shard-state --out "$out/divided" 2>&1 | tee "$out/divided.log"
grep -q 'moments and averages: .* bytes at each of 2 ranks' "$out/divided.log"
cmp "$out/gpus/model.safetensors" "$out/divided/model.safetensors"

ends() { # SENTENCE VARIABLE=VALUE...
  local sentence=$1 status=0
  shift
  env CUDA_STUB_DEVICES=2 "$@" "$here/execute.sh" "$program" "${two[@]}" "${train[@]}" --device cuda --out "$out/none" >"$out/log" 2>&1 || status=$?
  grep -F "$sentence" "$out/log" || { cat "$out/log"; return 1; }
  [ "$status" = 1 ] || { echo "exit code $status"; return 1; }
}

ends "cannot load NCCL, which joins GPUs: " PIXGEN_NCCL=libnothing.so
ends "a trial sum of NCCL is 1 instead of 0" NCCL_STUB_WRONG=1
ends "a GPU's exchange failed: remote process exited" NCCL_STUB_FAULT=3
