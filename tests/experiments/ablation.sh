#!/usr/bin/env bash
# The ablation of pre-training: {none, moco, rrcm, epg} x {diffusion, consistency} x seeds on Fashion-MNIST (28x28, bundled) and on Noto
# emoji (32x32), the same images of stage 2 for all, one-thread processes side by side. Every run can be interrupted and resumed, and what is
# done is not done again.
#
#   tests/experiments/ablation.sh OUT                             the whole table, both sets, seeds 1 2 3
#   tests/experiments/ablation.sh OUT emoji rrcm diffusion        one row
#   SEEDS="1" tests/experiments/ablation.sh OUT fashion           one seed of a set
#
# EMOJI is the folder that `pixgen-train data get noto-emoji` made (default: data/noto-emoji); STAGE1 and STAGE2 are images of a run, JOBS
# the processes at a time (default 2).
set -euo pipefail
out=${1:?usage: ablation.sh OUT [SET [METHOD [OBJECTIVE]]]}
sets=${2:-fashion emoji} methods=${3:-none moco rrcm epg} objectives=${4:-diffusion consistency}
seeds=${SEEDS:-1 2 3} emoji=${EMOJI:-data/noto-emoji} stage1=${STAGE1:-120k} stage2=${STAGE2:-120k}
source "$(dirname "$0")/program.sh"
[[ $sets != *emoji* || -d $emoji ]] || { echo "ablation.sh: no $emoji; hint: $bin data get noto-emoji" >&2; exit 1; }
mkdir -p "$out"
export out emoji stage1 stage2

# Sets `flags` to the model and data of a set, and `measure` to how its pictures are measured.
choose() { # SET
  case $1 in
    fashion) flags=(--preset small-28-grey --data bundled) measure=(--network fashion --count 2000) ;;
    emoji) flags=(--preset nano-32-rgb --data "$emoji") measure=(--count 1710) ;;
  esac
}
# A finished run has a model beside its log.
pretrain() { # SET METHOD SEED
  local run=$out/$1-$2-$3 flags measure
  choose "$1"
  [ -e "$run.done" ] || "$bin" pretrain --method "$2" "${flags[@]}" --images "$stage1" --seed "$3" --threads 1 -q --out "$run" >"$run.log" 2>&1
  touch "$run.done"
}
finetune() { # SET METHOD OBJECTIVE SEED
  local run=$out/$1-$2-$3-$4 flags measure encoder=()
  choose "$1"
  [ "$2" = none ] || encoder=(--encoder "$out/$1-$2-$4")
  [ -e "$run.done" ] || "$bin" finetune --objective "$3" "${flags[@]}" "${encoder[@]}" --images "$stage2" --seed "$4" --threads 1 -q \
    --out "$run" --set output.sample_every=100M --set output.checkpoint_every=100k >"$run.log" 2>&1
  touch "$run.done"
  [ -e "$run.json" ] || { "$bin" eval "$run" "${measure[@]}" --threads 1 --json >"$run.part" && mv "$run.part" "$run.json"; }
}
export -f choose pretrain finetune

for seed in $seeds; do
  for set in $sets; do
    for method in $methods; do [ "$method" = none ] || echo "$set $method $seed"; done
  done
done | xargs -r -P "$jobs" -L 1 bash -ec 'pretrain "$@"' _
for seed in $seeds; do
  for set in $sets; do
    for method in $methods; do
      for objective in $objectives; do echo "$set $method $objective $seed"; done
    done
  done
done | xargs -P "$jobs" -L 1 bash -ec 'finetune "$@"' _
python3 "$(dirname "$0")/ablation.py" "$out"
