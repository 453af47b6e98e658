"""The small twins of the benchmark's configurations: they validate as those do, on pictures that a laptop makes."""

import json
import math
import tomllib
from pathlib import Path

import pytest

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RAW, PREPROCESSED = "flux_schnell_mlperf", "flux_schnell_mlperf_preprocessed"
QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


@pytest.mark.parametrize("name", [RAW, PREPROCESSED])
def test_has_the_keys_of_eval_that_the_large_one_has(name):
    large, small = (tomllib.loads((CONFIGS / f"{name}{suffix}.toml").read_text())["eval"] for suffix in ("", "_laptop"))
    # The large ones may leave the place to the kind of data.
    assert small.keys() == large.keys() | {"dataset_path"}
    assert small["target_eval_loss"] == large["target_eval_loss"]


def test_train_and_validate(millrace, emoji_set, tmp_path):
    """The commands at the head of the two files, shortened; eight pictures are the two batches that a validation takes."""
    short = ("--training.local_batch_size=4", "--eval.batch_size=4", "--eval.eval_freq=40")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "emoji64").symlink_to(emoji_set(8, size=64))
    raw, preprocessed = (CONFIGS / f"{name}_laptop.toml" for name in (RAW, PREPROCESSED))
    millrace("train", raw, *short, "--training.steps=1", "--eval.denoising_steps=1", env=QUIET)
    millrace("prepare", "encode", raw, "--output", "data/emoji64_preprocessed", env=QUIET)
    millrace("prepare", "empty-encodings", raw, "--output", "data/empty_encodings", env=QUIET)
    millrace("train", preprocessed, *short, "--training.steps=11", env=QUIET)
    for path, steps in ((raw, [1]), (preprocessed, [10, 11])):  # every 40 samples, and at the end
        folder = tmp_path / "outputs" / path.stem
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        entries = [entry for entry in map(json.loads, lines) if "validation_loss" in entry]
        assert [entry["step"] for entry in entries] == steps
        assert all(entry["validation_samples"] == 8 and math.isfinite(entry["validation_loss"]) for entry in entries)
    assert (tmp_path / "outputs" / raw.stem / "img" / "step-00000001.png").exists()
