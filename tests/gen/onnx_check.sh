#!/usr/bin/env bash
# Graphs of every form, of random models of every kind of architecture and of the model in the repository, in onnxruntime.
#
#   tests/gen/onnx_check.sh PYTHON      a Python that has numpy, onnx and onnxruntime
#
# Needs `pixgen-edge` and the example `random_models` built in $CARGO_TARGET_DIR.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=$1
built=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$built/examples/random_models" "$work" >/dev/null
shopt -s nullglob
for model in "$work"/*.safetensors firmware-examples/models/*.safetensors; do
  name=$work/$(basename "$model" .safetensors)
  # int8 products with other roundings than a chip's differ from it by what the model's pictures amplify: those of random models by little.
  forms="float qdq integer"
  [[ $model = "$work"/* ]] || forms="float integer"
  for form in $forms; do
    graph=$name-$form
    "$built/pixgen-edge" onnx "$model" --form $form -o "$graph.onnx" --vectors "$graph.safetensors" --count 30
  done
  graph=$name-7bits
  [[ $model != "$work"/* ]] || "$built/pixgen-edge" onnx "$model" --form qdq --weight-bits 7 -o "$graph.onnx" --vectors "$graph.safetensors" --count 30
  for target in generic rknn nncase tpu-mlir esp; do
    graph=$name-$target
    "$built/pixgen-edge" onnx "$model" --target $target -o "$graph.onnx" --calibration "$graph.calibration"
  done
done
# A fixed batch, and some of the classes in another order.
"$built/pixgen-edge" onnx "$work/1-edm.safetensors" --batch 5 --classes 2,0 -o "$work/fixed.onnx" --vectors "$work/fixed.safetensors"
nano=firmware-examples/models/nano-28-grey.pxg
"$built/pixgen-edge" onnx $nano -o "$work/nano-28-grey.onnx" --vectors "$work/nano-28-grey.safetensors" --count 200
"$python" tests/gen/onnx_check.py "$work"/*.onnx
# The script that lies beside a graph for no tool in particular needs no more than this Python.
"$python" "$work/0-plain-x-generic.calibration/check.py" "$work/0-plain-x-generic.onnx"
