"""The options of the command lines that users of the MLPerf reference, of its ROCm fork and of the Slurm cookbooks have in
their scripts, as they stand there: accepted by `millrace train`, with the value that they ask for."""

import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]
THEIR_CONFIG = Path(__file__).with_name("mlperf") / "flux_schnell_mlperf.toml"
CONFIGS = [ROOT / "configs" / "flux_schnell_mlperf.toml", THEIR_CONFIG]


def ranks(count, per_node):
    """The environment of rank 0 of so many."""
    return {
        "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": per_node, "RANK": 0, "LOCAL_RANK": 0, "MASTER_ADDR": "localhost", "MASTER_PORT": 1,
    }  # fmt: skip


def show(millrace, config, *overrides, count=1, per_node=8):
    """The resolved configuration, and what was said of it."""
    result = millrace("train", config, *overrides, "--show-config", env=ranks(count, min(count, per_node)))
    return tomllib.loads(result.stdout), result.stderr


def value(config, name):
    section, key = name.split(".")
    return config[section][key]


PREPROCESSED = {
    "training.dataset": "cc12m_preprocessed", "training.dataset_path": "/dataset/cc12m_preprocessed/*",
    "validation.dataset": "coco_preprocessed", "validation.dataset_path": "/dataset/coco_preprocessed/*",
    "encoder.autoencoder_path": "", "encoder.t5_encoder": "", "encoder.clip_encoder": "",
}  # fmt: skip

COMMANDS = {
    # Basic and longer runs
    "--training.batch_size=1 --training.seed=1234": {"training.local_batch_size": 1, "training.seed": 1234},
    "--training.batch_size=16 --training.seed=1234": {"training.local_batch_size": 16, "training.seed": 1234},
    "--training.steps=1000": {"training.steps": 1000},
    "--optimizer.lr=1e-3": {"optimizer.lr": 1e-3},
    "--training.mixed_precision_param=float32": {"training.mixed_precision_param": "float32"},
    "--checkpoint.enable_checkpoint": {"checkpoint.enable": True},
    "--checkpoint.no_enable_checkpoint": {"checkpoint.enable": False},
    "--checkpoint.enable_checkpoint --checkpoint.interval=1000": {"checkpoint.enable": True, "checkpoint.interval": 1000},
    "--checkpoint.interval=5": {"checkpoint.interval": 5},
    "--eval.dataset=": {"validation.dataset": "", "validation.enable": False},
    "--encoder.t5_encoder=": {"encoder.t5_encoder": ""},
    "--training.dataset_path=/dataset/mine --eval.dataset_path=/dataset/theirs": {
        "training.dataset_path": "/dataset/mine", "validation.dataset_path": "/dataset/theirs",
    },
    # What switches to preprocessed data, said as options
    "--training.dataset=cc12m_preprocessed --training.dataset_path=/dataset/cc12m_preprocessed/* "
    "--eval.dataset=coco_preprocessed --eval.dataset_path=/dataset/coco_preprocessed/* "
    "--encoder.autoencoder_path= --encoder.t5_encoder= --encoder.clip_encoder=": PREPROCESSED,
    # Preprocessing, whose options are read as a run's are
    "--training.dataset_path=/dataset/cc12m_disk --training.dataset=cc12m_disk --eval.dataset= --training.batch_size=256 "
    "--preprocessing.output_dataset_path=/dataset/cc12m_preprocessed": {
        "training.dataset": "cc12m_disk", "training.dataset_path": "/dataset/cc12m_disk", "training.local_batch_size": 256,
        "validation.enable": False,
    },
    "--training.dataset=coco --training.dataset_path=/dataset/coco --eval.dataset= --training.batch_size=128 "
    "--preprocessing.output_dataset_path=/dataset/coco_preprocessed": {
        "training.dataset": "coco", "training.dataset_path": "/dataset/coco", "training.local_batch_size": 128,
    },
    # Added by the benchmark's job script
    "--job.dump_folder=/logdir --metrics.enable_tensorboard --checkpoint.folder=checkpoint": {
        "job.dump_folder": "/logdir", "metrics.enable_tensorboard": True, "checkpoint.folder": "checkpoint",
    },
    # The profiler of the Slurm cookbook
    "--profiling.enable_profiling --profiling.wait_steps=5 --profiling.warmup_steps=3 --profiling.active_steps=20 "
    "--profiling.num_cycles=1": {
        "profiling.enable_profiling": True, "profiling.wait_steps": 5, "profiling.warmup_steps": 3,
        "profiling.active_steps": 20, "profiling.num_cycles": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split("=")[0].lstrip("-") + f"~{len(command)}")
@pytest.mark.parametrize("config", CONFIGS, ids=["ours", "theirs"])
def test_options_have_the_value_that_they_ask_for(millrace, config, command):
    shown, _ = show(millrace, config, *command.split())
    expected = COMMANDS[command]
    assert {name: value(shown, name) for name in expected} == expected


@pytest.mark.parametrize("config", CONFIGS, ids=["ours", "theirs"])
def test_hsdp_over_nodes(millrace, config):
    shown, _ = show(millrace, config, "--parallelism.data_parallel_replicate_degree=2", count=16)
    assert (value(shown, "parallelism.data_parallel_replicate_degree"), value(shown, "parallelism.data_parallel_shard_degree")) == (2, -1)
    words = ["--parallelism.data_parallel_replicate_degree=4", "--parallelism.data_parallel_shard_degree=4", "--training.seed=7"]
    shown, _ = show(millrace, config, *words, count=16, per_node=4)
    assert value(shown, "parallelism.data_parallel_shard_degree") == 4


def test_an_option_without_meaning_here_is_accepted_and_says_so(millrace):
    config = CONFIGS[0]
    plain, _ = show(millrace, config)
    shown, said = show(millrace, config, "--training.compile")
    assert shown == plain
    assert "[--training.compile] training.compile has no effect: nothing is compiled at run time" in said
    shown, said = show(millrace, config, "--preprocessing.output_dataset_path=/dataset/coco_preprocessed")
    assert shown == plain
    assert "preprocessing.output_dataset_path has no effect: it belongs to preparing data" in said


def test_their_file_with_all_of_it_at_once(millrace):
    words = "--training.batch_size=32 --training.compile --checkpoint.enable_checkpoint --checkpoint.interval=1000 --training.seed=11"
    shown, _ = show(millrace, THEIR_CONFIG, *words.split(), "--parallelism.data_parallel_replicate_degree=4", count=16, per_node=4)
    assert value(shown, "validation.enable") is True and value(shown, "validation.freq_samples") == 262144
    assert value(shown, "training.classifier_free_guidance_prob") == 0.1  # classifer_..., as they spell it
    assert value(shown, "checkpoint.interval") == 1000
