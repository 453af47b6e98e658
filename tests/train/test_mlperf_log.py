"""The MLPerf log of real runs, before MLCommons' own compliance checker."""

import itertools
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from mlperf_log import checker, events

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "mlperf_small.toml"
RULESETS = ["5.1.0", "6.0.0", "6.1.0"]
QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


@pytest.fixture(scope="session")
def emoji(emoji_set):
    return emoji_set(64)


def arguments(folder, emoji, *overrides):
    return ["train", CONFIG, f"--job.dump_folder={folder}", f"--training.dataset_path={emoji}",
            f"--validation.dataset_path={emoji}", *overrides]  # fmt: skip


@pytest.fixture
def train(millrace, emoji, tmp_path):
    """train("--section.key=value", ...): the log's events and the finished process."""

    def run(*overrides, run="run", status=0):
        result = millrace(*arguments(tmp_path / run, emoji, *overrides), status=status, env=QUIET)
        log = tmp_path / run / "mlperf_compliance.log"
        return (events(log.read_text()) if log.exists() else None), result

    return run


@pytest.fixture(scope="module")
def closed_log(program, emoji, tmp_path_factory):
    """The log of a run that reached the closed division's target, with nothing in it but the truth."""
    folder = tmp_path_factory.mktemp("closed") / "run"
    command = [program, *arguments(folder, emoji)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | QUIET)
    assert result.returncode == 0, result.stderr
    text = (folder / "mlperf_compliance.log").read_text()
    assert result.stdout == text  # rank 0's stdout is the log, for those who collect it from there
    return folder


def keys(log):
    return [event["key"] for event in log]


def value(log, key):
    (event,) = [event for event in log if event["key"] == key]
    return event["value"]


# What is logged


SETUP = [
    "cache_clear", "submission_benchmark", "submission_division", "submission_org", "submission_platform",
    "submission_poc_name", "submission_poc_email", "submission_status", "train_samples", "eval_samples", "seed",
    "global_batch_size", "opt_name", "opt_learning_rate_warmup_steps", "opt_adamw_beta_1", "opt_adamw_beta_2",
    "opt_adamw_epsilon", "opt_adamw_weight_decay", "opt_base_learning_rate", "opt_gradient_clip_norm",
    "gradient_accumulation_steps", "evaluation_frequency", "target_accuracy", "lowest_numerical_precision_in_linear",
    "lowest_numerical_precision_in_attn", "lowest_numerical_precision_in_comm", "tensor_parallelism",
    "pipeline_parallelism", "context_parallelism", "expert_parallelism", "micro_batch_size", "config_filename",
    "init_start", "init_stop", "run_start",
]  # fmt: skip


def test_the_log_tells_the_run(closed_log):
    log = events((closed_log / "mlperf_compliance.log").read_text())
    assert all(list(event) == ["namespace", "time_ms", "event_type", "key", "value", "metadata"] for event in log)
    assert all(list(event["metadata"])[:2] == ["file", "lineno"] and event["namespace"] == "" for event in log)
    assert all(before["time_ms"] <= after["time_ms"] for before, after in itertools.pairwise(log))
    assert abs(log[0]["time_ms"] - 1000 * closed_log.stat().st_mtime) < 24 * 3600 * 1000  # milliseconds since 1970

    block = ["block_start", "tracked_stats", "block_stop"]
    assert keys(log) == SETUP + block * 15 + ["eval_start", "eval_accuracy", "eval_stop", "run_stop"]
    kinds = {event["key"]: event["event_type"] for event in log}
    assert {key for key, kind in kinds.items() if kind == "INTERVAL_START"} == {"init_start", "run_start", "block_start"}
    assert {key for key, kind in kinds.items() if kind == "INTERVAL_END"} == {
        "init_stop", "block_stop", "eval_stop", "run_stop"
    }  # fmt: skip
    for key, expected in {"submission_benchmark": "flux1", "submission_division": "closed", "seed": 7, "global_batch_size": 16,
                          "submission_org": "Millrace Tests", "opt_name": "adamw", "opt_adamw_epsilon": 1e-8,
                          "opt_base_learning_rate": 3e-3, "train_samples": 64, "target_accuracy": 0.586,
                          "lowest_numerical_precision_in_linear": "fp32", "micro_batch_size": 16,
                          "evaluation_frequency": 262144}.items():  # fmt: skip
        assert value(log, key) == expected, key

    metrics = [json.loads(line) for line in (closed_log / "metrics.jsonl").read_text().splitlines()]
    assert value(log, "eval_accuracy") == [entry["validation_loss"] for entry in metrics if "validation_loss" in entry][0]
    blocks = [event for event in log if event["key"] in ("block_start", "block_stop")]
    assert [event["metadata"]["samples_count"] for event in blocks] == [n for i in range(15) for n in (160 * i, 160 * i)]
    stats = [event for event in log if event["key"] == "tracked_stats"]
    assert [event["metadata"]["step_num"] for event in stats] == list(range(0, 150, 10))
    assert stats[0]["value"]["loss"] == metrics[0]["loss"] and stats[0]["value"]["lr"] == 3e-3
    for stat in stats:
        assert stat["value"]["throughput"] * stat["value"]["train_step_time"] == pytest.approx(16)
    # Nine steps of ten are not logged; their times count.
    steps = sum(stat["value"]["train_step_time"] * (1 if i == 0 else 10) for i, stat in enumerate(stats))
    assert steps < (log[-1]["time_ms"] - log[len(SETUP) - 1]["time_ms"]) / 1000 + 0.01
    for key in ("eval_start", "eval_accuracy", "eval_stop"):
        (event,) = [event for event in log if event["key"] == key]
        assert event["metadata"]["samples_count"] == 150 * 16
    assert log[-1]["metadata"]["status"] == "success"


@pytest.mark.parametrize("ruleset", RULESETS)
def test_the_checker_accepts_a_run_that_reached_the_target(closed_log, ruleset):
    accepted, said = checker(closed_log / "mlperf_compliance.log", ruleset, "--werror")
    assert accepted, said


def test_the_open_division_has_its_own_name_for_the_metric(train, tmp_path):
    log, result = train("--mlperf.submission_division=open", "--validation.freq_samples=700", "--training.steps=400")
    assert "reached the target" in result.stderr
    assert value(log, "evaluation_frequency") == 704  # whole steps
    evaluations = [event for event in log if event["key"] == "averaged_validation_loss"]
    assert len(evaluations) > 1 and [event["metadata"]["samples_count"] for event in evaluations] == [
        704 * (i + 1) for i in range(len(evaluations))
    ]
    assert evaluations[-1]["value"] <= 0.586 < evaluations[-2]["value"]
    for ruleset in RULESETS:
        accepted, said = checker(tmp_path / "run" / "mlperf_compliance.log", ruleset, "--werror")
        assert accepted, said
    # The target ends the run: everything is there, and the same command has nothing left to do.
    step = evaluations[-1]["metadata"]["samples_count"] // 16
    assert (tmp_path / "run" / "checkpoint" / f"step-{step:08d}" / "index.json").exists()
    before = (tmp_path / "run" / "mlperf_compliance.log").read_text()
    _, again = train("--mlperf.submission_division=open", "--validation.freq_samples=700", "--training.steps=400")
    assert "nothing is left to do" in again.stderr and again.stdout == ""
    assert (tmp_path / "run" / "mlperf_compliance.log").read_text() == before


def test_an_interval_that_is_no_whole_number_of_steps(train, tmp_path):
    """Rules 6.1 changed what evaluation_frequency is: a log is right for one of the two."""
    small = ["--training.local_batch_size=24", "--training.steps=180"]
    for run, ruleset, frequency in (("new", "6.1.0", 262152), ("old", "6.0.0", 262144)):
        log, _ = train(*small, f"--mlperf.ruleset={ruleset}", run=run)
        assert value(log, "evaluation_frequency") == frequency
        for other in ("6.0.0", "6.1.0"):
            accepted, said = checker(tmp_path / run / "mlperf_compliance.log", other)
            assert accepted == (other == ruleset), said


def test_many_ranks_write_one_log(program, emoji, tmp_path):
    command = [program, "launch", "-n", "2", program, *arguments(tmp_path / "run", emoji, "--training.local_batch_size=8")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | QUIET)
    assert result.returncode == 0, result.stderr
    log = events((tmp_path / "run" / "mlperf_compliance.log").read_text())
    assert keys(log).count("run_start") == keys(log).count("run_stop") == 1
    assert value(log, "global_batch_size") == 16 and value(log, "micro_batch_size") == 8
    (tmp_path / "stdout.log").write_text(result.stdout)  # lines with the rank before them, as clusters keep them
    for path in (tmp_path / "run" / "mlperf_compliance.log", tmp_path / "stdout.log"):
        accepted, said = checker(path, "6.1.0", "--werror")
        assert accepted, said


# What has no log, or none that counts


def test_a_log_that_states_other_samples_than_were_validated_is_no_success(train):
    log, result = train("--mlperf.eval_samples=63")
    assert log[-1]["key"] == "run_stop" and log[-1]["metadata"]["status"] == "aborted"
    assert "[mlperf.eval_samples] expected the 64 samples of the validation, got 63" in result.stderr


SHORT = ["--training.steps=3", "--validation.freq_samples=16"]


def test_other_runs_write_none_unless_asked(train, tmp_path):
    assert train(*SHORT, "--validation.target_loss=0", run="a")[0] is None
    assert train(*SHORT, "--metrics.no_mlperf_logging", run="b")[0] is None
    assert train("--training.steps=2", "--validation.no_enable", "--metrics.mlperf_logging", run="c")[0] is not None


def stops(log):
    return [event["metadata"]["status"] for event in log if event["key"] == "run_stop"]


def test_a_run_that_misses_its_target_is_aborted(train, tmp_path):
    log, _ = train(*SHORT)
    assert stops(log) == ["aborted"]
    accepted, said = checker(tmp_path / "run" / "mlperf_compliance.log", "6.1.0")
    assert not accepted and "eval_accuracy" in said


def test_a_run_that_fails_is_aborted(train):
    log, _ = train(*SHORT, "--optimizer.lr=1e30", status=6)
    assert stops(log) == ["aborted"] and keys(log)[-1] == "run_stop"


def test_a_failure_before_the_run_stops_nothing(train):
    log, _ = train(*SHORT, "--checkpoint.load_step=7", status=5)
    assert keys(log)[-1] == "init_start"


def test_a_stopped_run_is_aborted_and_its_continuation_appended(program, emoji, train, tmp_path):
    endless = ["--training.steps=100000", "--validation.freq_samples=100000000"]
    log_path = tmp_path / "run" / "mlperf_compliance.log"
    command = [program, *arguments(tmp_path / "run", emoji, *endless)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | QUIET)
    try:
        end = time.monotonic() + 300
        while not (log_path.exists() and "block_stop" in log_path.read_text()):
            assert process.poll() is None and time.monotonic() < end, "expected a first block of steps within 300 s"
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(300) == 75
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    first = events(log_path.read_text())
    assert stops(first) == ["aborted"] and keys(first)[-1] == "run_stop"
    state = json.loads(next((tmp_path / "run" / "checkpoint").glob("step-*/index.json")).read_text())
    step = int(re.search(r'"step":\s*(\d+)', json.dumps(state)).group(1))

    both, _ = train(f"--training.steps={step + 2}")
    second = both[len(first) :]
    assert both[: len(first)] == first
    assert keys(second)[: len(SETUP)] == SETUP
    (evaluation,) = [event for event in second if event["key"] == "eval_start"]
    assert evaluation["metadata"]["samples_count"] == (step + 2) * 16
    assert not checker(log_path, "6.1.0")[0]  # two runs are not a submission


def test_a_full_disk_ends_the_run_and_a_lost_stdout_does_not(program, emoji, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mlperf_compliance.log").symlink_to("/dev/full")
    command = [program, *arguments(tmp_path / "run", emoji, *SHORT)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | QUIET)
    assert result.returncode == 5 and "mlperf_compliance.log] expected room" in result.stderr
    with open("/dev/full", "w") as full:
        command = [program, *arguments(tmp_path / "other", emoji, *SHORT)]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300, env=os.environ | QUIET)
    assert result.returncode == 0 and "standard output takes no more" in result.stderr
    assert stops(events((tmp_path / "other" / "mlperf_compliance.log").read_text())) == ["aborted"]


def test_an_older_log_in_the_folder_is_kept(train, tmp_path):
    first, _ = train(*SHORT, "--checkpoint.no_enable")
    second, _ = train(*SHORT, "--checkpoint.no_enable")
    assert events((tmp_path / "run" / "mlperf_compliance.1.log").read_text()) == first != second
    assert keys(second).count("run_start") == 1


# Logs that are not in order: the checker is a judge of ours only if it would notice.


def without(key):
    return lambda log: [event for event in log if event["key"] != key]


def changed(key, new=None, **metadata):
    def change(log):
        for event in log:
            if event["key"] == key:
                event["metadata"] |= metadata
                if new is not None:
                    event["value"] = new
        return log

    return change


def swapped(first, second):
    def swap(log):
        a, b = keys(log).index(first), keys(log).index(second)
        log[a], log[b] = log[b], log[a]
        return log

    return swap


def stripped(key, field):
    def strip(log):
        for event in log:
            if event["key"] == key:
                del event["metadata"][field]
        return log

    return strip


def repeated(key, new):
    return lambda log: log + [dict(next(event for event in log if event["key"] == key), value=new)]


def half_an_hour_of_initialising(log):
    for event in log[keys(log).index("init_stop") :]:
        event["time_ms"] += 30 * 60 * 1000
    return log


MUTATIONS = {
    **{f"no {key}": without(key) for key in (
        "cache_clear", "submission_org", "submission_division", "submission_benchmark", "train_samples", "opt_adamw_beta_2", "config_filename", "init_start", "init_stop",
        "run_start", "eval_accuracy", "run_stop")},
    "run_start before init_stop": swapped("init_stop", "run_start"),
    "init_start after run_start": swapped("init_start", "run_start"),
    "run_stop before run_start": swapped("run_start", "run_stop"),
    "loss above the target": changed("eval_accuracy", 0.5861),
    "loss of zero": changed("eval_accuracy", 0.0),
    "wrong beta": changed("opt_adamw_beta_1", 0.95),
    "wrong clipping": changed("opt_gradient_clip_norm", 2.0),
    "another optimizer": changed("opt_name", "adam"),
    "evaluated more often": changed("evaluation_frequency", 131072),
    "negative samples": changed("block_start", samples_count=-16),
    "evaluation without samples_count": stripped("eval_accuracy", "samples_count"),
    "end without status": stripped("run_stop", "status"),
    "two learning rates": repeated("opt_base_learning_rate", 1e-4),
    "no organisation": changed("submission_org", ""),
    "too long before the run": half_an_hour_of_initialising,
}  # fmt: skip


def test_the_checker_notices_what_is_wrong(closed_log, tmp_path):
    from mlperf_logging.compliance_checker import mlp_compliance

    def accepts(text):
        path = tmp_path / "mutated.log"
        path.write_text(text)
        judge = mlp_compliance.make_checker("training", "6.1.0", quiet=True, werror=False)
        return mlp_compliance.main(path, "training_6.1.0/common.yaml", judge)[0]

    original = (closed_log / "mlperf_compliance.log").read_text()
    write = lambda log: "".join(":::MLLOG " + json.dumps(event) + "\n" for event in log)
    assert accepts(original) and write(events(original)) == original  # to the byte what Python's logger would write
    assert [name for name, mutate in MUTATIONS.items() if accepts(write(mutate(events(original))))] == []
    assert not accepts(original[:-30])  # a torn line
