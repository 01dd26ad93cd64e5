#!/usr/bin/env bash
# How many noise levels stage 1 should climb in short runs: encoders of Fashion-MNIST over numbers of levels, temperatures of L_rc and what
# else sets rRCM apart, probed over the noise. Prints a table. Runs can be interrupted and resumed; JOBS at a time (default 2).
#
#   tests/experiments/levels.sh OUT [IMAGES]       IMAGES of stage 1, default 120k; SEEDS, default 1
set -euo pipefail
out=${1:?usage: levels.sh OUT [IMAGES]}
images=${2:-120k} seeds=${SEEDS:-1}
source "$(dirname "$0")/program.sh"
mkdir -p "$out"
export out images

# NAME (the row, with underlines for blanks) SEED OPTION...
pretrain() {
  local run=$out/$images-$1-$2
  [ -e "$run.probe.json" ] && return
  "$bin" pretrain --out "$run" --images "$images" --seed "$2" --threads 1 -q "${@:3}" >"$run.log" 2>&1
  "$bin" probe "$run" --threads 1 --json >"$run.part" && mv "$run.part" "$run.probe.json"
}
export -f pretrain
levels() { echo "--set pretrain.levels.start=$1 --set pretrain.levels.end=$2"; }
tau() { echo "--set pretrain.temperature.low=$1 --set pretrain.temperature.start=$1"; }
for seed in $seeds; do
  for end in 3 5 10; do echo "EPG,_${end}_levels $seed $(levels "$end" "$end")"; done
  echo "EPG,_5_levels,_tau_0.2 $seed $(levels 5 5) $(tau 0.2)"
  echo "EPG,_10_levels,_tau_0.2 $seed $(levels 10 10) $(tau 0.2)"
  echo "EPG,_20_to_80_levels $seed $(levels 20 80)"
  for t in 0.2 0.5; do echo "EPG,_20_to_80_levels,_tau_$t $seed $(levels 20 80) $(tau "$t")"; done
  echo "EPG,_20_to_80_levels,_clip_2 $seed $(levels 20 80) --set optimiser.clip=2"
  echo "EPG,_20_to_80_levels,_one_direction $seed $(levels 20 80) --set pretrain.contrast_symmetric=false"
  echo "EPG,_20_to_80_levels,_slowing_target $seed $(levels 20 80) --set pretrain.target_decay.end=0.999"
  echo "rRCM,_20_to_80_levels $seed --method rrcm"
  echo "rRCM,_10_levels $seed --method rrcm $(levels 10 10)"
done | xargs -P "$jobs" -L 1 bash -ec 'pretrain "$@"' _
python3 "$(dirname "$0")/levels.py" "$out" "$images"
