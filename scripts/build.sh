#!/usr/bin/env bash
# Configures and builds: scripts/build.sh [PRESET [TARGET...]]; the preset is `release` (build/) unless named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=${1:-release}
targets=("${@:2}")

# A compiler process with libtorch's headers takes up to 2 GB.
memory_gb=$(awk '/^MemAvailable:/ {print int($2 / 1048576)}' /proc/meminfo)
jobs=$(nproc)
if ((memory_gb / 2 < jobs)); then jobs=$((memory_gb / 2 > 0 ? memory_gb / 2 : 1)); fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! cmake --preset "$preset" > "$log" 2>&1; then
  cat "$log"
  exit 1
fi
grep -E '^-- (libtorch|Arrow|GPU kernels|C\+\+ dependencies):' "$log"
cmake --build --preset "$preset" --parallel "$jobs" ${targets[@]+--target "${targets[@]}"}
