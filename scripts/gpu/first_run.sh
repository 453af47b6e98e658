#!/usr/bin/env bash
# The first ten minutes on a GPU: builds what is needed (at most 3 minutes on 16 cores), then checks and measures, part by
# part, each under a time limit of its own. What is known is in OUT/first_run.json and OUT/gpu_first_run.md at any moment.
#
#   scripts/gpu/first_run.sh [--out OUT] [--only PART,PART] [--skip-build] [--rehearse]
#
# Needs nvcc, CMake, Ninja, a C++ compiler and a python3 with torch 2.11, but no network: on another machine run
# scripts/fetch_deps.sh and copy the sources with .deps/ (under 64 MiB together). --rehearse runs all of it without a GPU, in
# under 3 minutes: emulated kernels, tiny sizes, the same files; it takes a configured build/ with the program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

out=outputs/gpu_first_run
build="build-gpu"
arguments=()
rehearse=no
skip_build=no
while (($# > 0)); do
  case $1 in
    --out) out=$2; shift ;;
    --only) arguments+=(--only "$2"); shift ;;
    --skip-build) skip_build=yes ;;
    --rehearse) rehearse=yes ;;
    *)
      sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
  shift
done
mkdir -p "$out"

if [[ $rehearse == yes ]]; then
  cmake --build build --target millrace_gpu_probe_emulated > "$out/build.log" || { tail -n 30 "$out/build.log" >&2; exit 1; }
  exec python3 scripts/gpu/first_run.py --build build --out "$out" --rehearse "${arguments[@]}"
fi

fail() {
  echo "first_run: $1" >&2
  exit 1
}

# One GPU's architecture, no tests, no benchmarks but the probe.
build_all() {
  local capability
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
  [[ -n $capability ]] || fail "[nvidia-smi] expected a GPU's compute capability, got none"
  cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DMILLRACE_GPU=cuda -DMILLRACE_CUDA_ARCHITECTURES="$capability" \
    -DMILLRACE_TESTS=OFF -DMILLRACE_BENCHMARKS=OFF -DMILLRACE_WERROR=OFF -DMILLRACE_QUICK_BUILD=ON
  cmake --build $build --parallel "$(nproc)" --target millrace millrace_gpu_probe
}
if [[ $skip_build == no ]]; then
  started=$SECONDS
  export -f build_all fail
  export build
  timeout 240 bash -euo pipefail -c build_all > "$out/build.log" 2>&1 || {
    tail -n 30 "$out/build.log" >&2
    fail "[build] expected a build within 240 s, got the above"
  }
  echo "built in $((SECONDS - started)) s"
fi
exec python3 scripts/gpu/first_run.py --build $build --out "$out" "${arguments[@]}"
