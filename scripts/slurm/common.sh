# shellcheck shell=bash
# Shared by the job scripts of this folder, which source it and call `train_on_slurm`. The variables that a user sets are
# described in docs/slurm.md.
#
# How a job resumes after an interruption: `millrace train` answers SIGUSR1 (sent before the time limit, or by
# `scancel --signal=USR1`) and SIGTERM with a checkpoint and status 75. This script then puts the job back into the queue, and
# the restarted job resumes from its newest checkpoint. The same happens after the loss of a rank or a node. Restarts
# that bring no newer checkpoint are counted; after three the job ends.

# shellcheck source=scripts/run_variables.sh
source "$MILLRACE_ROOT/scripts/run_variables.sh"

readonly max_idle_restarts=3
readonly status_config=2 status_peer_lost=7 status_preempted=75

num_nodes=${SLURM_JOB_NUM_NODES:-1}
log_is_own_file=no

# Writes to the job's log and, if that is another file, also to Slurm's own output file.
say() {
  echo "[slurm] $*"
  if [[ $log_is_own_file == yes ]]; then echo "[slurm] $*" >&3; fi
}

fail() {
  say "$1"
  exit "${2:-$status_config}"
}

# --- what is run -------------------------------------------------------------------------------------------------------------

# Sets `launch`: srun with one task per GPU. Neighbouring ranks are on the same node, as the mesh requires.
find_launch() {
  # One task per GPU; if Slurm manages no GPUs, as many as for the usual eight-GPU node.
  NGPU=${NGPU:-${SLURM_GPUS_ON_NODE:-${SLURM_NTASKS_PER_NODE:-8}}}
  require_number NGPU 1
  local cpus=$((${SLURM_CPUS_ON_NODE:-NGPU} / NGPU))
  launch=(
    srun --nodes="$num_nodes" --ntasks=$((num_nodes * NGPU)) --ntasks-per-node="$NGPU" --distribution=block
    --cpus-per-task=$((cpus > 0 ? cpus : 1)) --mpi=none --input=none
    # If a rank is lost, the others name it and exit: srun gives them time to do so, and then
    # ends the remaining ones, such as the ranks of a node that no longer answers.
    --kill-on-bad-exit=0 --wait="${STEP_WAIT:-120}"
  )
  if ((cpus == 0)); then launch+=(--overcommit); fi
  # Every rank sees all GPUs of its node and takes the one of its SLURM_LOCALID: GPUs that cannot see each other cannot
  # copy to each other.
  if [[ -n ${SLURM_GPUS_ON_NODE:-} ]]; then launch+=(--gpu-bind=none); fi
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cpus > 0 ? cpus : 1))}
  # shellcheck disable=SC2206 # words of SRUN_ARGS are arguments
  launch+=(${SRUN_ARGS:-})
}

# Sets `container` (arguments of srun, by the pyxis plugin), and `program`, `config` and `log_folder` as the ranks see them.
find_program() {
  container=()
  log_folder=$LOGDIR
  config=$CONFIG_FILE
  if [[ -z ${CONT:-} ]]; then
    program=${MILLRACE:-$MILLRACE_ROOT/build/millrace}
    if [[ -z ${MILLRACE:-} && ! -x $program ]]; then program=millrace; fi
    command -v "$program" > /dev/null || fail "[MILLRACE] expected the program, got $program, which cannot be run (try scripts/build.sh, or another path)"
    [[ -r $config ]] || fail "[CONFIG_FILE] expected a configuration, got $config, which cannot be read"
    return
  fi
  program=${MILLRACE:-millrace}
  local mounts=$LOGDIR:/logdir
  if [[ -n ${DATAROOT:-} ]]; then mounts+=,$DATAROOT:/dataset; fi
  if [[ -n ${MODELROOT:-} ]]; then mounts+=,$MODELROOT:/models; fi
  MOUNT_CURRENT_DIR=${MOUNT_CURRENT_DIR:-False}
  if is_true MOUNT_CURRENT_DIR; then mounts+=,$PWD:/workspace/flux; fi
  if [[ -r $config ]]; then # else it is a path inside the image
    mounts+=,$(cd "$(dirname "$config")" && pwd):/config
    config=/config/$(basename "$config")
  fi
  log_folder=/logdir
  container=(--container-image="$CONT" --container-mounts="$mounts${EXTRA_MOUNTS:+,$EXTRA_MOUNTS}" --no-container-mount-home)
}

# Sets `overrides`: the variables as options of `millrace train`.
find_overrides() {
  overrides=(--job.dump_folder="$log_folder")
  if [[ -n ${SEED:-} ]]; then
    require_number SEED 0
    overrides+=(--training.seed="$SEED")
  fi
  # Whatever the configuration says: an interrupted job resumes from a checkpoint.
  ENABLE_CHECKPOINTING=${ENABLE_CHECKPOINTING:-True}
  if is_true ENABLE_CHECKPOINTING; then overrides+=(--checkpoint.enable); else overrides+=(--checkpoint.no_enable); fi
  if [[ -n ${ENABLE_TB:-} ]]; then
    if is_true ENABLE_TB; then overrides+=(--metrics.enable_tensorboard); else overrides+=(--metrics.no_enable_tensorboard); fi
  fi
  # Rank 0 writes to the job's log; the others have their own files.
  if [[ ${LOG_RANK:-0} != 0 ]]; then overrides+=(--metrics.save_for_all_ranks); fi
}

# Prints the configuration that results from the options, as TOML, checked for the size of this job.
resolved_config() {
  local run=() world=(WORLD_SIZE=$((num_nodes * NGPU)) LOCAL_WORLD_SIZE="$NGPU" RANK=0 LOCAL_RANK=0 MASTER_ADDR=localhost MASTER_PORT=1)
  if [[ -n ${CONT:-} ]]; then run=(srun --nodes=1 --ntasks=1 --mpi=none --input=none "${container[@]}"); fi
  "${run[@]}" env "${world[@]}" "$program" train "$config" "$@" --show-config --check
}

# --- running it, and running it again ----------------------------------------------------------------------------------------

# The step of the newest complete checkpoint; 0 without one.
newest_step() {
  local index newest=0 step
  for index in "$checkpoints"/step-*/index.json; do
    step=${index%/index.json}
    step=${step##*/step-}
    if [[ -e $index && $step =~ ^[0-9]+$ ]] && ((10#$step > newest)); then newest=$((10#$step)); fi
  done
  echo "$newest"
}

job_field() { scontrol show job "$SLURM_JOB_ID" | sed -n "s/.*\b$1=\([^ ]*\).*/\1/p" | head -n 1; }

# Sets `idle_restarts`: how many times in a row this job was restarted without a newer checkpoint.
count_restart() {
  local before=-1
  idle_restarts=0
  if [[ ${SLURM_RESTART_COUNT:-0} != 0 && -e $restart_file ]]; then
    read -r before idle_restarts < "$restart_file"
    if ((first_step > before)); then idle_restarts=0; else idle_restarts=$((idle_restarts + 1)); fi
  fi
  echo "$first_step $idle_restarts" > "$restart_file.new"
  mv "$restart_file.new" "$restart_file"
}

no_progress() {
  fail "[$checkpoints] expected a checkpoint after step $first_step, got none in $idle_restarts restarts: not requeued again ($1)" "$2"
}

# Waits for the given command. A signal that reaches only this script (--signal=B:USR1@...) is forwarded to the ranks;
# SIGTERM is not, since Slurm sends it to the ranks itself and a second one would make them exit without a checkpoint.
run_step() {
  local interrupted=yes status=0 pid
  "$@" &
  pid=$!
  trap 'interrupted=yes; kill -USR1 "$pid" 2> /dev/null || true' USR1
  trap 'interrupted=yes' TERM CONT
  while [[ $interrupted == yes ]]; do
    interrupted=no
    status=0
    wait "$pid" || status=$?
  done
  return "$status"
}

# Requeues the job if its ranks exited with a status after which another attempt makes sense.
requeue_or_end() {
  local status=$1
  if ((status != status_peer_lost && status != status_preempted && status < 128)); then
    fail "ended with status $status at step $(newest_step), see above" "$status"
  fi
  # Unless it reached its time limit, a job that is no longer running was cancelled, or is being requeued by Slurm itself.
  if [[ $(job_field JobState) != RUNNING && $(job_field Reason) != TimeLimit ]]; then
    fail "cancelled or requeued, newest checkpoint: step $(newest_step)" "$status"
  fi
  local why="a rank was lost or killed (status $status)"
  if ((status == status_preempted)); then why="stopped in time"; fi
  if [[ $saves == false ]]; then fail "$why; without checkpoints another attempt would begin again (try ENABLE_CHECKPOINTING=True)" "$status"; fi
  if [[ $(job_field Requeue) != 1 ]]; then
    fail "$why, newest checkpoint: step $(newest_step). Submitted without --requeue: the same sbatch command resumes" "$status"
  fi
  if ((idle_restarts >= max_idle_restarts && $(newest_step) <= first_step)); then no_progress "$why" "$status"; fi
  say "$why, newest checkpoint: step $(newest_step): requeued"
  scontrol requeue "$SLURM_JOB_ID" || fail "expected to requeue the job, got an error from scontrol (see above)" "$status"
  exit "$status"
}

# train_on_slurm DEFAULTS... -- USER'S ARGUMENTS...: of repeated options the last one counts.
train_on_slurm() {
  local defaults=()
  while [[ $1 != -- ]]; do
    defaults+=("$1")
    shift
  done
  shift
  LOGDIR=${LOGDIR:-$PWD/outputs/${SLURM_JOB_NAME:-$(basename "${script%.*}")}-${SLURM_JOB_ID:-0}}
  [[ $LOGDIR == /* ]] || LOGDIR=$PWD/$LOGDIR
  if [[ -z ${DRY_RUN:-} ]]; then
    mkdir -p "$LOGDIR"
    say "output: $LOGDIR/slurm-$SLURM_JOB_ID.out"
    exec 3>&1 >> "$LOGDIR/slurm-$SLURM_JOB_ID.out" 2>&1
    log_is_own_file=yes
  fi

  find_launch
  find_program
  find_overrides
  local resolved=""
  # Wrong options end the job here, with one message, before any rank starts. (A dry run starts no container.)
  if [[ -z ${CONT:-} || -z ${DRY_RUN:-} ]]; then
    resolved=$(resolved_config "${overrides[@]}" "${defaults[@]}" "$@") || fail "[$CONFIG_FILE] expected a valid configuration, see above"
  fi
  default_dataset_paths "$([[ -n ${CONT:-} ]] && echo /dataset || echo "${DATAROOT:-/dataset}")"
  if [[ -z ${CONT:-} ]]; then
    relocate DATAROOT /dataset "data sets"
    relocate MODELROOT /models "models"
  fi
  local command=("${launch[@]}" "${container[@]}" "$program" train "$config" "${overrides[@]}" "${defaults[@]}" "$@")
  if [[ -n ${DRY_RUN:-} ]]; then
    print_command "${command[@]}"
    return
  fi

  export_gpu_defaults
  # The name by which Slurm itself reaches this node, which is that of rank 0.
  MASTER_ADDR=${MASTER_ADDR:-$(scontrol show node "$SLURMD_NODENAME" | sed -n 's/.*\bNodeAddr=\([^ ]*\).*/\1/p')}
  export MASTER_ADDR
  checkpoints=$(config_value job dump_folder <<< "$resolved")
  if [[ -n ${CONT:-} ]]; then checkpoints=$LOGDIR${checkpoints#/logdir}; fi
  checkpoints+=/$(config_value checkpoint folder <<< "$resolved")
  saves=$(config_value checkpoint enable <<< "$resolved")
  first_step=$(newest_step)
  restart_file=$LOGDIR/.restarts-$SLURM_JOB_ID
  count_restart
  say "job $SLURM_JOB_ID on $SLURM_JOB_NODELIST, $NGPU tasks per node, restart ${SLURM_RESTART_COUNT:-0}, newest checkpoint: step $first_step"
  # Requeued by Slurm itself (a node or its prolog failed), which does not count.
  if ((idle_restarts > max_idle_restarts)); then no_progress "restarted by Slurm" 1; fi
  if [[ ${LOG_RANK:-0} != 0 ]]; then say "the log of rank $LOG_RANK: log-rank-$LOG_RANK.txt beside that of rank 0"; fi

  local status=0
  run_step "${command[@]}" || status=$?
  if ((status != 0)); then requeue_or_end "$status"; fi
  rm -f "$restart_file"
  say "job $SLURM_JOB_ID done, newest checkpoint: step $(newest_step)"
}
