#!/usr/bin/env bash
# Compiles every kernel of whole training steps, without a GPU, for sm_80 and sm_90a: stage 1 and stage 2b of EPG-L/16 at 256 in bf16,
# its stage 2b without dropout and auxiliary loss (the kernels of stage 2a), the same with recomputation and in f32. Towers have one block,
# since blocks repeat: depth decides about launches and not about kernels.
#
#   tests/cuda/steps.sh               tables beside the build
#   tests/cuda/steps.sh --wide        stage 2b of the other sizes as well: heads of 32, 64, 72, 120 and 128, and 66 tokens
#
# Needs `pixgen-train` built in release with the feature cuda. The exit status is that of the first table that fails (compile.sh).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pixgen-target}
out=$CARGO_TARGET_DIR/cuda-kernels
one_block=(--set model.encoder.depth=1 --set model.decoder.depth=1)
bench=("$CARGO_TARGET_DIR/release/pixgen-train" bench --device cuda "${one_block[@]}" --batch 2 --steps 1 --warmup 0)

table() { # NAME [--expect FILE] -- BENCH-ARGUMENT...
  local name=$1 expect=()
  shift
  while [ "$1" != -- ]; do expect+=("$1"); shift; done
  shift
  echo "== $name"
  "$here/compile.sh" --out "$out/$name" --cache "$out/ptx" "${expect[@]}" -- "${bench[@]}" "$@"
}

# Of one program only: half of the kernels of a table are in another one too.
rm -rf "$out/ptx"
table EPG-L-16-256 --expect "$here/kernels.txt" -- --preset EPG-L-16-256 --precision bf16
table EPG-L-16-256-stage-2a -- --preset EPG-L-16-256 --precision bf16 --stage finetune --set consistency.auxiliary=0 --set consistency.dropout=0
table EPG-L-16-256-recompute -- --preset EPG-L-16-256 --precision bf16 --recompute
table EPG-L-16-256-f32 -- --preset EPG-L-16-256 --precision f32
[ "${1:-}" = --wide ] || exit 0
for model in EPG-{S,B,XL,XXL,G}-16-256 base-32-rgb; do table "$model" -- --preset "$model" --precision bf16 --stage finetune; done
