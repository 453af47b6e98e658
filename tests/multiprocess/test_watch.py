"""A rank that dies, stops, fails, never comes or differs: all others leave, with one line that names it.

Most of the time goes by waiting, so the runs of a test are started together.
"""

import re
import time
from contextlib import ExitStack, contextmanager

import pytest
from rank_processes import Ranks

pytestmark = pytest.mark.slow

COUNT = 3
TRAIN_TIMEOUT = 4
INIT_TIMEOUT = 8  # more than the ranks of a run differ in when they are up


@contextmanager
def runs(tmp_path, arguments, count=COUNT, without=None):
    """One run for each key of `arguments`; without: the rank that is not started, by key."""
    with ExitStack() as stack:
        started = {}
        for key, options in arguments.items():
            folder = tmp_path / str(key)
            folder.mkdir()
            absent = [without[key]] if without else []
            started[key] = stack.enter_context(Ranks(folder, count, *options, without=absent, job=f"job {key}"))
        yield started


def test_a_killed_rank_is_named_by_rank_host_and_step(tmp_path):
    with runs(tmp_path, {victim: ["--steps", 100000] for victim in range(COUNT)}) as started:
        for victim, ranks in started.items():
            ranks.wait_for_step(victim, 60)  # beats are sent once a second
            ranks.kill(victim)
        for victim, ranks in started.items():
            statuses = ranks.statuses(without=[victim])
            assert set(statuses.values()) == {7}
            lines = {rank: ranks.said(rank) for rank in statuses}
            assert all(len(said) == 1 for said in lines.values()), lines
            for said in lines.values():
                assert re.match(rf"millrace: \[rank {victim} on \S+, step \d+\] lost: its connection closed", said[0]), said


def test_a_stopped_rank_is_missed_after_the_timeout(tmp_path):
    options = ["--steps", 100000, "--train", TRAIN_TIMEOUT]
    with runs(tmp_path, {victim: options for victim in (0, 2)}) as started:
        for victim, ranks in started.items():
            ranks.wait_for_step(victim, 60)  # beats are sent once a second
            ranks.stop(victim)
        for victim, ranks in started.items():
            statuses = ranks.statuses(without=[victim])
            assert set(statuses.values()) == {7}
            for rank in statuses:
                (said,) = ranks.said(rank)
                assert re.match(rf"millrace: \[rank {victim} on \S+, step \d+\] lost: no sign of life for {TRAIN_TIMEOUT} s", said), said


def test_a_rank_that_never_arrives_at_a_collective_ends_the_run(tmp_path):
    """It lives and beats, but its main thread does something else for ever."""
    with Ranks(tmp_path, 2, "--steps", 100000, "--train", TRAIN_TIMEOUT, "--busy-at-of-1", 3) as ranks:
        ranks.wait_for_step(1, 3)
        statuses = ranks.statuses()
        assert set(statuses.values()) == {7}
        for rank in statuses:
            assert any("[all_reduce on" in line for line in ranks.said(rank)), ranks.errors(rank)


def test_until_the_first_step_a_collective_may_wait_longer(tmp_path):
    """Ranks index data and load weights at different speeds; only then does the short limit hold."""
    with Ranks(tmp_path, 2, "--steps", 3, "--train", TRAIN_TIMEOUT, "--prepares-of-1", 2 * TRAIN_TIMEOUT) as ranks:
        assert set(ranks.statuses().values()) == {0}, ranks.errors(0)


def test_ranks_connect_before_they_open_their_devices(tmp_path):
    """So that a device which takes long, from a cold disk, is no missing rank; and one that fails is told to all."""
    opened = tmp_path / "opened"
    slow = ["--steps", 3, "--init", 1, "--open-waits-for-of-1", opened]
    broken = ["--init", 60, "--open-fails-of-1", "[device] expected a usable GPU, got none"]
    with runs(tmp_path, {"slow": slow, "broken": broken}) as started:
        ranks = started["broken"]
        assert set(ranks.statuses().values()) == {2}
        for rank in (0, 2):
            (said,) = ranks.said(rank)
            assert re.match(r"millrace: \[rank 1 on \S+\] failed: \[device\] expected a usable GPU, got none", said), said
        time.sleep(INIT_TIMEOUT / 2)
        assert all(process.poll() is None for process in started["slow"].processes.values())
        opened.touch()
        assert set(started["slow"].statuses().values()) == {0}


def test_a_failure_is_told_to_all_and_its_status_is_that_of_all(tmp_path):
    with runs(tmp_path, {culprit: ["--steps", 100000, f"--fail-at-of-{culprit}", 12] for culprit in (0, 1)}) as started:
        for culprit, ranks in started.items():
            statuses = ranks.statuses()
            assert statuses == dict.fromkeys(range(COUNT), 6)
            for rank in statuses:
                assert len(ranks.said(rank)) == 1, ranks.errors(rank)
                expected = rf"millrace: \[rank {culprit} on \S+, step 12\] failed: \[loss\] expected a number, got nan"
                assert re.match(expected, ranks.said(rank)[0]), ranks.said(rank)


def test_a_normal_end_is_no_failure(tmp_path):
    with Ranks(tmp_path, COUNT, "--steps", 3) as ranks:
        assert set(ranks.statuses().values()) == {0}
        assert [ranks.said(rank) for rank in range(COUNT)] == [[], [], []]


def test_missing_ranks_are_named(tmp_path):
    missing = {rank: rank for rank in range(COUNT)}
    with runs(tmp_path, {rank: ["--init", INIT_TIMEOUT] for rank in missing}, without=missing) as started:
        for rank in (1, 2):
            statuses = started[rank].statuses()
            assert set(statuses.values()) == {7}
            (said,) = {started[rank].said(other)[0] for other in statuses}
            assert f"expected 3 ranks within {INIT_TIMEOUT} s, got 2; missing: rank {rank}" in said
        without_rank_0 = started[0]
        assert set(without_rank_0.statuses().values()) == {7}
        for rank in (1, 2):
            expected = f"expected rank 0 on 127.0.0.1 within {INIT_TIMEOUT} s, got none: no process listens on"
            assert expected in without_rank_0.said(rank)[0]


def test_a_rank_that_differs_is_named(tmp_path):
    """By its configuration, or by the version of its program."""
    whats = {"fingerprint": "the configuration", "version": "the program version"}
    with runs(tmp_path, {option: [f"--{option}", "a", f"--{option}-of-2", "b"] for option in whats}) as started:
        for option, what in whats.items():
            ranks = started[option]
            assert set(ranks.statuses().values()) == {2}
            (said,) = {tuple(ranks.said(rank)) for rank in range(COUNT)}
            assert re.match(rf"millrace: \[rank 2 on \S+\] expected {what} of rank 0, a, got b", said[0])
