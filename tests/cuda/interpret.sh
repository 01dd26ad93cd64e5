#!/usr/bin/env bash
# Runs the CUDA kernels of attention without a GPU and compares what they compute with float64, for sm_80 and sm_90a: the host code launches
# them under the stub driver, NVRTC compiles them, and the interpreter of tests/ptx runs their PTX. Then it puts mistakes into them, which
# must be found.
#
#   tests/cuda/interpret.sh [TOKENSxHEAD...]     default: 70 and 258 tokens with every width of a head
#
# The exit status is 1 when a result is further from float64 than the rounding of bf16, or a mistake is not found; 3 when the toolkit cannot
# be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cases=("$@")
[ $# -gt 0 ] || cases=({70,258}x{32,64,72,80,120,128})

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pixgen-target}
stub=$CARGO_TARGET_DIR/cuda-stub
mkdir -p "$stub"
toolkit=$("$here/toolkit.sh")
cc -O1 -shared -fPIC -o "$stub/libcuda.so" "$here/stub_driver.c"
# As in compile.sh: the features of tests/run.sh, so that nothing is compiled twice.
gpu=(--quiet --release --locked --workspace --features pixgen-train/cuda,pixgen-train/vulkan)
(cd "$here/../.." && cargo build "${gpu[@]}" --example attention_kernels && cargo build "${gpu[@]}" --bin ptx_attention)

for arch in 80 90; do
  echo "== sm_$arch"
  calls=$CARGO_TARGET_DIR/cuda-kernels/attention/sm_$arch
  rm -rf "$calls"
  mkdir -p "$calls"
  (cd "$calls" && CUDA_STUB_ARCH=$arch CUDA_STUB_MODULES=$calls CUDA_STUB_CALLS=1 CUDA_PATH=$toolkit \
    LD_LIBRARY_PATH=$stub:$toolkit/lib "$CARGO_TARGET_DIR/release/examples/attention_kernels" "${cases[@]}")
  "$CARGO_TARGET_DIR/release/ptx_attention" "$calls" "${cases[@]}"
done
