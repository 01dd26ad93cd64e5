#!/usr/bin/env bash
# Graphs of every form, of random models of every kind of architecture and of the model in the repository, in onnxruntime.
#
#   tests/gen/onnx_check.sh PYTHON      a Python that has numpy, onnx and onnxruntime
#
# Needs `pixgen-edge` and the example `random_models` built in $CARGO_TARGET_DIR, and qemu-x86_64.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=$1
built=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$built/examples/random_models" "$work" >/dev/null
shopt -s nullglob
edge() { "$built/pixgen-edge" "$@"; }
trained=(firmware-examples/models/*.safetensors)
for model in "$work"/*.safetensors "${trained[@]}"; do
  name=$work/$(basename "$model" .safetensors)
  for form in float qdq integer; do
    edge onnx "$model" --form $form -o "$name-$form.onnx" --vectors "$name-$form.safetensors" --count 30
  done
  edge onnx "$model" --form qdq --weight-bits 7 -o "$name-7bits.onnx" --vectors "$name-7bits.safetensors" --count 30
  for target in generic rknn nncase tpu-mlir esp; do
    graph=$name-$target
    edge onnx "$model" --target $target -o "$graph.onnx" --calibration "$graph.calibration"
  done
done
# One channel of the stream 1000 times as large as the others, and one that is always 0: what integers spoil is said, and all else draws well.
for how in outlier dead; do
  name=$work/$how model=$work/spoilt/$how.safetensors
  for form in float qdq integer; do
    edge onnx "$model" --form $form -o "$name-$form.onnx" --vectors "$name-$form.safetensors" --count 30 2>"$work/said"
    if grep '^warning: int8 spoils' "$work/said"; then rm "$name-$form.onnx"; fi
  done
  for target in generic rknn nncase tpu-mlir esp; do
    edge onnx "$model" --target $target -o "$name-$target.onnx" --calibration "$name-$target.calibration"
  done
done
# A fixed batch, and some of the classes in another order.
edge onnx "$work/1-edm.safetensors" --batch 5 --classes 2,0 -o "$work/fixed.onnx" --vectors "$work/fixed.safetensors"
nano=firmware-examples/models/nano-28-grey.pxg
edge onnx $nano -o "$work/nano-28-grey.onnx" --vectors "$work/nano-28-grey.safetensors" --count 200
"$python" tests/gen/onnx_check.py "$work"/*.onnx
# A processor without VNNI, whose products saturate.
qemu-x86_64 -cpu Haswell "$python" tests/gen/onnx_check.py --saturating "$work/clothes-28-7bits.onnx" 2> >(grep -v "TCG doesn't support" >&2)
# The script that lies beside a graph for no tool in particular needs no more than this Python.
"$python" "$work/0-plain-x-generic.calibration/check.py" "$work/0-plain-x-generic.onnx"
# The scripts say how they are called, without their tools, and refuse what their tools would take for something else.
refused() { ! "$@" >"$work/said" 2>&1 && grep -q '^usage: c' "$work/said"; }
for target in generic rknn nncase tpu-mlir esp; do
  case $target in tpu-mlir) runner=bash ;; *) runner=$python ;; esac
  refused "$runner" "$work"/0-plain-x-$target.calibration/c*.[ps]*
done
refused "$python" "$work/0-plain-x-esp.calibration/convert.py" "$work/0-plain-x-esp.onnx" esp32s3 12
refused "$python" "$work/0-plain-x-nncase.calibration/convert.py" "$work/0-plain-x-nncase.onnx" int16 31
