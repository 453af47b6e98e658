"""scripts/slurm/run.sub: the variables and defaults of the MLPerf benchmark's script of this name."""

import os
import shlex
import subprocess

import pytest
from slurm.jobs import ROOT, Job

pytestmark = pytest.mark.fast

RUN_SUB = ROOT / "scripts" / "slurm" / "run.sub"
RUN_BAREMETAL = RUN_SUB.with_name("run_baremetal.sub")
TINY = str(ROOT / "configs" / "tiny.toml")
THEIR_CONFIG = ROOT / "tests" / "cli" / "mlperf" / "flux_schnell_mlperf.toml"


@pytest.fixture
def dry_run(program, tmp_path):
    """The words of the srun line; the words that name options of `millrace train`; what was said beside it."""

    def run(*arguments, status=0, script=RUN_SUB, **variables):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        environment |= {"DRY_RUN": "1", "MILLRACE": str(program), "LOGDIR": "/logs/run", "SLURM_JOB_NUM_NODES": "2", "NGPU": "8"}
        environment |= {"DATAROOT": "/big data", "MODELROOT": "/models dir"} | variables
        environment = {name: value for name, value in environment.items() if value is not None}
        result = subprocess.run([script, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert result.returncode == status, result.stdout + result.stderr
        return shlex.split(result.stdout) if status == 0 else result.stdout + result.stderr

    return run


def test_the_defaults_are_the_benchmarks(dry_run):
    words = dry_run("--checkpoint.interval=5")
    assert {"--nodes=2", "--ntasks=16", "--ntasks-per-node=8"} <= set(words)
    expected = {
        "--checkpoint.no_enable", "--metrics.no_enable_tensorboard", "--job.dump_folder=/logs/run",
        "--parallelism.data_parallel_replicate_degree=2", "--parallelism.data_parallel_shard_degree=-1",
        "--training.dataset_path=/big data/cc12m_disk", "--encoder.t5_encoder=/models dir/t5",
    }  # fmt: skip
    assert expected <= set(words)
    assert words[-1] == "--checkpoint.interval=5"
    assert any(word.startswith("--training.seed=") for word in words)


def test_variables_become_options(dry_run):
    words = dry_run(SEED="77", ENABLE_TB="True", ENABLE_CHECKPOINTING="True")
    assert {"--training.seed=77", "--metrics.enable_tensorboard", "--checkpoint.enable", "--checkpoint.interval=1000"} <= set(words)
    assert "[ENABLE_CHECKPOINTING] expected True or False" in dry_run(status=2, ENABLE_CHECKPOINTING="often")


def test_a_job_keeps_its_seed_and_another_job_has_another(dry_run):
    seeds = [[word for word in dry_run(SLURM_JOB_ID=None, SEED=seed) if "training.seed" in word] for seed in ("", "")]
    assert len(seeds[0]) == 1 and seeds[0] != seeds[1]  # equal once in 32768


def test_a_path_in_a_checkout_of_the_reference(dry_run):
    """The README's CONFIG_FILE, and its CONFIG, stand for our file of the same name; a real file is taken as it is."""
    reference = "torchtitan/experiments/flux/train_configs/flux_schnell_mlperf_preprocessed.toml"
    for name in ("CONFIG_FILE", "CONFIG"):
        words = dry_run(**{name: reference})
        assert str(ROOT / "configs" / "flux_schnell_mlperf_preprocessed.toml") in words
        assert "--training.dataset_path=/big data/cc12m_preprocessed" in words
    assert "[CONFIG_FILE] expected a configuration, got nowhere.toml" in dry_run(status=2, CONFIG_FILE="nowhere.toml")


def test_the_rocm_forks_script(dry_run):
    """`sbatch --nodes=4 --gpus-per-node=4 run_baremetal.sub --training.batch_size=32`, which has no MODELROOT."""
    words = dry_run("--training.batch_size=32", script=RUN_BAREMETAL, MODELROOT=None, NGPU="4")
    assert str(ROOT / "configs" / "flux_schnell_mlperf_preprocessed.toml") in words
    assert {"--training.seed=1234", "--training.dataset_path=/big data/cc12m_preprocessed", "--ntasks-per-node=4"} <= set(words)
    assert words[-1] == "--training.batch_size=32"
    words = dry_run(script=RUN_BAREMETAL, SEED="7", CONFIG_FILE=str(THEIR_CONFIG))
    assert {"--training.seed=7", "--training.dataset_path=/big data/cc12m_disk"} <= set(words)


def test_their_own_file_names_data_sets_without_paths(dry_run):
    words = dry_run(CONFIG_FILE=str(THEIR_CONFIG))
    assert {"--training.dataset_path=/big data/cc12m_disk", "--validation.dataset_path=/big data/coco"} <= set(words)
    words = dry_run("--eval.dataset=", "--training.dataset=cc12m_preprocessed", CONFIG_FILE=str(THEIR_CONFIG))
    assert {"--training.dataset_path=/big data/cc12m_preprocessed", "--encoder.empty_encodings_path=/big data/empty_encodings"} <= set(words)
    assert not any(word.startswith("--validation.dataset_path") for word in words)


def test_a_container_and_the_current_folder(dry_run, tmp_path):
    words = dry_run(CONT="image:tag", MILLRACE=None, MOUNT_CURRENT_DIR="True")
    assert "--container-image=image:tag" in words
    (mounts,) = [word for word in words if word.startswith("--container-mounts=")]
    assert {"/big data:/dataset", "/models dir:/models", f"{tmp_path}:/workspace/flux"} <= set(mounts.partition("=")[2].split(","))
    assert "--job.dump_folder=/logdir" in words


@pytest.mark.slow
def test_a_job(nodes, program, workplace, tmp_path):
    """`sbatch -N 2 -t 10 run.sub --checkpoint.interval=5`, with checkpoints switched on by the variable."""
    environment = {
        "MILLRACE": str(program), "CONFIG_FILE": TINY, "LOGDIR": str(tmp_path / "run"), "NGPU": "1", "STEP_WAIT": "5", "SEED": "9",
        "ENABLE_CHECKPOINTING": "True",
    }  # fmt: skip
    words = ("--checkpoint.interval=5", "--training.steps=10", "--sample.every_steps=0")
    command = ("sbatch", "--parsable", "-N", "2", "-t", "10", RUN_SUB, *words)
    job = Job(nodes, nodes.command(*command, environment=environment, cwd=workplace), tmp_path / "run")
    output = job.wait_for_end()
    assert "rank 0 of 2 (slurm, host n1), dp_replicate 2 x dp_shard 1 x tp 1" in output
    assert job.checkpoints() == [5, 10]
    config = (job.folder / "config.toml").read_text()
    assert "seed = 9" in config and "enable_tensorboard = false" in config
