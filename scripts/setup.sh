#!/usr/bin/env bash
# Installs what a build of millrace needs: Debian packages and a Python environment (.venv) with pinned wheels.
# Does nothing, and needs no network, if everything is installed.
#
#   scripts/setup.sh            what a build needs
#   scripts/setup.sh --tests    also what ./test.sh needs: the peers we compare with
#   scripts/setup.sh --gpu      also the libraries of an NVIDIA GPU (automatic if a GPU is found)
#   scripts/setup.sh --rocm URL the libtorch for AMD's GPUs, from this index of wheels (docs/amd.md)
#
# PYTHON=python3.12 chooses the interpreter (3.11 or newer). Not root and no sudo: see scripts/fetch_deps.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests=no
gpu=no
rocm_index=""
usage() {
  sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 2
}
while (($# > 0)); do
  case $1 in
    --tests) tests=yes ;;
    --gpu) gpu=yes ;;
    --rocm)
      (($# > 1)) || usage
      rocm_index=$2
      shift
      ;;
    *) usage ;;
  esac
  shift
done
if [[ -e /dev/nvidia0 || -e /dev/nvidiactl ]] && [[ -z $rocm_index ]]; then gpu=yes; fi

fail() {
  echo "setup: $1" >&2
  exit 1
}

as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif command -v sudo > /dev/null; then
    sudo "$@"
  else
    fail "expected root or sudo for: $* (or, without either, try scripts/fetch_deps.sh)"
  fi
}

# The first word of every line of the given lists.
package_names() { sed -e 's/#.*//' "$@" | awk 'NF {print $1}'; }

missing_packages() {
  local installed
  # dpkg-query fails if it does not know one of them.
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2> /dev/null | sed -n 's/^installed //p') || true
  comm -23 <(printf '%s\n' "$@" | sort -u) <(sort -u <<< "$installed")
}

install_packages() {
  local lists=(scripts/packages.txt) missing
  if [[ $tests == yes ]]; then lists+=(scripts/packages-tests.txt); fi
  if ! command -v dpkg-query > /dev/null; then
    if [[ -e .deps/complete ]]; then return; fi
    fail "expected Debian's package tools (try scripts/fetch_deps.sh, which needs only curl and tar)"
  fi
  # shellcheck disable=SC2046
  mapfile -t missing < <(missing_packages $(package_names "${lists[@]}") "$@")
  if [[ ${#missing[@]} == 0 ]]; then return; fi
  if [[ $(id -u) != 0 && -e .deps/complete ]] && ! command -v sudo > /dev/null; then return; fi
  echo "setup: installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
}

# Prints a Python 3.11 or newer, or nothing.
find_python() {
  local python
  for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if command -v "$python" > /dev/null && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
      echo "$python"
      return
    fi
  done
}

make_environment() {
  if [[ -x .venv/bin/python ]] && .venv/bin/python -c 'import pip' 2> /dev/null; then return; fi
  local python
  python=$(find_python)
  if [[ -z $python ]] || ! "$python" -c 'import venv, ensurepip' 2> /dev/null; then
    install_packages python3 python3-venv
    python=$(find_python)
  fi
  [[ -n $python ]] || fail "expected Python 3.11 or newer, got ${PYTHON:-$(python3 --version 2>&1)} (try PYTHON=/path/to/python3)"
  "$python" -m venv --clear .venv
}

pip_install() {
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: "$@"
}

has_rocm_torch() { compgen -G '.venv/lib/python3*/site-packages/torch/lib/libtorch_hip.so' > /dev/null; }

# AMD's libtorch has the version in requirements.txt, which therefore does not replace it.
install_rocm_torch() {
  if [[ -z $rocm_index ]] || has_rocm_torch; then return; fi
  local version
  version=$(sed -n 's/^torch==//p' scripts/requirements.txt)
  echo "setup: installing torch $version from $rocm_index"
  pip_install --force-reinstall --index-url "$rocm_index" "torch==$version"
  has_rocm_torch || fail "[$rocm_index] expected a torch $version for ROCm, got one without libtorch_hip.so"
}

install_wheels() {
  local lists=(scripts/requirements.txt) wanted stamp=.venv/installed-by-setup
  if [[ $gpu == yes || $tests == yes ]]; then lists+=(scripts/requirements-gpu.txt); fi
  if [[ $tests == yes ]]; then lists+=(scripts/requirements-tests.txt); fi
  # One line per list that is installed, so that `setup.sh` after `setup.sh --tests` has nothing to do.
  wanted=$(sha256sum "${lists[@]}")
  if [[ -e $stamp ]] && [[ -z $(comm -23 <(sort <<< "$wanted") <(sort "$stamp")) ]]; then return; fi
  echo "setup: installing Python wheels into .venv"
  pip_install "${lists[@]/#/--requirement=}"
  .venv/bin/python -c 'import pyarrow; pyarrow.create_library_symlinks()'  # libarrow.so beside libarrow.so.N
  echo "$wanted" > $stamp
}

install_packages
make_environment
install_rocm_torch
install_wheels
