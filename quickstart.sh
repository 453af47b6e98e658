#!/usr/bin/env bash
# From nothing to a small FLUX that draws emoji: sets up, builds, prepares a captioned picture set from the emoji font
# of this machine (no download), trains on it and leaves pictures and a report in outputs/quickstart/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

scripts/setup.sh
scripts/build.sh release millrace
if [[ ! -e data/emoji ]]; then build/millrace prepare emoji --output data/emoji; fi
build/millrace train configs/quickstart.toml "$@"
