#!/usr/bin/env bash
# Does stage 1 pay? Runs the table of docs/results/experiments.md: with and without pre-training at the same stage-2 images,
# two budgets, three seeds; two one-thread processes at a time. Every run can be interrupted and resumed.
#
#   tests/experiments/stage1.sh OUT [BUDGET ...]        default budgets: 160k 480k
set -euo pipefail
out=${1:?usage: stage1.sh OUT [BUDGET ...]}
shift
budgets=("$@")
[ $# -gt 0 ] || budgets=(160k 480k)
source "$(dirname "$0")/program.sh"
mkdir -p "$out"
export out

pretrain() { # seed
  "$bin" pretrain --out "$out/pretrain-$1" --seed "$1" --threads 1 -q >"$out/pretrain-$1.log" 2>&1
}
finetune() { # kind budget seed
  local run="$out/$1-$2-$3" encoder=()
  [ "$1" = scratch ] || encoder=(--encoder "$out/pretrain-$3")
  "$bin" finetune --out "$run" --images "$2" --seed "$3" --threads 1 -q "${encoder[@]}" \
    --set output.sample_every=100M --set output.checkpoint_every=100k >"$run.log" 2>&1
  "$bin" eval "$run" --count 5000 --threads 1 --json >"$run.json"
}
export -f pretrain finetune

printf '%s\n' 1 2 3 | xargs -P "$jobs" -I{} bash -ec 'pretrain {}'
for budget in "${budgets[@]}"; do
  for seed in 1 2 3; do printf '%s\n' "scratch $budget $seed" "pretrained $budget $seed"; done
done | xargs -P "$jobs" -L 1 bash -ec 'finetune "$@"' _
python3 "$(dirname "$0")/table.py" "$out" "${budgets[@]}"
