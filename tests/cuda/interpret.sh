#!/usr/bin/env bash
# Runs the CUDA kernels of attention without a GPU and compares what they compute with float64, for sm_80 and sm_90a: the host code launches
# them under the stub driver, NVRTC compiles them, and the interpreter of tests/ptx runs their PTX. Then it puts mistakes into them, which
# must be found. It also assembles them, as compile.sh does, so none may spill.
#
#   tests/cuda/interpret.sh [TOKENSxHEAD...]     default: 258 and 70 tokens with every width of a head, and one for the portable kernels;
#                                                for sm_80, whose kernels are the same but for their tiles, fewer
#
# The exit status is 1 when a result is further from float64 than the rounding of bf16, a mistake is not found or a kernel spills; 3 when the
# toolkit cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# Mistakes are put into the first.
all=(258x{64,32,72,80,120,128} 70x{32,64,72,80,120,128} 70x36)
some=(258x64 70x{72,128})
[ $# = 0 ] || all=("$@") some=("$@")

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pixgen-target}
out=$CARGO_TARGET_DIR/cuda-kernels/attention
mkdir -p "$out"
# As in compile.sh: the features of tests/run.sh, so that nothing is compiled twice.
gpu=(--quiet --release --locked --workspace --features pixgen-train/cuda,pixgen-train/vulkan)
(cd "$here/../.." && cargo build "${gpu[@]}" --example cuda_kernels && cargo build "${gpu[@]}" --bin ptx_attention)

one() { # ARCHITECTURE CASE...
  local arch=$1
  shift
  CUDA_STUB_CALLS=1 "$here/compile.sh" --arch "$arch" --out "$out/$arch" -- "$CARGO_TARGET_DIR/release/examples/cuda_kernels" attention "$@"
  "$CARGO_TARGET_DIR/release/ptx_attention" "$out/$arch/$arch/modules" "$@"
}

# Side by side, since NVRTC compiles one kernel at a time.
one sm_80 "${some[@]}" >"$out/sm_80.log" 2>&1 &
first=$! status=0
one sm_90a "${all[@]}" >"$out/sm_90a.log" 2>&1 || status=$?
wait "$first" || status=$?
for arch in sm_80 sm_90a; do
  echo "== $arch"
  cat "$out/$arch.log"
done
exit "$status"
