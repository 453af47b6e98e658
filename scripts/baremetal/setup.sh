#!/usr/bin/env bash
# Prepares this machine for training: detects its GPUs, installs the libtorch for them, builds millrace, downloads
# data, and writes env.sh for `source`. Does only what is still missing; may be started in any folder.
#
#   scripts/baremetal/setup.sh --dataroot /data --modelroot /models [OPTION...]
#
# Data (about 65 GB of preprocessed validation data and empty encodings without further options)
#   --dataroot DIR        data sets; default: DATAROOT, else as in env.sh, else data/ in the checkout
#   --modelroot DIR       encoders; default: MODELROOT, else as in env.sh, else models/ in the checkout
#   --logdir DIR          output of runs; default: LOGDIR, else as in env.sh, else logs/ in the checkout
#   --download-cc12m      the preprocessed training data too (about 2.5 TB)
#   --all                 all of that, the raw data, and the encoders, for which black-forest-labs/FLUX.1-schnell requires a
#                         Hugging Face token
#   --skip-data           no downloads
#   --hf-token TOKEN      for compatibility; HF_TOKEN=... or a token file keeps the secret out of the shell's
#                         history (docs/bare_metal.md)
#
# Hardware
#   --cuda, --rocm, --cpu build for NVIDIA's GPUs, for AMD's, for none; default: detected
#   --rocm-version X.Y    of the libtorch to install, and so --rocm; default: that of the installed ROCm
#   --torch-index URL     with --rocm: where pip finds it; default: the index of that ROCm on download.pytorch.org
#
#   --env-file FILE       default: env.sh beside this script
#   --skip-build          do not touch wheels and program
#   --dry-run             print what would be done, do nothing
#   --help
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
devices=${MILLRACE_DEVICES:-/dev} # a test has others
readonly here root devices
readonly torch_version=2.11.0 rocm_versions=(7.2 7.1) # for which that libtorch is published
readonly cuda_driver=580                              # the first for CUDA 13

say() { echo "setup: $*"; }
fail() {
  echo "setup: $1" >&2
  exit 2
}
usage() { sed -n '2,/^set -euo/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

# A secret in an argument list is visible to all users: restart at once without it.
arguments=()
token=""
while (($# > 0)); do
  case $1 in
    --hf-token=*) token=${1#*=} ;;
    --hf-token)
      (($# > 1)) || fail "[--hf-token] expected a token, got nothing"
      token=$2
      shift
      ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
if [[ -n $token ]]; then
  echo "setup: [--hf-token] a token on the command line can be read by other users and stays in the shell's history (try HF_TOKEN or a token file)" >&2
  export HF_TOKEN=$token
  exec bash "$here/setup.sh" "${arguments[@]}"
fi
set -- "${arguments[@]}"

dataroot="" modelroot="" logdir="" env_file="$here/env.sh" kind="" rocm_version="" torch_index=""
download_cc12m=no all=no skip_data=no skip_build=no dry_run=no

need_value() { [[ $# -gt 1 && -n $2 && $2 != --* ]] || fail "[$1] expected a value, got ${2:-nothing}"; }
while (($# > 0)); do
  option=$1
  if [[ $option == --*=* ]]; then # --dataroot=DIR is --dataroot DIR
    set -- "${option%%=*}" "${option#*=}" "${@:2}"
    option=$1
  fi
  case $option in
    --dataroot | --modelroot | --logdir | --env-file | --rocm-version | --torch-index)
      need_value "$@"
      name=${option#--}
      printf -v "${name//-/_}" %s "$2"
      shift
      ;;
    --download-cc12m) download_cc12m=yes ;;
    --all) all=yes download_cc12m=yes ;;
    --skip-data) skip_data=yes ;;
    --skip-build) skip_build=yes ;;
    --cuda | --rocm | --cpu)
      [[ -z $kind || $kind == "${option#--}" ]] || fail "[$option] expected one of --cuda, --rocm and --cpu, got --$kind too"
      kind=${option#--}
      ;;
    --dry-run) dry_run=yes ;;
    --help | -h)
      usage
      exit
      ;;
    *) fail "[$option] expected an option, got something else (try --help)" ;;
  esac
  shift
done

# --- what is there -----------------------------------------------------------------------------------------------------------

# Sets `kind` and prints the reason.
find_hardware() {
  local why="asked for"
  if [[ -n $rocm_version ]]; then
    [[ -z $kind || $kind == rocm ]] || fail "[--rocm-version] expected --rocm with it, got --$kind"
    kind=rocm
  fi
  if [[ -z $kind ]]; then
    if [[ -e $devices/nvidia0 ]] || { command -v nvidia-smi && nvidia-smi --list-gpus; } &> /dev/null; then
      kind=cuda why="an NVIDIA driver is there"
    elif [[ -e $devices/kfd ]] || { command -v rocminfo && rocminfo; } &> /dev/null; then
      kind=rocm why="an AMD driver is there"
    else
      kind=cpu why="no driver of NVIDIA or AMD is there"
    fi
  fi
  say "building for ${kind/cpu/CPUs alone} ($why)"
  [[ -z $torch_index || $kind == rocm ]] || fail "[--torch-index] expected a build for ROCm, got one for $kind ($why), whose wheels come from PyPI (try --rocm)"
}

# "6.4" of "6.4.1-83"; nothing without ROCm.
installed_rocm() {
  local file text=""
  for file in "${ROCM_PATH:-/opt/rocm}/.info/version" /opt/rocm/.info/version; do
    if [[ -r $file ]]; then
      text=$(< "$file")
      break
    fi
  done
  [[ $text =~ ^([0-9]+\.[0-9]+) ]] && echo "${BASH_REMATCH[1]}"
}

check_cuda() {
  local driver compiler
  driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2> /dev/null | head -n 1) || driver=""
  if [[ -z $driver ]]; then
    say "NVIDIA driver: unknown (nvidia-smi does not say)"
  elif ((${driver%%.*} < cuda_driver)); then
    fail "[nvidia-smi] expected a driver of version $cuda_driver or newer, which libtorch $torch_version needs, got $driver"
  else
    say "NVIDIA driver: $driver"
  fi
  compiler=$(PATH=$PATH:/usr/local/cuda/bin command -v nvcc) || fail "[nvcc] expected a CUDA toolkit to compile the kernels, got none (try installing CUDA 13, or --cpu)"
  say "CUDA compiler: $compiler"
}

# Sets `torch_index`, unless it is given.
check_rocm_version() {
  local version
  [[ $rocm_version =~ ^[0-9]+\.[0-9]+(\.[0-9]+)?$ ]] || fail "[--rocm-version] expected a version such as ${rocm_versions[0]}, got $rocm_version"
  if [[ -n $torch_index ]]; then return; fi
  torch_index=https://download.pytorch.org/whl/rocm$rocm_version
  for version in "${rocm_versions[@]}"; do
    if [[ $rocm_version == "$version" ]]; then return; fi
  done
  fail "[--rocm-version] expected one of ${rocm_versions[*]}, for which libtorch $torch_version is published, got $rocm_version (try another version, or --torch-index)"
}

check_rocm() {
  local installed compiler
  installed=$(installed_rocm) || installed=""
  say "ROCm: ${installed:-not found in ${ROCM_PATH:-/opt/rocm}}"
  rocm_version=${rocm_version:-$installed}
  # Before the compiler: a refused version needs no installation.
  if [[ -n $rocm_version ]]; then check_rocm_version; fi
  compiler=$(PATH=$PATH:${ROCM_PATH:-/opt/rocm}/bin command -v hipcc) || fail "[hipcc] expected ROCm's compiler for the kernels, got none (try installing ROCm ${rocm_versions[0]}, or --cpu)"
  [[ -n $rocm_version ]] || fail "[--rocm-version] expected a version, as no ROCm says its own (try --rocm-version ${rocm_versions[0]})"
  say "HIP compiler: $compiler"
  if [[ -e $devices/kfd && ! -w $devices/kfd ]]; then
    say "$devices/kfd cannot be opened by $(id -un): add this user to the groups render and video"
  fi
}

# Sets dataroot, modelroot and logdir from the option, the variable, the last env.sh, or a folder of the checkout.
find_folders() {
  local name upper before
  for name in dataroot modelroot logdir; do
    upper=${name^^}
    before=""
    if [[ -r $env_file ]]; then
      # shellcheck disable=SC1090
      before=$(unset "$upper"; source "$env_file" > /dev/null 2>&1; echo "${!upper:-}")
    fi
    if [[ -z ${!name} ]]; then printf -v "$name" %s "${!upper:-$before}"; fi
  done
  dataroot=${dataroot:-$root/data} modelroot=${modelroot:-$root/models} logdir=${logdir:-$root/logs}
  for name in dataroot modelroot logdir env_file; do
    if [[ ${!name} != /* ]]; then printf -v "$name" %s "$PWD/${!name}"; fi
  done
}

# --- what is done ------------------------------------------------------------------------------------------------------------

# run WORDS...: prints the command, and runs it unless --dry-run.
run() {
  printf 'setup: +'
  printf ' %q' "$@"
  printf '\n'
  if [[ $dry_run == no ]]; then "$@"; fi
}

build() {
  if [[ $skip_build == yes ]]; then return; fi
  local options=()
  case $kind in
    cuda) options=(--gpu) ;;
    rocm) options=(--rocm "$torch_index") ;;
  esac
  run "$root/scripts/setup.sh" "${options[@]}"
  run "$root/scripts/build.sh" release millrace
}

# Checks that the libtorch found is the right one.
check_build() {
  if [[ $dry_run == yes || $skip_build == yes ]]; then return; fi
  local file text
  file=$(compgen -G "$root/.venv/lib/python3*/site-packages/torch/version.py" | head -n 1) || fail "[.venv] expected libtorch, got none"
  text=$(sed -n "s/^__version__ = '\(.*\)'.*/\1/p" "$file")
  [[ $text == "$torch_version" || $text == "$torch_version"+* ]] || fail "[$file] expected libtorch $torch_version, got $text"
  if [[ $kind == rocm && ! -e ${file%/*}/lib/libtorch_hip.so ]]; then fail "[$file] expected a libtorch for ROCm, got $text"; fi
  if [[ $kind == cuda && ! -e ${file%/*}/lib/libtorch_cuda.so ]]; then fail "[$file] expected a libtorch for CUDA, got $text (try removing .venv)"; fi
  say "libtorch: $text"
  # A node without training (a login node) may lack the GPU that the build is for.
  "$root/build/millrace" verify --device "$([[ $kind == cpu ]] && echo cpu || echo auto)" || fail "[millrace verify] expected kernels that agree with their references, see above"
}

download() { run "$root/build/millrace" download "$1" --output "$2"; }

download_data() {
  if [[ $skip_data == yes ]]; then return; fi
  run mkdir -p "$dataroot"
  download coco-preprocessed "$dataroot/coco_preprocessed"
  download empty-encodings "$dataroot/empty_encodings"
  if [[ $download_cc12m == yes ]]; then download cc12m-preprocessed "$dataroot/cc12m_preprocessed"; fi
  if [[ $all == no ]]; then return; fi
  download cc12m-disk "$dataroot/cc12m_disk"
  download coco "$dataroot/coco"
  download val2014-captions "$dataroot"
  run mkdir -p "$modelroot"
  download encoders "$modelroot"
}

environment_file() {
  cat << END
# Made by scripts/baremetal/setup.sh: source it before a run. Changes are lost when setup.sh runs again.
export DATAROOT=$(printf %q "$dataroot")
export MODELROOT=$(printf %q "$modelroot")
export LOGDIR=$(printf %q "$logdir")

# NCCL, and RCCL by the same names. Those that are set already stay.
export NCCL_DEBUG=\${NCCL_DEBUG:-WARN}
export NCCL_BUFFSIZE=\${NCCL_BUFFSIZE:-2097152}
END
  case $kind in
    cuda)
      cat << 'END'

# Blocks of memory that can grow: fewer gaps between tensors.
export PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
END
      ;;
    rocm)
      cat << 'END'

# libtorch's allocator; GPUs that cannot grow a block of memory are told so in a warning.
export PYTORCH_HIP_ALLOC_CONF=${PYTORCH_HIP_ALLOC_CONF:-expandable_segments:True}
# 1 makes every launch wait for its kernel: for finding faults.
export HIP_LAUNCH_BLOCKING=${HIP_LAUNCH_BLOCKING:-0}
# Memory of the host that GPUs see at once, also over PCI Express: what RCCL wants.
export HSA_FORCE_FINE_GRAIN_PCIE=${HSA_FORCE_FINE_GRAIN_PCIE:-1}
END
      ;;
  esac
  cat << 'END'

# Not here, since nothing of them is used: CONDA_ENV_NAME (there is no Python at run time), HF_HUB_CACHE (millrace download
# writes where it is told), PYTORCH_CUDA_ALLOC_CONF on AMD's GPUs, and any token.
END
}

# Written atomically.
write_environment() {
  if [[ $dry_run == yes ]]; then
    say "would write $env_file:"
    environment_file | sed 's/^/  /'
    return
  fi
  mkdir -p "$(dirname "$env_file")" "$logdir"
  environment_file > "$env_file.new"
  mv "$env_file.new" "$env_file"
  say "wrote $env_file"
}

find_hardware
case $kind in
  cuda) check_cuda ;;
  rocm) check_rocm ;;
esac
find_folders
say "data: $dataroot, models: $modelroot, logs: $logdir"
# Before the downloads, which take days: a run on other data needs it too.
build
check_build
write_environment
download_data
say "ready (try: source $(printf %q "$env_file") && NGPU=1 $(printf %q "$here/run_train.sh") --help)"
