#!/usr/bin/env bash
# Evaluations and guidance of the diffusion models that ablation.sh trained with EPG pre-training: 10 evaluations (Euler on 10 levels) and
# 75 (Heun on 32 levels, guidance in the paper's interval) over weights of guidance. Prints a table and draws OUT/guidance-SET.svg.
#
#   tests/experiments/guidance.sh OUT [SET]        after ablation.sh OUT
set -euo pipefail
out=${1:?usage: guidance.sh OUT [SET]}
sets=${2:-fashion emoji} seeds=${SEEDS:-1 2 3}
source "$(dirname "$0")/program.sh"
export out

measure() { # SET SEED NAME OPTION...
  local run=$out/$1-epg-diffusion-$2 file=$out/guidance-$1-$2-$3.json network=()
  [ -e "$file" ] && return
  [ "$1" != fashion ] || network=(--network fashion)
  "$bin" eval "$run" "${network[@]}" --count 1000 "${@:4}" --threads 1 --json >"$file.part" && mv "$file.part" "$file"
}
export -f measure
for set in $sets; do
  for seed in $seeds; do
    echo "$set $seed 10 --steps 10 --sampler euler"
    echo "$set $seed 75 --guidance 1,1.5,2,3,4"
  done
done | xargs -P "$jobs" -L 1 bash -ec 'measure "$@"' _
for set in $sets; do python3 "$(dirname "$0")/guidance.py" "$out" "$set"; done
