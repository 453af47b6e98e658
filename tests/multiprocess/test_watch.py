"""A rank that dies, stops, fails, never comes or differs: all others leave in time, with one line that names it."""

import re

import pytest

from rank_processes import Ranks

COUNT = 3
TRAIN_TIMEOUT = 4


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_killed_rank_is_named_by_rank_host_and_step(tmp_path, victim):
    with Ranks(tmp_path, COUNT, "--steps", 100000) as ranks:
        ranks.wait_for_step(victim, 60)  # beats are sent once a second
        ranks.kill(victim)
        statuses = ranks.statuses(10, without=[victim])
        assert set(statuses.values()) == {7}
        lines = {rank: ranks.said(rank) for rank in statuses}
        assert all(len(said) == 1 for said in lines.values()), lines
        for said in lines.values():
            assert re.match(rf"millrace: \[rank {victim} on \S+, step \d+\] lost: its connection closed", said[0]), said


@pytest.mark.parametrize("victim", [0, 2])
def test_a_stopped_rank_is_missed_within_the_timeout(tmp_path, victim):
    with Ranks(tmp_path, COUNT, "--steps", 100000, "--train", TRAIN_TIMEOUT) as ranks:
        ranks.wait_for_step(victim, 60)  # beats are sent once a second
        ranks.stop(victim)
        statuses = ranks.statuses(TRAIN_TIMEOUT + 5, without=[victim])
        assert set(statuses.values()) == {7}
        for rank in statuses:
            assert len(ranks.said(rank)) == 1
            assert re.match(rf"millrace: \[rank {victim} on \S+, step \d+\] lost: no sign of life for 4 s", ranks.said(rank)[0])


def test_a_rank_that_never_arrives_at_a_collective_ends_the_run(tmp_path):
    """It lives and beats, but its main thread does something else for ever."""
    with Ranks(tmp_path, 2, "--steps", 100000, "--train", TRAIN_TIMEOUT, "--busy-at-of-1", 3) as ranks:
        ranks.wait_for_step(1, 3)
        statuses = ranks.statuses(TRAIN_TIMEOUT + 12)
        assert set(statuses.values()) == {7}
        for rank in statuses:
            assert any("[all_reduce on" in line for line in ranks.said(rank)), ranks.errors(rank)


@pytest.mark.parametrize("culprit", [0, 1])
def test_a_failure_is_told_to_all_and_its_status_is_everybodys(tmp_path, culprit):
    with Ranks(tmp_path, COUNT, "--steps", 100000, f"--fail-at-of-{culprit}", 12) as ranks:
        statuses = ranks.statuses(60)
        assert statuses == dict.fromkeys(range(COUNT), 6)
        for rank in statuses:
            assert len(ranks.said(rank)) == 1, ranks.errors(rank)
            expected = rf"millrace: \[rank {culprit} on \S+, step 12\] failed: \[loss\] expected a number, got nan"
            assert re.match(expected, ranks.said(rank)[0]), ranks.said(rank)


def test_a_normal_end_is_no_failure(tmp_path):
    with Ranks(tmp_path, COUNT, "--steps", 3) as ranks:
        assert set(ranks.statuses(60).values()) == {0}
        assert [ranks.said(rank) for rank in range(COUNT)] == [[], [], []]


@pytest.mark.parametrize("missing", [1, 2])
def test_missing_ranks_are_named(tmp_path, missing):
    with Ranks(tmp_path, COUNT, "--init", 4, without=[missing]) as ranks:
        statuses = ranks.statuses(30)
        assert set(statuses.values()) == {7}
        said = {ranks.said(rank)[0] for rank in statuses}
        assert len(said) == 1
        assert f"expected 3 ranks within 4 s, got 2; missing: rank {missing}" in said.pop()


def test_without_rank_0_the_others_say_so(tmp_path):
    with Ranks(tmp_path, COUNT, "--init", 3, without=[0]) as ranks:
        assert set(ranks.statuses(30).values()) == {7}
        for rank in (1, 2):
            assert "expected rank 0 on 127.0.0.1 within 3 s, got none: nobody listens on" in ranks.said(rank)[0]


@pytest.mark.parametrize(
    "option, what", [("fingerprint", "the configuration of rank 0, a, got b"), ("version", "the program version of rank 0, a, got b")]
)
def test_a_rank_that_differs_is_named(tmp_path, option, what):
    with Ranks(tmp_path, COUNT, f"--{option}", "a", f"--{option}-of-2", "b") as ranks:
        assert set(ranks.statuses(60).values()) == {2}
        said = {tuple(ranks.said(rank)) for rank in range(COUNT)}
        assert len(said) == 1
        assert re.match(rf"millrace: \[rank 2 on \S+\] expected {what}", said.pop()[0])
