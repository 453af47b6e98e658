"""`millrace launch`: several processes of one command as the ranks of a run."""

import os
import signal
import subprocess
import time

import pytest

from rank_processes import TOOL, quiet_environment

SHOW = 'echo "$RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT $OMP_NUM_THREADS"'


def start(program, *arguments, env=None):
    return subprocess.Popen(
        [program, "launch", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=quiet_environment() | (env or {}),
    )  # fmt: skip


def lives(pid: int) -> bool:
    try:
        state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter where it ends between opening and reading
        return False
    return state != "Z"


def wait_until_gone(pids, seconds=60):
    end = time.monotonic() + seconds
    while left := [pid for pid in pids if lives(pid)]:
        assert time.monotonic() < end, f"expected the ranks to end within {seconds} s, got {left}"
        time.sleep(0.02)


def read_pids(process, count) -> list[int]:
    """The pids in the tool's "step N pid P" lines."""
    pids: set[int] = set()
    while len(pids) < count:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        pids.add(int(line.split()[-1]))
    return sorted(pids)


def test_every_rank_learns_who_it_is(millrace):
    lines = millrace("launch", "-n", 3, "sh", "-c", SHOW, env={"OMP_NUM_THREADS": "5"}).stdout.splitlines()
    words = {line.removeprefix(f"[rank {rank}] ") for rank in range(3) for line in lines if line.startswith((f"{rank}", f"[rank {rank}]"))}
    port = lines[0].split()[-2]
    assert 1024 < int(port) < 32768
    assert words == {f"{rank} 3 {rank} 3 127.0.0.1 {port} 5" for rank in range(3)}
    assert sum(line.startswith("[rank ") for line in lines) == 2  # rank 0's own lines have no prefix


def test_threads_are_shared_unless_they_are_set(millrace, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    assert int(millrace("launch", "-n", 1, "sh", "-c", SHOW).stdout.split()[-1]) == cores
    assert int(millrace("launch", "-n", cores + 1, "sh", "-c", SHOW).stdout.split()[-1]) == 1


def test_both_outputs_keep_their_way(millrace):
    result = millrace("launch", "-n", 2, "--", "sh", "-c", "echo out; printf 'half a line' >&2")
    assert sorted(result.stdout.splitlines()) == ["[rank 1] out", "out"]
    assert "[rank 1] half a line\n" in result.stderr


def test_a_command_of_the_program_needs_no_name_before_it(millrace):
    assert millrace("launch", "-n", 1, "--version", status=2).stderr
    result = millrace("launch", "-n", 2, "tokenize", "--help")
    assert result.stdout.count("[rank 1] ") > 1


def test_wrong_uses_are_explained(millrace):
    assert "expected a command" in millrace("launch", "-n", 2, status=2).stderr
    assert "--ranks is required" in millrace("launch", "true", status=2).stderr
    assert "expected a command that can be started" in millrace("launch", "-n", 2, "no-such-program", status=2).stderr


def test_the_first_failure_is_the_status(millrace):
    millrace("launch", "-n", 3, "sh", "-c", 'if [ "$RANK" = 1 ]; then exit 5; fi; exit 0', status=5)
    result = millrace("launch", "-n", 2, "sh", "-c", 'if [ "$RANK" = 1 ]; then kill -9 $$; fi; exit 0', status=137)
    assert "rank 1 was ended by signal 9" in result.stderr


@pytest.mark.slow
def test_ranks_that_do_not_leave_are_ended_after_10_s(program):
    process = start(program, "-n", 2, "sh", "-c", 'if [ "$RANK" = 1 ]; then exit 4; fi; echo $$; trap "" TERM; sleep 1000')
    pid = int(process.stdout.readline())
    begin = time.monotonic()
    assert process.wait(300) == 4  # the rank itself would stay for 1000 s
    assert time.monotonic() - begin > 8
    wait_until_gone([pid])


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_and_leaves_no_process(program):
    process = start(program, "-n", 3, TOOL, "--steps", 100000)
    pids = read_pids(process, 3)
    os.kill(pids[1], signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 137
    assert errors.count("] lost: its connection closed") == 2, errors
    wait_until_gone(pids)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
def test_nothing_is_left_when_launch_itself_is_killed(program, stopped):
    process = start(program, "-n", 2, TOOL, "--steps", 100000)
    pids = read_pids(process, 2)
    if stopped:
        os.kill(pids[0], signal.SIGSTOP)
    process.kill()
    process.wait()
    wait_until_gone(pids)


def test_signals_reach_every_rank(program):
    script = 'trap "echo got it; exit 3" TERM; echo ready; while :; do sleep 0.05; done'
    process = start(program, "-n", 2, "sh", "-c", script)
    assert process.stdout.readline().endswith("ready\n")
    assert process.stdout.readline().endswith("ready\n")
    process.terminate()
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 3
    assert sorted(out.splitlines()) == ["[rank 1] got it", "got it"]


@pytest.mark.slow
def test_two_runs_at_once_do_not_meet(program):
    runs = [start(program, "-n", 2, TOOL, "--steps", 5) for _ in range(3)]
    assert [run.wait(300) for run in runs] == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_collectives_are_verified(millrace, count):
    result = millrace("launch", "-n", count, "verify", "--elements", 5000, "--device", "cpu", env=quiet_environment())
    assert "all collectives agree with their references" in result.stdout
    assert "FAILED" not in result.stdout
    groups = {2: 3, 4: 4}[count]  # dp_shard, data, world, and with 4 ranks dp_replicate
    assert result.stdout.count(" ok\n") == groups * 4 * 2  # collectives, dtypes
