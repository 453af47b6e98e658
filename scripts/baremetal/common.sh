# shellcheck shell=bash
# Shared by the scripts of this folder that start a run. A script that sources this file defines `here` (this folder),
# MILLRACE_ROOT and the function `fail MESSAGE`, which ends the run.

# shellcheck source=scripts/run_variables.sh
source "$MILLRACE_ROOT/scripts/run_variables.sh"

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

# find_run DEFAULT CONFIGURATION: sets NGPU, CONFIG_FILE and `program`, and DATAROOT, MODELROOT and LOGDIR if setup.sh knows them.
find_run() {
  # Written by setup.sh, in case it was not sourced.
  # shellcheck disable=SC2154 # whoever sources this sets it
  if [[ -z ${DATAROOT:-} && -r $here/env.sh ]]; then
    # shellcheck disable=SC1091 # made by setup.sh
    source "$here/env.sh"
  fi
  NGPU=${NGPU:-$(count_gpus)}
  require_number NGPU 1
  find_config "$1"
  [[ -r $CONFIG_FILE ]] || fail "[CONFIG_FILE] expected a configuration, got $CONFIG_FILE, which cannot be read"
  program=${MILLRACE:-$MILLRACE_ROOT/build/millrace}
  if [[ -z ${MILLRACE:-} && ! -x $program ]]; then program=millrace; fi
  command -v "$program" > /dev/null || fail "[MILLRACE] expected the program, got $program, which cannot be run (try scripts/baremetal/setup.sh)"
}

# resolved_config OPTION...: prints the resulting configuration as TOML. Wrong options end the run here, with one message
# instead of one per rank.
resolved_config() {
  local world=(WORLD_SIZE="$NGPU" LOCAL_WORLD_SIZE="$NGPU" RANK=0 LOCAL_RANK=0 MASTER_ADDR=localhost MASTER_PORT=1)
  env "${world[@]}" "$program" train "$CONFIG_FILE" "$@" --show-config --check
}
