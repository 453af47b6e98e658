"""Frozen weights stay in their file, which the system maps: a run is as safe as the file."""

import os
import shutil
import subprocess
import time

from llama_runs import BASE, COMMON, LORA, SHORT, arguments, empty_config


def test_a_file_that_is_shortened_under_a_run_is_named(program, tmp_path):
    base = shutil.copytree(BASE, tmp_path / "base")
    shard = base / "model-00001-of-00002.safetensors"
    run = tmp_path / "run"
    # In another dtype than the file's nothing would be mapped.
    options = COMMON | SHORT | LORA | {"training.mixed_precision_param": "float32", "checkpoint.initial_load_path": base}
    options |= {"training.steps": 100_000, "checkpoint.interval": 5}
    command = [program, "train", empty_config(tmp_path), *arguments(options | {"job.dump_folder": run})]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not list((run / "checkpoint").glob("step-*")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        os.truncate(shard, 0)
        error = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    assert process.returncode == 5
    assert f"[{shard}] expected a file that stays as it is while this program uses it" in error
