#!/usr/bin/env bash
# Files of `pixgen-edge tflite`, of random models of every kind of architecture, in LiteRT and TensorFlow Lite Micro, and through Vela.
#
#   tests/gen/tflite_check.sh PYTHON [MODEL...]     a Python that has numpy, ai-edge-litert, tflite-micro and ethos-u-vela;
#                                                   and trained models, which are held to the bounds of tflite_check.py
#
# Needs `pixgen-edge`, the example `random_models` and the package pixgen-c built in $CARGO_TARGET_DIR.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=$1
shift
built=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
edge() { "$built/pixgen-edge" "$@"; }

spoilt=() files=()
if [ $# = 0 ]; then
  "$built/examples/random_models" "$work/models" >/dev/null
  set -- "$work"/models/*.safetensors
  # Weights that no training gives end in a file that runtimes run, or in an error with a hint, for every accelerator.
  for model in "$work"/models/spoilt/*.safetensors; do
    for npu in u55 u65 u85; do
      if edge tflite "$model" -o "${model%.safetensors}-$npu.tflite" --npu $npu 2>"$work/said"; then
        spoilt+=("${model%.safetensors}-$npu.tflite")
      else
        grep -q '^hint: ' "$work/said"
      fi
      sed "s|^|$(basename "$model"), $npu: |" "$work/said"
    done
  done
  # An outlier among channels draws in real numbers, and the .pxg file says that it is spoilt; a dead one draws like all others.
  name=$work/spoilt-outlier model=$work/models/spoilt/outlier.safetensors
  edge onnx "$model" --form float -o "$work/unused.onnx" --vectors "$name-real.float.safetensors" --count 40
  edge tflite "$model" -o "$name-real.tflite" --form float
  edge export "$model" -o "$work/outlier.pxg" 2>&1 | grep '^warning: int8 spoils'
  files+=("$name-real.tflite")
  set -- "$@" "$work/models/spoilt/dead.safetensors"
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

# The glue for firmware around LiteRT: from its noise to its picture.
glue=firmware-examples/ethos-u
for model in firmware-examples/models/*.safetensors; do
  edge tflite "$model" -o "$work/glue.tflite" --vectors "$work/glue.safetensors" --count 12 --seed 7 2>/dev/null
  read -r side channels classes <<<"$("$python" tests/gen/glue_check.py --shape "$work/glue.tflite")"
  c++ -std=c++17 -O2 -Wall -Wextra -Werror -DSIDE="$side" -DCHANNELS="$channels" -DCLASSES="$classes" -Itests/gen/litert_pipe -I$glue/stubs -I$glue \
    -Ipixgen-edge/c $glue/draw.cc tests/gen/litert_pipe/main.cc "$built/libpixgen.a" -lpthread -ldl -lm -o "$work/glue"
  "$python" tests/gen/glue_check.py "$work/glue" "$work/glue.tflite" "$work/glue.safetensors"
done
