#!/usr/bin/env bash
# What the encoders that ablation.sh pre-trained know of the classes, over noise levels, beside encoders before training. Prints a table.
#
#   tests/experiments/probe.sh OUT [SET]           after stage 1 of ablation.sh OUT
set -euo pipefail
out=${1:?usage: probe.sh OUT [SET]}
sets=${2:-fashion emoji} seeds=${SEEDS:-1 2 3}
source "$(dirname "$0")/program.sh"
export out

probe() { # RUN
  local file=$out/$1.probe.json
  [ -e "$file" ] || { "$bin" probe "$out/$1" --threads 1 --json >"$file.part" && mv "$file.part" "$file"; }
}
export -f probe
for set in $sets; do
  for method in moco rrcm epg; do
    for seed in $seeds; do echo "$set-$method-$seed"; done
  done
done | xargs -P "$jobs" -L 1 bash -ec 'probe "$@"' _
for set in $sets; do python3 "$(dirname "$0")/probe.py" "$out" "$set"; done
