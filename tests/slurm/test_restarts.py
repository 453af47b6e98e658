"""When a job starts itself again, and when it gives up. A stand-in for the program decides how each attempt ends."""

import os
import re
import shutil

import pytest
from slurm.jobs import ROOT

# Leaves with the status of its turn in STATUSES; a number after a colon is the step of a checkpoint that it completes first.
STAND_IN = """#!/usr/bin/env bash
if [[ " $* " == *" --show-config "* ]]; then
  printf '[job]\\ndump_folder = "%s"\\n[checkpoint]\\nenable = %s\\nfolder = "checkpoint"\\n' "${INSIDE:-$LOGDIR}" "${SAVES:-true}"
  exit 0
fi
read -r -a turns <<< "$STATUSES"
turn=${turns[${SLURM_RESTART_COUNT:-0}]}
if [[ $turn == *:* ]]; then
  mkdir -p "$LOGDIR/checkpoint/step-${turn#*:}"
  touch "$LOGDIR/checkpoint/step-${turn#*:}/index.json"
fi
echo "attempt ${SLURM_RESTART_COUNT:-0}"
exit "${turn%:*}"
"""


def attempts(output: str) -> int:
    return len(re.findall(r"^attempt \d+$", output, re.MULTILINE))


@pytest.fixture
def submit(nodes, submit_from, tmp_path):
    program = tmp_path / "stand-in"
    program.write_text(STAND_IN)
    program.chmod(0o755)

    def run(statuses: str, *options: str, **more):
        variables = {"MILLRACE": program, "STATUSES": statuses, "CONFIG_FILE": ROOT / "configs" / "tiny.toml", **more}
        return submit_from(tmp_path / "run", options=("--nodes=1", *options), **variables)

    return run


def test_three_restarts_without_a_newer_checkpoint_are_the_last(submit):
    """A newer checkpoint begins the count again."""
    job = submit("75 75:00000004 137 7 75 75 0")
    output = job.wait_for_end("FAILED")
    assert attempts(output) == 6
    assert "expected a checkpoint after step 4, got none in 3 restarts: not requeued again" in output
    assert job.field("ExitCode") == "75:0"


@pytest.mark.parametrize("status", [2, 5, 6])
def test_what_would_fail_again_is_not_tried_again(submit, status):
    job = submit(f"{status} 0")
    output = job.wait_for_end("FAILED")
    assert attempts(output) == 1
    assert f"ended with status {status} at step 0" in output
    assert job.field("ExitCode") == f"{status}:0"


def test_no_requeue_is_respected(submit):
    job = submit("75:00000004 0", "--no-requeue")
    output = job.wait_for_end("FAILED")
    assert attempts(output) == 1
    assert "stopped in time, newest checkpoint: step 4. Submitted without --requeue" in output


def test_nothing_begins_again_without_checkpoints(submit):
    job = submit("75 0", SAVES="false")
    output = job.wait_for_end("FAILED")
    assert attempts(output) == 1
    assert "without checkpoints another attempt would begin again (try ENABLE_CHECKPOINTING=True)" in output


# What pyxis adds to srun, as far as this script can tell: options that say in which image the ranks run.
SRUN_WITH_CONTAINERS = """#!/usr/bin/env bash
kept=()
for word in "$@"; do
  case $word in
    --container-image=image.sqsh | --container-mounts="$LOGDIR":/logdir,* | --no-container-mount-home) ((++found)) ;;
    *) kept+=("$word") ;;
  esac
done
[[ $found == 3 ]] || exit 2
exec {srun} "${{kept[@]}}"
"""


def test_a_container_sees_the_run_under_another_name(submit, tmp_path):
    """The restarts count the checkpoints where they are outside."""
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(SRUN_WITH_CONTAINERS.format(srun=shutil.which("srun")))
    srun.chmod(0o755)
    job = submit("75:00000004 0", CONT="image.sqsh", INSIDE="/logdir", PATH=f"{srun.parent}:{os.environ['PATH']}")
    output = job.wait_for_end()
    assert "stopped in time, newest checkpoint: step 4: requeued" in output
    assert "restart 1, newest checkpoint: step 4" in output
