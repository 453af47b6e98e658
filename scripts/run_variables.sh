# shellcheck shell=bash
# The environment variables that start a run, on a cluster (slurm/) and on one machine (baremetal/): how they are read, and
# how they change a configuration. A script that sources this file defines MILLRACE_ROOT and the function `fail MESSAGE`,
# which ends the run.

# is_true NAME: whether the variable says True (yes, on, 1) rather than False; anything else ends the job.
is_true() {
  case ${!1,,} in
    true | yes | on | 1) return 0 ;;
    false | no | off | 0) return 1 ;;
    *) fail "[$1] expected True or False, got ${!1}" ;;
  esac
}

require_number() {
  if [[ ! ${!1} =~ ^[0-9]+$ ]] || ((${!1} < $2)); then fail "[$1] expected a whole number of at least $2, got ${!1}"; fi
}

# find_config DEFAULT: sets CONFIG_FILE. The benchmark's README calls it CONFIG. A missing path inside a checkout of
# torchtitan stands for our file of the same name.
find_config() {
  CONFIG_FILE=${CONFIG_FILE:-${CONFIG:-$1}}
  local ours=$MILLRACE_ROOT/configs/${CONFIG_FILE##*/}
  if [[ ! -e $CONFIG_FILE && $CONFIG_FILE == *train_configs/* && -r $ours ]]; then
    echo "[CONFIG_FILE] $CONFIG_FILE is not there: taking $ours" >&2
    CONFIG_FILE=$ours
  fi
}

# config_value SECTION KEY: a text or a flag of the configuration on stdin.
config_value() {
  awk -v section="[$1]" -v key="$2" '
    /^\[/ { inside = $1 == section }
    inside && $1 == key && $2 == "=" { sub(/^[^=]*= *"?/, ""); sub(/"[^"]*$/, ""); print; exit }'
}

# The configurations say /dataset and /models, which is where a container has DATAROOT and MODELROOT. Without a container,
# prints the options that name the real folders: `relocated PREFIX FOLDER < configuration`.
relocated() {
  awk -v prefix="$1/" -v folder="$2/" '
    /^\[/ { section = substr($1, 2, index($1, "]") - 2) }
    $2 == "=" && index($3, "\"" prefix) == 1 {
      key = $1; sub(/^[^=]*= *"/, ""); sub(/"[^"]*$/, "")
      print "--" section "." key "=" folder substr($0, length(prefix) + 1)
    }'
}

# default_dataset_paths FOLDER: the paths of the benchmark's data sets if the configuration, like the benchmark's own, gives
# only their names. Extends `overrides`; the configuration is in `resolved`.
default_dataset_paths() {
  local section name folder
  for section in training validation; do
    # shellcheck disable=SC2154 # whoever sources this sets it
    name=$(config_value "$section" dataset <<< "$resolved")
    if [[ $section == validation && $(config_value validation enable <<< "$resolved") == false ]]; then continue; fi
    case $name in
      cc12m_disk | cc12m_preprocessed | coco | coco_preprocessed) folder=$name ;;
      cc12m_wds | cc12m-wds | cc12m_wds_30k) folder=cc12m-wds ;; # as its download is named
      *) continue ;;
    esac
    if [[ -n $(config_value "$section" dataset_path <<< "$resolved") ]]; then continue; fi
    [[ -n ${DATAROOT:-}${CONT:-} || -d $1 ]] || fail "[DATAROOT] expected the folder of the data sets, in which $name is, got nothing"
    overrides+=("--$section.dataset_path=$1/$folder")
    if [[ $name == *_preprocessed && -z $(config_value encoder empty_encodings_path <<< "$resolved") ]]; then
      overrides+=("--encoder.empty_encodings_path=$1/empty_encodings")
    fi
  done
}

# relocate VARIABLE PREFIX MEANING: extends `overrides`. The configuration is in `resolved`.
relocate() {
  local found
  found=$(relocated "$2" "${!1:-$2}" <<< "$resolved")
  if [[ -z $found || ( -z ${!1:-} && -d $2 ) ]]; then return; fi
  [[ -n ${!1:-} ]] || fail "[$1] expected the folder of the $3, of which $CONFIG_FILE names some in $2, got nothing"
  local options
  mapfile -t options <<< "$found"
  overrides+=("${options[@]}")
}

# print_command WORD...: as a shell would read it.
print_command() {
  printf '%q ' "$@"
  printf '\n'
}

# Variables of the GPU libraries, unless already set.
export_gpu_defaults() {
  export NCCL_DEBUG=${NCCL_DEBUG:-WARN} PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
  export PYTORCH_HIP_ALLOC_CONF=${PYTORCH_HIP_ALLOC_CONF:-expandable_segments:True}
}
