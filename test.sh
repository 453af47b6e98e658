#!/usr/bin/env bash
# Runs every check of the project, in the order of the list below, and stops at the first that fails.
#
#   ./test.sh                everything
#   ./test.sh --fast         for while you work: two minutes after a build
#   ./test.sh STAGE...       only these
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

stage_setup() { scripts/setup.sh --tests; }                   # Debian packages, wheels, the peers we compare with
stage_format() { scripts/check_format.sh; }                   # clang-format
stage_layers() { .venv/bin/python tools/check_layers.py; }    # who may include whom, file lengths
stage_build() { scripts/build.sh release; }                   # warnings are errors
stage_unit() { ctest --preset release -j "$(nproc)"; }        # *_test.cpp
stage_python() {                                              # tests/: what crosses folders, and parity with the peers
  local part parts commands=()
  parts=$(($(nproc) < 8 ? $(nproc) : 8))
  for ((part = 1; part <= parts; ++part)); do commands+=("quick_tests --part $part/$parts"); done
  at_once "${commands[@]}"
}
stage_fast() { at_once "fast_tests --part 1/2" "fast_tests --part 2/2" fast_unit_tests; } # those of unit and python that --fast runs
stage_slow() {                                                # many ranks, kills, time-outs; jobs on a Slurm cluster
  at_once slow_tests cluster_tests
}
stage_docs() { .venv/bin/python tools/check_docs.py; }        # the commands and the paths in the docs
stage_gpu() {                                                 # what only a GPU can show; where there is none, that is an error
  compgen -G '/dev/nvidia[0-9]*' > /dev/null || [[ -e /dev/kfd ]] || {
    echo "test.sh: [gpu] expected a GPU, got none (scripts/gpu/first_run.sh --rehearse needs none)" >&2
    return 1
  }
  scripts/build.sh release millrace millrace_nn_test
  ctest --preset release -L gpu
  build/millrace verify --device cuda
}
stage_no_cuda() { scripts/build.sh no-cuda millrace_kernels; } # a machine without a CUDA toolkit
stage_hip() {                                                 # every GPU kernel for AMD: 64 lanes in a wave, and 32
  scripts/build.sh hip-check millrace_kernels_hip
  .venv/bin/python tools/check_gpu_code.py build-hip-check/src/kernels/hip src/kernels --arch gfx90a --arch gfx1030
}
stage_sanitizers() {                                          # address and undefined behaviour: all that reads untrusted files
  scripts/build.sh asan millrace_torch_free_tests
  ctest --preset asan -L torch_free -j "$(nproc)"
}

# Importing a file of tests takes seconds where it imports a peer: only files that have tests of the kind are read.
quick_tests() {
  grep -rLZ '^pytestmark = pytest.mark.slow$' tests --include='test_*.py' | xargs -0 .venv/bin/python -m pytest -m "not slow" "$@"
}
fast_unit_tests() { ctest --preset release -j "$(nproc)" -E '^(fuzz|gpu_emulation)$'; }
fast_tests() { grep -rlZ '^pytestmark = pytest.mark.fast$' tests --include='test_*.py' | xargs -0 .venv/bin/python -m pytest -m "fast and not slow" "$@"; }
# Each of two processes takes the next file when it is done with one: some files take a minute, some a second. They wait now
# and then, so that with the cluster's tests they are one more than two cores.
slow_tests() {
  grep -rlZ 'pytest.mark.slow' tests --include='test_*.py' --exclude-dir=slurm | xargs -0 .venv/bin/python -m pytest -m slow -n 2 --dist loadfile "$@"
}
cluster_tests() { .venv/bin/python -m pytest -m slow tests/slurm; }

# at_once COMMAND...: runs all of them at the same time. The first prints as it goes; then comes what the others printed.
at_once() {
  local command logs pids=() failed=no i
  logs=$(mktemp -d)
  trap 'kill 0' INT # which bash keeps from what it starts in the background
  export OMP_WAIT_POLICY=passive # threads that wait by spinning would take the cores from the other commands
  for command in "${@:2}"; do
    # shellcheck disable=SC2086 # its words
    $command > "$logs/${#pids[@]}" 2>&1 &
    pids+=($!)
  done
  # shellcheck disable=SC2086
  $1 || failed=yes
  for i in "${!pids[@]}"; do
    wait "${pids[i]}" || failed=yes
    cat "$logs/$i"
  done
  rm -r "$logs"
  [[ $failed == no ]]
}

all_stages=(setup format layers build unit python slow docs no_cuda hip sanitizers)
if compgen -G '/dev/nvidia[0-9]*' > /dev/null || [[ -e /dev/kfd ]]; then all_stages+=(gpu); fi
stages=("${all_stages[@]}")
if [[ ${1:-} == --fast ]]; then
  stages=(setup format layers build fast)
elif [[ $# -gt 0 ]]; then
  stages=("$@")
fi
for stage in "${stages[@]}"; do
  if ! declare -F "stage_$stage" > /dev/null; then
    echo "test.sh: expected one of ${all_stages[*]}, got $stage" >&2
    exit 2
  fi
done

summary=()
summarize() {
  printf '\n== summary\n'
  printf '%s\n' "${summary[@]}"
}

for stage in "${stages[@]}"; do
  printf '\n== %s\n' "$stage"
  started=$SECONDS
  # Inside `if`, bash would switch off `set -e` for the whole function.
  set +e
  (set -e; "stage_$stage")
  status=$?
  set -e
  seconds=$((SECONDS - started))
  if [[ $status != 0 ]]; then
    summary+=("$(printf 'FAILED %-10s %5d s' "$stage" "$seconds")")
    summarize
    echo "repeat it with: ./test.sh $stage"
    exit 1
  fi
  summary+=("$(printf 'passed %-10s %5d s' "$stage" "$seconds")")
done
summarize
