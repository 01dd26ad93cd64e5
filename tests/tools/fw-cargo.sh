#!/usr/bin/env bash
# cargo for a bare-metal target, or for Linux on another kind of CPU:   fw-cargo.sh build --target thumbv6m-none-eabi --release -p pixgen-core
#
# Where the target's core library is installed (`rustup target add TRIPLE`), this is plain cargo. Otherwise it is Debian's compiler, which
# brings the library's sources: core, or std for tests and for Linux, is built along with the crate. Host builds and rustup's state are left alone.
set -euo pipefail

# Debian's rustc-web and cargo-web; rustup's stand before them in PATH.
rustc=/usr/bin/rustc
cargo=/usr/bin/cargo

die() { echo "fw-cargo.sh: $*" >&2; exit 3; }

[ $# -gt 0 ] || die "usage: fw-cargo.sh SUBCOMMAND --target TRIPLE [ARGUMENT...]"
verb=$1
shift

target=
for ((i = 1; i <= $#; i++)); do
  case ${!i} in
    --target=*) target=${!i#--target=} ;;
    --target) next=$((i + 1)); target=${!next:-} ;;
  esac
done
[ -n "$target" ] || die "no --target TRIPLE among the arguments"

has_core() { compgen -G "$("$1" --print sysroot)/lib/rustlib/$target/lib/libcore-*.rlib" >/dev/null; }
has_sources() { [ -f "$("$1" --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]; }

# A program for Linux is linked by the C compiler of that CPU, and emulated when it is run.
if [[ $target = *-linux-gnu ]]; then
  cpu=${target%%-*}
  gnu=${cpu/riscv64gc/riscv64}
  variable=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$target")
  declare -x "${variable}_LINKER=$gnu-linux-gnu-gcc" "${variable}_RUNNER=qemu-$gnu ${QEMU_FLAGS:-} -L /usr/$gnu-linux-gnu"
  command -v "$gnu-linux-gnu-gcc" >/dev/null || die "no linker for $target: apt-get install gcc-$gnu-linux-gnu"
fi

if command -v "${RUSTC:-rustc}" >/dev/null && has_core "${RUSTC:-rustc}"; then
  exec cargo "$verb" "$@"
fi

if ! { [ -x "$rustc" ] && [ -x "$cargo" ] && has_sources "$rustc"; }; then
  die "no core library for $target
  with rustup:     rustup target add $target
  on Debian 12+:   apt-get install rustc-web cargo-web rust-web-src lld"
fi

# Debian has no rust-lld, the linker of these targets.
if [[ $target != *-linux-gnu ]] && ! command -v rust-lld >/dev/null; then
  linker=ld.lld
  [[ $target != wasm* ]] || linker=wasm-ld
  lld=$(command -v $linker) || die "no linker for $target: apt-get install lld"
  export "CARGO_TARGET_$(tr 'a-z.-' 'A-Z__' <<<"$target")_LINKER=$lld"
fi

# RUSTC is named, or cargo would take rustup's. Building core is not a stable feature yet, hence RUSTC_BOOTSTRAP; another compiler
# version needs another target folder.
export RUSTC=$rustc RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/bare-metal
library=core
[[ $verb != test && $target != *-linux-gnu ]] || library=std,panic_abort
exec "$cargo" "$verb" -Zbuild-std=$library "$@"
