# Sourced by the experiments: the program as $bin, and the processes at a time as $jobs.
bin=${PIXGEN_TRAIN:-target/release/pixgen-train} jobs=${JOBS:-2}
[ -x "$bin" ] || { echo "${0##*/}: no $bin; hint: cargo build --release -p pixgen-train, or set PIXGEN_TRAIN" >&2; exit 1; }
export bin
unset PIXGEN_TRAIN # the trainer reads PIXGEN_* as settings
