#!/usr/bin/env bash
# Images a second of two ranks with one thread each beside those of one process with two threads: stages 1, 2b and 3 of small-28-grey, in
# turns, medians. For a quiet machine.
#
#   tests/bench/ranks.sh PIXGEN-TRAIN [TURNS] [BATCH] [IMAGES] [ENGINE]      ENGINE: tcp or mpi
set -euo pipefail
P=$(realpath "$1") turns=${2:-5} batch=${3:-256} images=${4:-2560} engine=${5:-tcp}
out=$(mktemp -d); trap 'rm -rf "$out"' EXIT; cd "$out"
common=(--data bundled --batch "$batch" --set output.sample_every=100M --set output.checkpoint_every=100M --set output.log_every="$batch" -q)
start=(--preset small-28-grey --images "$batch")
"$P" pretrain "${start[@]}" "${common[@]}" --out enc 2>/dev/null
"$P" finetune "${start[@]}" "${common[@]}" --out gen 2>/dev/null
declare -A stage=([1]="pretrain --preset small-28-grey" [2b]="finetune --encoder enc" [3]="finetune --objective drift --from gen")
for turn in $(seq "$turns"); do for s in 1 2b 3; do
  read -ra verb <<<"${stage[$s]}"
  "$P" "${verb[@]}" "${common[@]}" --images "$images" --threads 2 --out "$s-one-$turn" 2>/dev/null
  "$P" launch --engine "$engine" --processes 2 -- "${verb[@]}" "${common[@]}" --images "$images" --threads 1 --out "$s-two-$turn" 2>/dev/null
done; done
python3 - "$turns" <<'PY'
import json, statistics as st, sys
for s in ("1", "2b", "3"):
    rate = {}
    for k in ("one", "two"):
        runs = [[json.loads(l)["images_per_second"] for l in open(f"{s}-{k}-{t}/metrics.jsonl") if '"loss"' in l][1:] for t in range(1, int(sys.argv[1]) + 1)]
        rate[k] = st.median(st.median(r) for r in runs)
    print(f"stage {s}: one process {rate['one']:.1f}, two ranks {rate['two']:.1f} images/s, ratio {rate['two'] / rate['one']:.3f}")
PY
