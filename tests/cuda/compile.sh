#!/usr/bin/env bash
# Compiles every CUDA kernel that a program launches, without a GPU, and writes a table of registers, shared memory and spills.
#
#   tests/cuda/compile.sh [--arch sm_80,sm_90a] [--expect FILE] [--out FOLDER] [--cache FOLDER] -- PROGRAM [ARGUMENT...]
#
# PROGRAM runs once for each architecture, with a driver that executes nothing (stub_driver.c) and with NVIDIA's own run-time compiler and
# assembler (toolkit.sh). It sees zeros for results, and must treat them as any others. It starts in a folder of its own, so its file
# arguments must be absolute paths.
#
# Writes FOLDER/kernels.md and kernels.json, and keeps PTX, cubins and logs below FOLDER (default: cuda-kernels beside the build).
# With --cache, kernels that an earlier run of the same program compiled are taken from there.
# Each line of FILE is a pattern of a kernel's name (`*` for any text) that must be there. The exit status is 1 when a kernel spills, does
# not assemble, was never launched or is missing, when the program fails or a thread of it panics, and when it loads no kernel at all;
# 3 when the toolkit cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pixgen-target}
mkdir -p "$CARGO_TARGET_DIR/cuda-stub"
toolkit=$("$here/toolkit.sh")
# Not libcuda.so.1, and no soname: see stub_driver.c.
# Renamed when it is whole, since two calls may run side by side.
cc -O1 -shared -fPIC -o "$CARGO_TARGET_DIR/cuda-stub/libcuda.so.$$" "$here/stub_driver.c"
mv "$CARGO_TARGET_DIR/cuda-stub/libcuda.so.$$" "$CARGO_TARGET_DIR/cuda-stub/libcuda.so"
# CUDA_PATH is set for PROGRAM only: in a build it would make cargo compile everything that depends on cudarc anew.
# The whole workspace with the features of tests/run.sh, so that nothing is compiled twice.
(cd "$here/../.." && cargo build --quiet --release --locked --workspace --features pixgen-train/cuda,pixgen-train/vulkan --bin cuda_table)
exec "$CARGO_TARGET_DIR/release/cuda_table" --stub "$CARGO_TARGET_DIR/cuda-stub" --toolkit "$toolkit" \
  --out "$CARGO_TARGET_DIR/cuda-kernels" "$@"
