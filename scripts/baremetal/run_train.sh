#!/usr/bin/env bash
# Trains on the GPUs of this machine, started as the MLPerf benchmark's script of this name is (docs/bare_metal.md):
#
#   source scripts/baremetal/env.sh
#   NGPU=8 CONFIG_FILE=configs/flux_schnell_mlperf.toml scripts/baremetal/run_train.sh --training.batch_size=16
#
# The same as `millrace launch -n $NGPU train $CONFIG_FILE ...`, with DATAROOT and MODELROOT instead of
# /dataset and /models in the configuration. Everything after the script's name goes to `millrace train`; --help lists it.
# DRY_RUN=1 prints the command and stops.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
MILLRACE_ROOT=${MILLRACE_ROOT:-$(cd "$here/../.." && pwd)}

fail() {
  echo "run_train: $1" >&2
  exit 2
}
# shellcheck source=scripts/baremetal/common.sh
source "$here/common.sh"

find_run "$MILLRACE_ROOT/configs/flux_schnell_mlperf_preprocessed.toml"
for argument in "$@"; do
  if [[ $argument == --help || $argument == -h ]]; then exec "$program" train "$CONFIG_FILE" --help; fi
done

overrides=()
if [[ -n ${SEED:-} ]]; then
  require_number SEED 0
  overrides+=(--training.seed="$SEED")
fi
if [[ ${LOG_RANK:-0} != 0 ]]; then overrides+=(--metrics.save_for_all_ranks); fi

resolved=$(resolved_config "${overrides[@]}" "$@") || exit $?
default_dataset_paths "${DATAROOT:-/dataset}"
relocate DATAROOT /dataset "data sets"
relocate MODELROOT /models "models"

command=("$program" launch -n "$NGPU" train "$CONFIG_FILE" "${overrides[@]}" "$@")
if [[ -n ${DRY_RUN:-} ]]; then
  print_command "${command[@]}"
  exit
fi
export_gpu_defaults
exec "${command[@]}"
