"""What the job script makes of its variables and arguments: DRY_RUN=1 prints the line that would start the ranks."""

import os
import shlex
import subprocess

import pytest
from slurm.jobs import ROOT, SCRIPT

pytestmark = pytest.mark.fast


@pytest.fixture
def dry_run(program, tmp_path):
    def run(*arguments, status=0, **variables):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        environment |= {"DRY_RUN": "1", "MILLRACE": str(program), "LOGDIR": "/logs/run", **variables}
        environment = {name: value for name, value in environment.items() if value is not None}
        result = subprocess.run([SCRIPT, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert result.returncode == status, result.stdout + result.stderr
        return shlex.split(result.stdout) if status == 0 else result.stdout + result.stderr

    return run


def after(words, first):
    """The words that follow `first`."""
    return words[words.index(first) + 1 :]


def test_one_task_per_gpu_and_hsdp(dry_run, program):
    words = dry_run("--training.steps=7", "--job.description=two words", SLURM_JOB_NUM_NODES="4", NGPU="2", DATAROOT="/d", MODELROOT="/m")
    assert words[0] == "srun"
    assert {"--nodes=4", "--ntasks=8", "--ntasks-per-node=2", "--distribution=block", "--kill-on-bad-exit=0"} <= set(words)
    train = after(words, str(program))
    assert train[:2] == ["train", str(ROOT / "configs" / "flux_schnell_mlperf.toml")]
    assert "--job.dump_folder=/logs/run" in train
    assert "--parallelism.data_parallel_replicate_degree=4" in train
    # What the user says comes last, and so counts.
    assert train[-2:] == ["--training.steps=7", "--job.description=two words"]


def test_the_gpus_of_the_allocation(dry_run):
    words = dry_run(SLURM_GPUS_ON_NODE="4", SLURM_CPUS_ON_NODE="32", DATAROOT="/d", MODELROOT="/m")
    assert {"--ntasks-per-node=4", "--cpus-per-task=8", "--gpu-bind=none"} <= set(words)


def test_folders_of_data_and_models(dry_run):
    """The MLPerf configuration names /dataset and /models; what the user names stays."""
    words = dry_run("--validation.dataset_path=/dataset/mine", DATAROOT="/big disk/data", MODELROOT="/m")
    assert "--training.dataset_path=/big disk/data/cc12m_disk" in words
    assert "--encoder.t5_encoder=/m/t5" in words and "--encoder.autoencoder_path=/m/autoencoder/ae.safetensors" in words
    assert words[-1] == "--validation.dataset_path=/dataset/mine"


def test_a_missing_folder_is_named(dry_run):
    assert "[DATAROOT] expected the folder of the data sets" in dry_run(status=2, MODELROOT="/m")
    assert "[MODELROOT] expected the folder of the models" in dry_run(status=2, DATAROOT="/d")


def test_variables_become_options(dry_run):
    variables = {"SEED": "11", "ENABLE_CHECKPOINTING": "True", "ENABLE_TB": "1", "LOG_RANK": "3"}
    words = dry_run(CONFIG_FILE=str(ROOT / "configs" / "tiny.toml"), **variables)
    options = {"--training.seed=11", "--checkpoint.enable", "--metrics.enable_tensorboard", "--metrics.save_for_all_ranks"}
    assert options <= set(words)
    words = dry_run(CONFIG_FILE=str(ROOT / "configs" / "tiny.toml"), ENABLE_CHECKPOINTING="False", ENABLE_TB="no")
    assert {"--checkpoint.no_enable", "--metrics.no_enable_tensorboard"} <= set(words)
    assert not any(word.startswith("--training.seed") for word in words)


def test_a_container(dry_run):
    words = dry_run(CONT="/images/flux.sqsh", MILLRACE=None, DATAROOT="/d", MODELROOT="/m", EXTRA_MOUNTS="/a:/b")
    assert "--container-image=/images/flux.sqsh" in words
    assert f"--container-mounts=/logs/run:/logdir,/d:/dataset,/m:/models,{ROOT}/configs:/config,/a:/b" in words
    train = after(words, "millrace")
    assert train[:3] == ["train", "/config/flux_schnell_mlperf.toml", "--job.dump_folder=/logdir"]


@pytest.mark.parametrize(
    "variables, message",
    [
        ({"NGPU": "eight"}, "[NGPU] expected a whole number of at least 1, got eight"),
        ({"SEED": "-1"}, "[SEED] expected a whole number of at least 0, got -1"),
        ({"ENABLE_TB": "maybe"}, "[ENABLE_TB] expected True or False, got maybe"),
        ({"CONFIG_FILE": "none.toml"}, "[CONFIG_FILE] expected a configuration, got none.toml"),
        ({"MILLRACE": "/nowhere"}, "[MILLRACE] expected the program, got /nowhere"),
    ],
)
def test_wrong_variables_are_named(dry_run, variables, message):
    assert message in dry_run(status=2, **variables)


def test_wrong_options_end_the_job_before_it_starts(dry_run):
    config = str(ROOT / "configs" / "tiny.toml")
    assert "--training.steps" in dry_run("--trainnig.steps=4", status=2, CONFIG_FILE=config)
    message = dry_run("--parallelism.data_parallel_replicate_degree=3", status=2, CONFIG_FILE=config, NGPU="2")
    assert "data_parallel_replicate_degree" in message
