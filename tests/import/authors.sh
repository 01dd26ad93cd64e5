#!/usr/bin/env bash
# Imports checkpoints with the authors' names at the paper's sizes and compares the network with PyTorch's answers (docs/reference/weights.md).
#
#   tests/import/authors.sh PYTHON PIXGEN_TRAIN FOLDER [NAME...]
#
# PYTHON has torch and safetensors; FOLDER takes up to 9 GB at a time and is empty again at the end. All names if none is given.
set -euo pipefail
python=$1 program=$2 folder=$3
shift 3
script=$(dirname "$0")/../gen/authors_checkpoint.py
[ $# -gt 0 ] || mapfile -t names < <("$python" "$script" --list)
[ $# -eq 0 ] || names=("$@")

mkdir -p "$folder"
for name in "${names[@]}"; do
  "$python" "$script" "$name" "$folder"
  objective=(--objective diffusion)
  case $name in
    RCM-*) objective=() ;;
    EPG-L-16-256) objective=(--objective consistency) ;;
  esac
  # An encoder is that of several presets; the others are found by their shapes.
  "$program" import "$folder/$name.pth" "${objective[@]}" --out "$folder/$name.safetensors" \
    --verify "$folder/$name-vectors.safetensors"
  rm -f "$folder/$name.pth" "$folder/$name.safetensors" "$folder/$name-vectors.safetensors"
done
