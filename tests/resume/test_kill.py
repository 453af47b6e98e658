"""Whatever ends a run, the same command goes on with it, and the weights at the end are bit for bit the same."""

import json
import random
import resource
import signal
import subprocess
import time

import pytest
import xxhash
from runs import (
    LAST_STEP,
    assert_same_end,
    checkpoints,
    contents,
    finish,
    output,
    start,
    step_of,
    wait_for_steps,
)

NUM_KILLS = 12


@pytest.fixture(scope="module")
def reference(program, write_config, tmp_path_factory):
    """The undisturbed run: its configuration, and how long it took."""
    config = write_config(tmp_path_factory.mktemp("reference"))
    begin = time.monotonic()
    finish(start(program, config), config)
    return config, time.monotonic() - begin


def test_killed_at_random_moments(program, write_config, tmp_path, reference):
    reference_config, duration = reference
    config = write_config(tmp_path)
    generator = random.Random(1)
    kills, latest = 0, -1
    while True:
        process = start(program, config)
        if kills < NUM_KILLS:
            try:
                process.wait(timeout=generator.uniform(0, duration))
            except subprocess.TimeoutExpired:
                process.kill()
                assert process.wait() == -signal.SIGKILL
                kills += 1
                steps = [step_of(path) for path in checkpoints(config)]
                assert max(steps, default=-1) >= latest, "a checkpoint was lost"
                latest = max(steps, default=-1)
                continue
        finish(process, config)
        break
    assert kills > 0
    assert_same_end(config, reference_config)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal(program, write_config, tmp_path, reference, which):
    """A checkpoint of the step that was under way, exit status 75; then the same command ends the run."""
    config = write_config(tmp_path)
    process = start(program, config, "--checkpoint.interval=1000")
    wait_for_steps(process, config, 17)
    process.send_signal(which)
    finish(process, config, status=75, timeout=30)
    assert len(checkpoints(config)) == 1
    assert 17 <= step_of(checkpoints(config)[0]) < LAST_STEP
    finish(start(program, config, "--checkpoint.interval=1000"), config)
    assert_same_end(config, reference[0])


def test_a_second_signal_leaves_at_once(program, write_config, tmp_path, reference):
    config = write_config(tmp_path)
    process = start(program, config)
    wait_for_steps(process, config, 25)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) != 0
    finish(start(program, config), config)
    assert_same_end(config, reference[0])


def test_going_back_with_load_step(program, write_config, tmp_path, reference):
    config = write_config(tmp_path)
    finish(start(program, config, "--checkpoint.keep_latest_k=0"), config)
    finish(start(program, config, "--checkpoint.load_step=50", "--checkpoint.keep_latest_k=0"), config)
    assert_same_end(config, reference[0])


def test_a_damaged_checkpoint_is_named_and_refused(program, write_config, tmp_path, reference):
    config = write_config(tmp_path)
    process = start(program, config)
    wait_for_steps(process, config, 55)
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
    assert_same_end(config, reference[0])


def test_another_model_is_refused(program, write_config, tmp_path):
    config = write_config(tmp_path)
    finish(start(program, config, "--training.steps=10", "--checkpoint.interval=10"), config)
    finish(start(program, config, "--model.hidden_size=128"), config, status=4)
    assert "wanted" in output(config)


def test_a_disk_that_takes_no_more_ends_the_run_with_the_older_checkpoint(program, write_config, tmp_path, reference):
    config = write_config(tmp_path)
    finish(start(program, config, "--training.steps=20", "--lr_scheduler.total_steps=120"), config)
    before = contents(checkpoints(config)[-1])

    def limit_file_size():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))

    finish(start(program, config, preexec_fn=limit_file_size), config, status=5)
    assert step_of(checkpoints(config)[-1]) == 20
    assert contents(checkpoints(config)[-1]) == before
    assert not list((config.parent / "run" / "checkpoint").glob(".tmp-*"))
    finish(start(program, config), config)
    assert_same_end(config, reference[0])


def test_the_format_is_what_the_documentation_says(reference):
    """docs/checkpoints.md, followed with Python's JSON, safetensors and xxHash."""
    for checkpoint in checkpoints(reference[0]):
        index = json.loads((checkpoint / "index.json").read_text())
        assert index["format"] == "millrace checkpoint" and index["format_version"] == 1
        assert index["step"] == step_of(checkpoint)
        stated = index.pop("checksum")
        compact = json.dumps(index, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
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
