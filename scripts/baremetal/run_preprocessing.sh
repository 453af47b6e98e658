#!/usr/bin/env bash
# Encodes a data set on the GPUs of this machine, started as the MLPerf benchmark's script of this name is (docs/encoding.md):
#
#   source scripts/baremetal/env.sh
#   NGPU=8 scripts/baremetal/run_preprocessing.sh --training.dataset=cc12m_disk --eval.dataset= --training.batch_size=256
#   NGPU=4 scripts/baremetal/run_preprocessing.sh --training.dataset=coco --eval.dataset= --training.batch_size=128
#
# The same as `millrace prepare empty-encodings $CONFIG_FILE ...` into DATAROOT/empty_encodings, which does nothing if they
# exist, and `millrace launch -n $NGPU prepare encode $CONFIG_FILE ...`, with DATAROOT and MODELROOT instead of
# /dataset and /models in the configuration. Everything after the script's name goes to both commands, except
# --allow-damaged-shards and --rows-per-file, which go only to the second.
#
#   --preprocessing.output_dataset_path=DIR   default: DATAROOT/cc12m_preprocessed of cc12m_disk, and so on
#   --training.batch_size=N                   default: 256
#   --training.dataset_path=PATH              default: the data set's folder in DATAROOT
#
# DRY_RUN=1 prints the two commands and stops. --help is that of `millrace prepare encode`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
MILLRACE_ROOT=${MILLRACE_ROOT:-$(cd "$here/../.." && pwd)}

fail() {
  echo "run_preprocessing: $1" >&2
  exit 2
}
# shellcheck source=scripts/baremetal/common.sh
source "$here/common.sh"

find_run "$MILLRACE_ROOT/configs/flux_schnell_mlperf.toml"

# Three options are `prepare encode`'s own; all others belong to the configuration.
output="" names_set=no names_path=no
encode=() options=()
while (($# > 0)); do
  name=${1%%=*}
  name=${name//-/_}
  case $name in
    _h | __help) exec "$program" prepare encode --help ;;
    __allow_damaged_shards)
      encode+=(--allow-damaged-shards)
      shift
      continue
      ;;
    __preprocessing.output_dataset_path | __output | _o | __rows_per_file)
      value=${1#*=}
      if [[ $1 != *=* ]]; then
        (($# > 1)) || fail "[$1] expected a value, got nothing"
        value=$2
        shift
      fi
      if [[ $name == __rows_per_file ]]; then encode+=(--rows-per-file="$value"); else output=$value; fi
      shift
      continue
      ;;
    __training.dataset) names_set=yes ;;
    __training.dataset_path) names_path=yes ;;
  esac
  options+=("$1")
  shift
done

# Only the training data is read, in batches that need no room for a training step.
overrides=(--eval.dataset= --eval.dataset_path= --training.batch_size=256 --training.global_batch_size=-1)
resolved=$(resolved_config "${overrides[@]}" "${options[@]}") || exit $?
dataset=$(config_value training dataset <<< "$resolved")
# A data set other than the configuration's has a different path.
if [[ $names_set == yes && $names_path == no && $dataset != "$(resolved_config 2> /dev/null | config_value training dataset)" ]]; then
  overrides+=(--training.dataset_path=)
  resolved=$(resolved_config "${overrides[@]}" "${options[@]}" 2> /dev/null)
fi
data=${DATAROOT:-/dataset}
default_dataset_paths "$data"
if [[ -z $output ]]; then
  case $dataset in
    cc12m_disk | coco) output=$data/${dataset%_disk}_preprocessed ;;
    *) fail "[--preprocessing.output_dataset_path] expected a folder for what becomes of '$dataset', got nothing" ;;
  esac
fi
relocate DATAROOT /dataset "data sets"
relocate MODELROOT /models "models"

# The empty prompt first: it shows within seconds that the encoders load, and leaves nothing to do after the long part.
empty=("$program" prepare empty-encodings "$CONFIG_FILE" --output="$data/empty_encodings" "${overrides[@]}" "${options[@]}")
encode=("$program" launch -n "$NGPU" prepare encode "$CONFIG_FILE" --output="$output" "${encode[@]}" "${overrides[@]}" "${options[@]}")
if [[ -n ${DRY_RUN:-} ]]; then
  print_command "${empty[@]}"
  print_command "${encode[@]}"
  exit
fi
export_gpu_defaults
"${empty[@]}"
exec "${encode[@]}"
