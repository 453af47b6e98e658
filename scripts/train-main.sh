#!/usr/bin/env bash
# Trains a LoRA with the environment variables of a container for sd-scripts (docs/compat.md): checks them, fetches the
# data set, and starts the script of the base model.
#
#   BASE_MODEL=flux DATASET_CONFIG=dataset.json SAMPLE_PROMPTS=prompts.txt scripts/train-main.sh
#
#   BASE_MODEL       flux
#   DATASET_CONFIG   data set file of sd-scripts, .toml or .json
#   DATASET_NAME     data set of Kaggle, fetched into DATASET_PATH unless that has files; empty: the pictures are there. What a
#                    pod that ended fetched in part is fetched anew
#   DATASET_PATH     /workspace/dataset
#   SAMPLE_PROMPTS   file of prompts; empty: no sample pictures
#
# scripts/train-flux.sh lists the others. DRY_RUN=1 prints the command and stops.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
  echo "train-main: $1" >&2
  exit 2
}

require_file() {
  if [[ ! -r ${!1} ]]; then fail "[$1] expected a readable file, got ${!1}"; fi
}

BASE_MODEL=${BASE_MODEL:-flux}
if [[ $BASE_MODEL != flux ]]; then fail "[BASE_MODEL] expected flux, got $BASE_MODEL"; fi
if [[ -z ${DATASET_CONFIG:-} ]]; then fail "[DATASET_CONFIG] expected a data set file, got nothing"; fi
require_file DATASET_CONFIG
if [[ -n ${SAMPLE_PROMPTS:-} ]]; then require_file SAMPLE_PROMPTS; fi

DATASET_PATH=${DATASET_PATH:-/workspace/dataset}
# Files come to their place when all of them are there: what ends before that leaves this folder.
incoming=$DATASET_PATH/.incoming
if [[ -n ${DATASET_NAME:-} && (-d $incoming || -z $(ls -A "$DATASET_PATH" 2> /dev/null)) ]]; then
  if ! command -v kaggle > /dev/null; then
    fail "[DATASET_NAME] expected pictures in $DATASET_PATH, or the program kaggle to fetch $DATASET_NAME, got neither"
  fi
  if [[ -z ${DRY_RUN:-} ]]; then
    if [[ ! -d $incoming/complete ]]; then
      rm -rf -- "$incoming"
      mkdir -p -- "$incoming/part"
      kaggle datasets download -d "$DATASET_NAME" -p "$incoming/part" --unzip
      mv -- "$incoming/part" "$incoming/complete"
    fi
    find "$incoming/complete" -mindepth 1 -maxdepth 1 -exec mv -t "$DATASET_PATH" -- {} +
    rm -rf -- "$incoming"
  fi
fi

exec "$here/train-flux.sh" "$@"
