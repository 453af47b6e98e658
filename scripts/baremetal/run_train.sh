#!/usr/bin/env bash
# Trains on the GPUs of this machine, started as the MLPerf benchmark's script of this name is (docs/bare_metal.md):
#
#   source scripts/baremetal/env.sh
#   NGPU=8 CONFIG_FILE=configs/flux_schnell_mlperf.toml scripts/baremetal/run_train.sh --training.batch_size=16
#
# The same as `millrace launch -n $NGPU train $CONFIG_FILE ...`, after it has put DATAROOT and MODELROOT in the place of
# /dataset and /models in the configuration. Everything after the script's name goes to `millrace train`; --help lists it.
# DRY_RUN=1 prints the command and stops.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
MILLRACE_ROOT=${MILLRACE_ROOT:-$(cd "$here/../.." && pwd)}

fail() {
  echo "run_train: $1" >&2
  exit 2
}
# shellcheck source=scripts/run_variables.sh
source "$MILLRACE_ROOT/scripts/run_variables.sh"

# What setup.sh wrote, for those who have not sourced it.
if [[ -z ${DATAROOT:-} && -r $here/env.sh ]]; then
  # shellcheck disable=SC1091 # made by setup.sh
  source "$here/env.sh"
fi

# One rank per GPU that the machine has; NVIDIA's and AMD's drivers list theirs as files.
count_gpus() {
  local gpus
  if compgen -G '/dev/nvidia[0-9]*' > /dev/null; then
    gpus=(/dev/nvidia[0-9]*)
  elif [[ -e /dev/kfd ]]; then
    # Processors are nodes too, without SIMDs.
    mapfile -t gpus < <(grep -lE '^simd_count [1-9]' /sys/class/kfd/kfd/topology/nodes/*/properties 2> /dev/null)
  else
    gpus=(cpu)
  fi
  echo "${#gpus[@]}"
}

NGPU=${NGPU:-$(count_gpus)}
require_number NGPU 1
find_config "$MILLRACE_ROOT/configs/flux_schnell_mlperf_preprocessed.toml"
[[ -r $CONFIG_FILE ]] || fail "[CONFIG_FILE] expected a configuration, got $CONFIG_FILE, which cannot be read"
program=${MILLRACE:-$MILLRACE_ROOT/build/millrace}
if [[ -z ${MILLRACE:-} && ! -x $program ]]; then program=millrace; fi
command -v "$program" > /dev/null || fail "[MILLRACE] expected the program, got $program, which cannot be run (try scripts/baremetal/setup.sh)"

for argument in "$@"; do
  if [[ $argument == --help || $argument == -h ]]; then exec "$program" train "$CONFIG_FILE" --help; fi
done

overrides=()
if [[ -n ${SEED:-} ]]; then
  require_number SEED 0
  overrides+=(--training.seed="$SEED")
fi
if [[ ${LOG_RANK:-0} != 0 ]]; then overrides+=(--metrics.save_for_all_ranks); fi

# Wrong options end it here, with one message instead of one per rank.
world=(WORLD_SIZE="$NGPU" LOCAL_WORLD_SIZE="$NGPU" RANK=0 LOCAL_RANK=0 MASTER_ADDR=localhost MASTER_PORT=1)
# shellcheck disable=SC2034 # relocate reads it
resolved=$(env "${world[@]}" "$program" train "$CONFIG_FILE" "${overrides[@]}" "$@" --show-config) || exit $?
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
