"""When a job starts itself again, and when it gives up. Stand-ins for Slurm and for the program decide how each attempt
ends; test_training.py has both for real."""

import os
import re
import subprocess

import pytest
from slurm.jobs import ROOT, SCRIPT

JOB = "17"

# Leaves with the status of its turn in STATUSES; a number after a colon is the step of a checkpoint that it completes first.
PROGRAM = """#!/usr/bin/env bash
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

# Its job runs and may be requeued, unless REQUEUE says otherwise; a requeue leaves a file.
SCONTROL = """#!/usr/bin/env bash
case "$1 $2" in
  "show job") echo "JobId=$3 JobState=RUNNING Reason=None Requeue=${REQUEUE:-1} Command=$SCRIPT" ;;
  "show node") echo "NodeName=$3 NodeAddr=127.0.0.1 NodeHostName=$3" ;;
  "requeue $SLURM_JOB_ID") touch "$LOGDIR/requeued" ;;
  *) exit 1 ;;
esac
"""

# Runs one task. CONT is what pyxis adds to srun, as far as this script can tell: options that say in which image ranks run.
SRUN = """#!/usr/bin/env bash
found=0
while [[ $1 == --* ]]; do
  case $1 in
    --container-image=image.sqsh | --container-mounts="$LOGDIR":/logdir,* | --no-container-mount-home) found=$((found + 1)) ;;
  esac
  shift
done
if [[ -n ${CONT:-} && $found != 3 ]]; then exit 2; fi
exec "$@"
"""


@pytest.fixture
def run_job(tmp_path):
    """run_job("75 75:00000004 0"): runs the job until it isn't requeued. Returns its log and exit status."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("program", PROGRAM), ("scontrol", SCONTROL), ("srun", SRUN)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    folder = tmp_path / "run"
    folder.mkdir()

    def run(statuses: str, **variables):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")} | {
            "PATH": f"{tools}:{os.environ['PATH']}", "SCRIPT": str(SCRIPT), "LOGDIR": str(folder), "NGPU": "1",
            "MILLRACE": str(tools / "program"), "CONFIG_FILE": str(ROOT / "configs" / "tiny.toml"), "STATUSES": statuses,
            "SLURM_JOB_ID": JOB, "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "n1", "SLURMD_NODENAME": "n1", **variables,
        }  # fmt: skip
        for restart in range(20):
            (folder / "requeued").unlink(missing_ok=True)
            job = subprocess.run(
                [SCRIPT], env=environment | {"SLURM_RESTART_COUNT": str(restart)}, cwd=tmp_path, capture_output=True, text=True, timeout=300
            )
            if not (folder / "requeued").exists():
                return (folder / f"slurm-{JOB}.out").read_text(), job.returncode
        raise AssertionError(f"expected the job to give up, got 20 restarts\n{(folder / f'slurm-{JOB}.out').read_text()}")

    return run


def attempts(output: str) -> int:
    return len(re.findall(r"^attempt \d+$", output, re.MULTILINE))


def test_three_restarts_without_a_newer_checkpoint_are_the_last(run_job):
    """A newer checkpoint begins the count again."""
    output, status = run_job("75 75:00000004 137 7 75 75 0")
    assert attempts(output) == 6
    assert "expected a checkpoint after step 4, got none in 3 restarts: not requeued again" in output
    assert status == 75


@pytest.mark.parametrize("code", [2, 5, 6])
def test_what_would_fail_again_is_not_tried_again(run_job, code):
    output, status = run_job(f"{code} 0")
    assert attempts(output) == 1
    assert f"ended with status {code} at step 0" in output
    assert status == code


def test_no_requeue_is_respected(run_job):
    output, status = run_job("75:00000004 0", REQUEUE="0")
    assert attempts(output) == 1 and status == 75
    assert "stopped in time, newest checkpoint: step 4. Submitted without --requeue" in output


def test_nothing_begins_again_without_checkpoints(run_job):
    output, status = run_job("75 0", SAVES="false")
    assert attempts(output) == 1 and status == 75
    assert "without checkpoints another attempt would begin again (try ENABLE_CHECKPOINTING=True)" in output


def test_a_container_sees_the_run_under_another_name(run_job):
    """The restarts count the checkpoints where they are outside."""
    output, status = run_job("75:00000004 0", CONT="image.sqsh", INSIDE="/logdir")
    assert "stopped in time, newest checkpoint: step 4: requeued" in output
    assert "restart 1, newest checkpoint: step 4" in output
    assert attempts(output) == 2 and status == 0
