"""The large configurations of Llama, their small twins, and the job scripts that run them."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest
from llama_runs import steps

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("full", "lora")
# What a laptop has less of.
SMALLER = {("checkpoint", "initial_load_path"), ("checkpoint", "interval"), ("finetune", "data"), ("finetune", "split"),
           ("finetune", "validation_split"), ("finetune", "max_seq_len"), ("training", "device"), ("training", "dtype"),
           ("lr_scheduler", "warmup_steps"), ("validation", "freq"), ("job", "dump_folder"), ("job", "description")}  # fmt: skip


def settings(name):
    config = tomllib.loads((ROOT / "configs" / f"{name}.toml").read_text())
    return {(section, key): value for section, keys in config.items() for key, value in keys.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_twin_has_the_settings_of_the_large_one(kind):
    large, small = settings(f"llama3_3_70b_{kind}"), settings(f"llama3_3_70b_{kind}_laptop")
    assert {key for key in large.keys() | small.keys() if large.get(key) != small.get(key)} <= SMALLER


@pytest.mark.parametrize("kind", KINDS)
def test_the_twin_trains(millrace, tmp_path, kind):
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    name = f"llama3_3_70b_{kind}_laptop"
    options = ("--finetune.epochs=0", "--training.steps=2")
    millrace("train", ROOT / "configs" / f"{name}.toml", *options, env={"OMP_NUM_THREADS": "1"})
    assert len(steps(tmp_path / "outputs" / name)) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_job_script_starts_a_task_for_each_gpu(program, tmp_path, kind):
    config = ROOT / "configs" / f"llama3_3_70b_{kind}.toml"
    environment = {"DRY_RUN": "1", "SLURM_JOB_NUM_NODES": "2", "NGPU": "8", "MILLRACE": str(program), "MODELROOT": "/shared/models"}
    script = ROOT / "scripts" / "slurm" / f"llama_{kind}.sbatch"
    done = subprocess.run([script, "--training.steps=4"], env=os.environ | environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert "--ntasks=16" in words and str(config) in words and words[-1] == "--training.steps=4"
    assert "--checkpoint.initial_load_path=/shared/models/Llama-3.3-70B-Instruct" in words
