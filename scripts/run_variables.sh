# shellcheck shell=bash
# The environment variables by which a run is started, on a cluster (slurm/) and on one machine (baremetal/): how they are
# read, and what they make of a configuration. Whoever sources this file has MILLRACE_ROOT and the function `fail MESSAGE`,
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

# find_config DEFAULT: sets CONFIG_FILE. The benchmark's README calls it CONFIG. A path inside a checkout of torchtitan that
# is not there stands for our file of the same name.
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

# relocate VARIABLE PREFIX MEANING: extends `overrides`. The configuration is in `resolved`.
relocate() {
  local found
  # shellcheck disable=SC2154 # whoever sources this sets it
  found=$(relocated "$2" "${!1:-$2}" <<< "$resolved")
  if [[ -z $found || ( -z ${!1:-} && -d $2 ) ]]; then return; fi
  [[ -n ${!1:-} ]] || fail "[$1] expected the folder of the $3, of which $CONFIG_FILE names some in $2, got nothing"
  local options
  mapfile -t options <<< "$found"
  overrides+=("${options[@]}")
}
