#!/usr/bin/env bash
# Runs a program that uses CUDA without a GPU, and computes what it asks for: the stub driver gives its launches, as NVRTC compiled them, to the
# interpreter of tests/ptx, and its products to a cuBLASLt that computes on the host. All else is the program's own: layouts, leading
# dimensions, epilogues, streams and their order. It is slow: a network must be small.
#
#   tests/cuda/execute.sh                            whole training steps of small networks beside the CPU's (tests/bin/cuda_step.rs)
#   tests/cuda/execute.sh [--arch 80] PROGRAM ARG... another program, as an A100 (80) or an H100 (90, the default)
#
# PROGRAM starts in a folder of its own, $CARGO_TARGET_DIR/cuda-execute, where traffic.tsv says what each launch has read and written. The exit
# status is the program's; it is aborted at a fault of a kernel and at work that does not wait for what it needs. 3: the toolkit cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
arch=90
[ "${1:-}" != --arch ] || { arch=$2; shift 2; }
# It starts in another folder.
case "${1:-}" in [!/]*/*) set -- "$PWD/$1" "${@:2}" ;; esac

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pixgen-target}
out=$CARGO_TARGET_DIR/cuda-execute
toolkit=$("$here/toolkit.sh")
rm -rf "$out"
mkdir -p "$out/lib"
# Names as in compile.sh; libcublasLt is asked for with the major version of CUDA.
cc -O1 -shared -fPIC -o "$out/lib/libcuda.so" "$here/stub_driver.c"
cc -O3 -shared -fPIC -o "$out/lib/libcublasLt.so.12" "$here/stub_cublaslt.c"
cc -O2 -shared -fPIC -o "$out/lib/libnccl.so.2" "$here/stub_nccl.c"
(cd "$here/../.." && cargo build --quiet --release --locked -p pixgen-ptx --lib)
if [ $# = 0 ]; then
  # As in compile.sh: the features of tests/run.sh, so that nothing is compiled twice.
  (cd "$here/../.." && cargo build --quiet --release --locked --workspace --features pixgen-train/cuda,pixgen-train/vulkan --bin cuda_step)
  set -- "$CARGO_TARGET_DIR/release/cuda_step"
fi
printf '[autotune]\ncache = "local"\n' >"$out/cubecl.toml"

cd "$out"
CUDA_STUB_ARCH=$arch CUDA_STUB_INTERPRETER=$CARGO_TARGET_DIR/release/libpixgen_ptx.so CUDA_STUB_MODULES=$out \
  CUDA_STUB_MEMORY=${CUDA_STUB_MEMORY:-1} CUDA_PATH=$toolkit LD_LIBRARY_PATH=$out/lib:$toolkit/lib:${LD_LIBRARY_PATH:-} exec "$@"
