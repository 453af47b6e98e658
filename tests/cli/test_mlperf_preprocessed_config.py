"""Our configuration for MLPerf's preprocessed data beside the reference's own file of that name."""

import re
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]
NAME = "flux_schnell_mlperf_preprocessed.toml"
THEIRS = Path(__file__).with_name("mlperf") / NAME
OURS = ROOT / "configs" / NAME


def show(millrace, path):
    result = millrace("train", path, "--show-config")
    return tomllib.loads(result.stdout), result.stderr


def test_our_preprocessed_mlperf_configuration_is_theirs(millrace):
    theirs, _ = show(millrace, THEIRS)
    ours, said = show(millrace, OURS)
    assert said == ""
    # The reference's dead key: encoded validation data has no captions to draw, here no more than there.
    assert theirs["validation"].pop("save_img_folder") == "img"
    assert ours["validation"].pop("save_img_folder") == ""
    # Where each kind of data is expected anyway: said or not, it is the same.
    for section, place in {"training": "/dataset/cc12m_preprocessed", "validation": "/dataset/coco_preprocessed"}.items():
        assert {theirs[section].pop("dataset_path"), ours[section].pop("dataset_path")} <= {"", place}
    # What the reference leaves to its code: bfloat16, the batch of 16, the epsilon.
    left_to_code = {
        ("training", "mixed_precision_param"): "bfloat16",
        ("validation", "local_batch_size"): 16,
        ("model", "qk_norm_eps"): 1.1920929e-7,
    }
    for (section, key), expected in left_to_code.items():
        theirs[section].pop(key)
        assert ours[section].pop(key) == expected
    assert ours == theirs


def test_the_reference_file_reads_encodings_and_nothing_else(millrace):
    """Its empty paths name no encoders: a run from it must not look for any."""
    config, _ = show(millrace, THEIRS)
    assert [config["encoder"][key] for key in ("t5_encoder", "clip_encoder", "autoencoder_path")] == ["", "", ""]
    assert config["encoder"]["empty_encodings_path"] == "/dataset/empty_encodings"
    validation = config["validation"]
    assert validation["enable"] and validation["dataset"] == "coco_preprocessed"
    assert validation["freq_samples"] == 262144 and validation["target_loss"] == 0.586
    # The first thing that is missing is the data, wherever it is looked for.
    complaint = millrace("train", THEIRS, "--training.dataset_path=/none/of/it", status=3).stderr
    assert "[/none/of/it] expected tar shards or Arrow files" in complaint


def test_ours_leaves_out_what_its_first_lines_name():
    """A key of theirs that is not in our file either has no effect here, and is named, or was forgotten."""
    with THEIRS.open("rb") as theirs, OURS.open("rb") as ours:
        theirs, ours = tomllib.load(theirs), tomllib.load(ours)
    left_out = {key for section in theirs for key in theirs[section] if key not in ours.get(section, {})}
    head = OURS.read_text().split("[job]")[0]
    snapshots = {"enable_memory_snapshot", "save_memory_snapshot_folder"}
    assert snapshots < left_out and "the memory snapshots" in head
    assert [key for key in left_out - snapshots if not re.search(rf"\b{key}\b", head)] == []
    for section, values in ours.items():
        for key, value in values.items():
            assert theirs.get(section, {}).get(key, value) == value, f"{section}.{key}"
