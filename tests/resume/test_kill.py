"""Whatever ends a run, the same command resumes it, and the final weights are bit for bit the same."""

import json
import os
import random
import resource
import signal
import time

import pytest
import xxhash
from resume.runs import (
    LAST_STEP,
    assert_same_end,
    checkpoints,
    contents,
    finish,
    metrics,
    output,
    start,
    step_of,
    stop_midway,
    wait_for_step,
)

pytestmark = pytest.mark.slow

NUM_KILLS = int(os.environ.get("MILLRACE_KILLS", 3))  # more for long tests
SEED = int(os.environ.get("MILLRACE_KILL_SEED", 1))  # of the moments; other ones for long tests


ROUNDED_STEPS = 120  # slow ones
BFLOAT16 = ["--training.dtype=bfloat16", "--training.mixed_precision_param=bfloat16", "--optimizer.stochastic_rounding",
            f"--training.steps={ROUNDED_STEPS}"]  # fmt: skip


@pytest.fixture(scope="module")
def reference(program, write_config, tmp_path_factory):
    """The configuration of the undisturbed run, done."""
    config = write_config(tmp_path_factory.mktemp("reference"))
    finish(start(program, config), config)
    return config


def test_killed_at_random_moments(program, write_config, tmp_path, reference):
    """In start-up and loading, between steps, while a checkpoint is written, while an old one is deleted."""
    config = write_config(tmp_path)
    generator = random.Random(SEED)
    latest = 0
    for kill in range(NUM_KILLS):
        before = metrics(config)
        process = start(program, config)
        if kill % 3 > 0:  # every third dies in its first second, whatever it does then
            wait_for_step(process, config, min(latest + generator.randint(1, 40), LAST_STEP - 10), before)
        time.sleep(generator.uniform(0, 0.5 if kill % 3 == 0 else 0.05))
        process.kill()
        assert process.wait() in (-signal.SIGKILL, 0)
        now = max((step_of(path) for path in checkpoints(config)), default=0)
        assert now >= latest, "a checkpoint was lost"
        latest = now
    finish(start(program, config), config)
    assert_same_end(config, reference)


@pytest.mark.parametrize("accumulates", [False, True])
def test_killed_with_stochastic_rounding(program, write_config, tmp_path, accumulates):
    """Weights in bfloat16 alone: the random numbers of the rounding continue, too, and those of the gradients' sums."""
    options = [*BFLOAT16, *(["--training.local_batch_size=1", "--training.global_batch_size=2"] if accumulates else [])]
    undisturbed, config = write_config(tmp_path / "undisturbed"), write_config(tmp_path / "killed")
    finish(start(program, undisturbed, *options), undisturbed)
    process = start(program, config, *options)
    wait_for_step(process, config, 57)
    process.kill()
    process.wait()
    finish(start(program, config, *options), config)
    assert_same_end(config, undisturbed, ROUNDED_STEPS)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal(program, write_config, tmp_path, reference, which):
    """A checkpoint of the step that was under way, exit status 75; then the same command ends the run."""
    config = write_config(tmp_path)
    assert stop_midway(program, config, 17, [which], "--checkpoint.interval=1000") == 75, output(config)[-4000:]
    assert len(checkpoints(config)) == 1
    assert 17 <= step_of(checkpoints(config)[0]) < LAST_STEP
    finish(start(program, config, "--checkpoint.interval=1000"), config)
    assert_same_end(config, reference)


def test_a_second_signal_leaves_at_once(program, write_config, tmp_path, reference):
    config = write_config(tmp_path)
    stop_midway(program, config, 25, [signal.SIGTERM, signal.SIGINT])
    finish(start(program, config), config)
    assert_same_end(config, reference)


def test_going_back_with_load_step(program, write_config, tmp_path, reference):
    config = write_config(tmp_path)
    finish(start(program, config, "--checkpoint.keep_latest_k=0"), config)
    finish(start(program, config, "--checkpoint.load_step=50", "--checkpoint.keep_latest_k=0"), config)
    assert_same_end(config, reference)


def test_a_damaged_checkpoint_is_named_and_refused(program, write_config, tmp_path, reference):
    config = write_config(tmp_path)
    process = start(program, config)
    wait_for_step(process, config, 55)
    process.kill()
    process.wait()
    older, latest = checkpoints(config)[-2:]
    shard = latest / "rank-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-100] ^= 4
    shard.write_bytes(content)
    finish(start(program, config), config, status=5)
    assert "rank-00000.safetensors" in output(config)
    go_back = f"--checkpoint.load_step={step_of(older)}"
    assert go_back in output(config)
    finish(start(program, config, go_back), config)
    assert_same_end(config, reference)


def test_another_model_is_refused(program, write_config, tmp_path):
    config = write_config(tmp_path)
    finish(start(program, config, "--training.steps=10", "--checkpoint.interval=10"), config)
    finish(start(program, config, "--model.hidden_size=128"), config, status=4)
    assert "wanted" in output(config)


def test_a_disk_that_takes_no_more_ends_the_run_with_the_older_checkpoint(program, write_config, tmp_path, reference):
    config = write_config(tmp_path)
    finish(start(program, config, "--training.steps=20", f"--lr_scheduler.total_steps={LAST_STEP}"), config)
    before = contents(checkpoints(config)[-1])

    def limit_file_size():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))

    finish(start(program, config, preexec_fn=limit_file_size), config, status=5)
    assert step_of(checkpoints(config)[-1]) == 20
    assert contents(checkpoints(config)[-1]) == before
    assert not list((config.parent / "run" / "checkpoint").glob(".tmp-*"))
    finish(start(program, config), config)
    assert_same_end(config, reference)


def test_the_format_is_what_the_documentation_says(reference):
    """docs/checkpoints.md, followed with Python's JSON, safetensors and xxHash."""
    for checkpoint in checkpoints(reference):
        index = json.loads((checkpoint / "index.json").read_text())
        assert index["format"] == "millrace checkpoint" and index["format_version"] == 1
        assert index["step"] == step_of(checkpoint)
        stated = index.pop("checksum")
        compact = json.dumps(index, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert xxhash.xxh64_hexdigest(compact) == stated
        for name, entry in index["files"].items():
            content = (checkpoint / name).read_bytes()
            assert len(content) == entry["size"]
            header_size = 8 + int.from_bytes(content[:8], "little")
            assert xxhash.xxh64_hexdigest(content[:header_size]) == entry["header_checksum"]
        tensors = contents(checkpoint)
        assert tensors.keys() == index["tensors"].keys()
        for name, entry in index["tensors"].items():
            (piece,) = entry["pieces"]
            assert piece["offset"] == 0 and piece["shape"] == entry["shape"] == list(tensors[name][1])
            assert xxhash.xxh64_hexdigest(tensors[name][2]) == piece["checksum"]
