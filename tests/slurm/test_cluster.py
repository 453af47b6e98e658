"""The cluster of these tests leaves nothing behind, not even when the tests are killed."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from slurm.reaper import descendants

pytestmark = pytest.mark.slow

KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from slurm.cluster import Cluster, wait_until
from slurm.reaper import descendants
def name(pid):
    try:
        return Path(f"/proc/{{pid}}/comm").read_text().strip()
    except OSError:
        return ""
cluster = Cluster(Path({folder!r}))
cluster.start()
cluster.command("sbatch", "--nodes=2", "--wrap=srun --ntasks=2 sleep 600")
wait_until(lambda: sum(name(pid) == "sleep" for pid in descendants()) >= 2, "two ranks")
print(*descendants(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def is_running(pid):
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # the latter where it ends between opening and reading
        return False


def running(pids):
    return [pid for pid in pids if is_running(pid)]


def test_killed_tests_leave_no_process():
    with tempfile.TemporaryDirectory(prefix="millrace-slurm-") as folder:
        source = KILLED.format(tests=str(Path(__file__).parents[1]), folder=folder)
        result = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=300)
        pids = [int(pid) for pid in result.stdout.split()]
        assert len(pids) >= 12, result.stderr  # four reapers, four daemons, two ranks and what is between them
        deadline = time.monotonic() + 60
        while left := running(pids):
            assert time.monotonic() < deadline, f"expected no process of the killed tests after a minute, got {left}"
            time.sleep(0.05)
