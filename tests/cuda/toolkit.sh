#!/usr/bin/env bash
# Makes a CUDA toolkit that is just enough to compile kernels without a GPU: NVRTC, the headers and ptxas, from NVIDIA's wheels on PyPI.
#
#   toolkit=$(tests/cuda/toolkit.sh)
#
# Prints the folder, which holds bin/ptxas, include/ and lib/. It lies beside the build (in $CARGO_TARGET_DIR, or the cache folder that
# tests/run.sh uses), is made once (about 130 MB to download) and is only looked at afterwards. Needs python3 with pip or venv; on Debian
# it installs what is missing. The exit status is 3 when the toolkit cannot be had.
set -euo pipefail

version=12.9
# Names end in the major version of CUDA; the wheels of one release of CUDA carry numbers of their own.
wheels=(nvidia-cuda-nvrtc-cu12==12.9.86 nvidia-cuda-runtime-cu12==12.9.79 nvidia-cuda-nvcc-cu12==12.9.86 nvidia-cuda-cccl-cu12==12.9.27)

cannot() {
  printf 'tests/cuda/toolkit.sh: %s\n' "$@" >&2
  exit 3
}

base=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pixgen-target}
toolkit=$base/cuda-$version
if [ -x "$toolkit/bin/ptxas" ]; then
  echo "$toolkit"
  exit 0
fi

case $(uname -sm) in
  "Linux x86_64" | "Linux aarch64") ;;
  *) cannot "NVIDIA has no wheels of CUDA $version for $(uname -sm)" ;;
esac

mkdir -p "$base"
# Beside its final place, so that the last step is one rename and an interrupted call leaves nothing that looks finished.
work=$(mktemp -d "$base/cuda-XXXXXX")
trap 'rm -rf "$work"' EXIT

# A python that has pip: the system's, or one of a new virtual environment.
python_with_pip() {
  if python3 -m pip --version >/dev/null 2>&1; then
    echo python3
  elif python3 -m venv "$work/venv" >/dev/null 2>&1; then
    echo "$work/venv/bin/python"
  else
    return 1
  fi
}

install_pip() {
  command -v apt-get >/dev/null || cannot "python3 with pip or venv is missing" "install them, or run this on Debian"
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || cannot "python3-venv is missing" "as root:  apt-get install python3-venv"
    as_root=(sudo --non-interactive)
  fi
  { "${as_root[@]}" apt-get update &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv; } >&2 ||
    cannot "could not install python3-venv" "as root:  apt-get install python3-venv"
}

python=$(python_with_pip) || { install_pip; python=$(python_with_pip); } || cannot "python3 still has neither pip nor venv"
echo "downloading CUDA $version's compiler from PyPI" >&2
"$python" -m pip --disable-pip-version-check --quiet install --root-user-action=ignore --no-deps --only-binary=:all: --target "$work/wheels" "${wheels[@]}" >&2 ||
  cannot "could not download ${wheels[*]}"

# One folder, as CubeCL expects below CUDA_PATH. The libraries get the names without a version that dlopen is asked for.
mkdir "$work/toolkit" "$work/toolkit/"{bin,lib,include}
for part in "$work"/wheels/nvidia/*/; do
  [ ! -d "$part/include" ] || cp -r --link "$part/include/." "$work/toolkit/include/"
done
cp --link "$work"/wheels/nvidia/cuda_nvrtc/lib/libnvrtc{,-builtins}.so.* "$work/toolkit/lib/"
ln -s libnvrtc.so.12 "$work/toolkit/lib/libnvrtc.so"
cp --link "$work/wheels/nvidia/cuda_nvcc/bin/ptxas" "$work/toolkit/bin/"
chmod +x "$work/toolkit/bin/ptxas"
"$work/toolkit/bin/ptxas" --version >/dev/null || cannot "ptxas from the wheel does not run here"

# Another call may have been faster; then its folder is as good.
mv --no-target-directory "$work/toolkit" "$toolkit" 2>/dev/null || [ -x "$toolkit/bin/ptxas" ] || cannot "cannot write $toolkit"
echo "$toolkit"
