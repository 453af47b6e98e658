#!/usr/bin/env bash
# Lists the files that differ from clang-format's layout; with --fix, rewrites them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folders=()
for folder in src apps tests benchmarks; do
  if [[ -d $folder ]]; then folders+=("$folder"); fi
done
mapfile -t files < <(find "${folders[@]}" -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

if [[ ${1:-} == --fix ]]; then
  clang-format -i "${files[@]}"
  exit 0
fi
badly_formatted=$(
  printf '%s\0' "${files[@]}" |
    { xargs -0 -r -n 16 -P "$(nproc)" clang-format --dry-run -Werror 2>&1 || true; } |
    sed -n 's/^\([^ :]*\):[0-9]*:[0-9]*: error:.*/\1/p' | sort -u
)
if [[ -n $badly_formatted ]]; then
  echo "check_format: expected clang-format's layout, got another in (try scripts/check_format.sh --fix):"
  echo "$badly_formatted"
  exit 1
fi
echo "check_format: ${#files[@]} files"
