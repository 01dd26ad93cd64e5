#!/bin/bash
# Converts a graph of `pixgen-edge onnx --target tpu-mlir` with Sophgo's tpu-mlir, and compares pictures of its simulator with the float
# network's.
#
#   convert.sh model.onnx cv181x [BF16|F16|INT8] [PICTURES]          writes model.cvimodel, or model.bmodel for BM1688
#
# Needs Python 3.10, tpu_mlir 1.30.2, onnx 1.14.1, onnxruntime 1.16.3, onnxsim 0.4.17, flatbuffers 24.12.23, psutil, torch 1.12.1 and setuptools older
# than 70. BF16 is the best form of CV181x and CV180x.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: convert.sh model.onnx cv181x|cv180x|bm1688 [BF16|F16|INT8] [PICTURES]" >&2; exit 2; }
graph=$(realpath "$1") chip=$2 form=${3:-BF16} pictures=${4:-3} here=$(realpath "$(dirname "$0")")
name=model # the tool gives names to a shell, where a space or a quote ends them
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir inputs && cp "$here"/[0-9][0-9].npz inputs && cp "$graph" "$name.onnx"
model_transform --model_name "$name" --model_def "$name.onnx" --test_input inputs/00.npz --test_result top.npz --mlir "$name.mlir"
table=()
if [ "$form" = INT8 ]; then
  run_calibration "$name.mlir" --dataset inputs --input_num 30 -o ranges
  table=(--calibration_table ranges)
fi
case $chip in bm*) kind=bmodel ;; *) kind=cvimodel ;; esac
model_deploy --mlir "$name.mlir" --quantize "$form" "${table[@]}" --processor "$chip" --model "$name.$kind"
cp "$name.$kind" "${graph%.onnx}.$kind"
for number in $(seq -w 0 29 | head -n "$pictures"); do
  model_runner --input "inputs/$number.npz" --model "$name.$kind" --output "out-$number.npz"
done
python - "$here" "$chip" "$form" "$pictures" <<'EOF'
import sys
import numpy
here, chip, form, pictures = sys.argv[1:]
errors = []
for number, picture in enumerate(numpy.load(f"{here}/expected.npy")[:int(pictures)]):
    out = numpy.load(f"out-{number:02}.npz")
    (levels,) = [out[name] for name in out.files if "levels" in name and out[name].size == picture.size][-1:]
    errors.append(numpy.clip(numpy.floor(levels.reshape(picture.shape) + 0.5), 0, 255) - picture)
errors = numpy.abs(errors)
print(f"{chip}, {form}: at most {errors.max():.0f} grey levels off, {errors.mean():.2f} in the mean of {len(errors)} pictures")
EOF
