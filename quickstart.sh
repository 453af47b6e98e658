#!/usr/bin/env bash
# From scratch to a small FLUX that draws emoji: sets up, builds, prepares a captioned picture set from this machine's
# emoji font (no download), trains on it and writes pictures and a report to outputs/quickstart/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

scripts/setup.sh
scripts/build.sh release millrace
# 200 emoji that stay recognisable at 32 x 32 pixels.
if [[ ! -e data/quickstart ]]; then
  build/millrace prepare emoji --output data/quickstart --only configs/quickstart_emoji.txt --size 32
fi
build/millrace train configs/quickstart.toml "$@"

echo
echo "Pictures through time: outputs/quickstart/samples/ and outputs/quickstart/report.html"
echo 'Your own prompt:       build/millrace sample outputs/quickstart --prompt "red heart"'
