#!/usr/bin/env bash
# Files of `pixgen-edge tflite`, of random models of every kind of architecture, in LiteRT and TensorFlow Lite Micro, and through Vela.
#
#   tests/gen/tflite_check.sh PYTHON [MODEL...]     a Python that has numpy, ai-edge-litert, tflite-micro and ethos-u-vela;
#                                                   and trained models, which are held to the bounds of tflite_check.py
#
# Needs `pixgen-edge` and the example `random_models` built in $CARGO_TARGET_DIR.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=$1
shift
built=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
edge() { "$built/pixgen-edge" "$@"; }

spoilt=()
if [ $# = 0 ]; then
  "$built/examples/random_models" "$work/models" >/dev/null
  set -- "$work"/models/*.safetensors
  # Weights that no training gives end in a file that runtimes run, or in an error with a hint.
  for model in "$work"/models/spoilt/*.safetensors; do
    if edge tflite "$model" -o "${model%.safetensors}.tflite" 2>"$work/said"; then
      spoilt+=("${model%.safetensors}.tflite")
    else
      grep -q '^hint: ' "$work/said"
    fi
    sed "s|^|$(basename "$model"): |" "$work/said"
  done
  # The trained models of the repository too.
  set -- "$@" firmware-examples/models/*.safetensors
fi
for model in "$@"; do
  name=$work/$(basename "$(dirname "$(realpath "$model")")")-$(basename "$model" .safetensors)
  edge onnx "$model" --form float -o "$work/unused.onnx" --vectors "$name.float.safetensors" --count 40
  edge onnx "$model" --form integer -o "$work/unused.onnx" --vectors "$name.chip.safetensors" --count 40
  edge tflite "$model" -o "$name.tflite"
  edge tflite "$model" -o "$name.sigmoid.tflite" --gelu sigmoid
  edge tflite "$model" -o "$name-u85.tflite" --npu u85
  edge tflite "$model" -o "$name-real.tflite" --form float
  for form in u85 real; do
    for of in float chip; do ln -s "$name.$of.safetensors" "$name-$form.$of.safetensors"; done
  done
  files+=("$name.tflite" "$name-u85.tflite" "$name-real.tflite")
done
[ ${#spoilt[@]} = 0 ] || "$python" tests/gen/tflite_check.py --runs "${spoilt[@]}"
"$python" tests/gen/tflite_check.py --vela 20000000 "${files[@]}"
