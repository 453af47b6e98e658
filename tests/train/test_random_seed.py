"""training.random_seed, and `seed: null` of torchtune: a seed of the run's own, which is written down."""

import tomllib

import pytest
from llama_runs import COMMON, LORA, SHORT, arguments, empty_config, recorded_run, steps, train
from train_ranks import Ranks

RANDOM = {name: value for name, value in (COMMON | LORA | SHORT).items() if name != "training.seed"} | {"training.random_seed": None}


def seed_of(folder):
    training = tomllib.loads((folder / "config.toml").read_text())["training"]
    assert training["random_seed"] is False
    return training["seed"]


def losses(folder):
    return [step["loss"] for step in steps(folder)]


def run(millrace, folder, options, **how):
    return millrace("train", empty_config(folder.parent), *arguments(options | {"job.dump_folder": folder}), **how)


def test_a_run_can_be_repeated_from_its_folder(millrace, tmp_path):
    for name in ("first", "second"):
        said = run(millrace, tmp_path / name, RANDOM).stderr
        assert f"training.seed: {seed_of(tmp_path / name)}, drawn for this run and kept in config.toml" in said
    assert seed_of(tmp_path / "first") != seed_of(tmp_path / "second")
    assert losses(tmp_path / "first") != losses(tmp_path / "second")
    millrace("train", tmp_path / "first" / "config.toml", f"--job.dump_folder={tmp_path / 'again'}")
    assert losses(tmp_path / "again") == losses(tmp_path / "first")


def test_a_resumed_run_keeps_its_seed(millrace, tmp_path):
    run(millrace, tmp_path / "run", RANDOM | {"training.steps": 2, "lr_scheduler.total_steps": 4})
    seed = seed_of(tmp_path / "run")
    said = run(millrace, tmp_path / "run", RANDOM | {"lr_scheduler.total_steps": 4}).stderr
    assert f"training.seed: {seed}, that of the checkpoint" in said and "changed since" not in said
    known = {name: value for name, value in RANDOM.items() if name != "training.random_seed"} | {"training.seed": seed}
    run(millrace, tmp_path / "whole", known)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_epochs_of_a_seed_that_decides_their_length(millrace, tmp_path):
    """Packs of shuffled rows are more or fewer with another seed."""
    options = {"finetune.packing": "greedy", "finetune.epochs": 3, "training.steps": 10_000, "training.local_batch_size": 1,
               "training.global_batch_size": 1}  # fmt: skip
    run(millrace, tmp_path / "run", RANDOM | options)
    known = {name: value for name, value in RANDOM.items() if name != "training.random_seed"}
    run(millrace, tmp_path / "known", known | options | {"training.seed": seed_of(tmp_path / "run")})
    assert losses(tmp_path / "run") == losses(tmp_path / "known")


def test_of_torchtune(millrace, tmp_path):
    recorded_run(tmp_path, "lora", seed=None, epochs=1)
    said = millrace("tune", "run", "lora_finetune_single_device", "--config", "run.yaml").stderr
    assert "seed=null" in said and "training.random_seed = true" in said
    assert f"training.seed: {seed_of(tmp_path / 'out')}, drawn" in said


def test_one_or_the_other(millrace, tmp_path):
    assert "expected random_seed or a seed" in train(millrace, tmp_path / "run", SHORT | {"training.random_seed": None}, status=2).stderr


@pytest.mark.slow
def test_all_ranks_draw_the_same(program, millrace, tmp_path):
    options = RANDOM | {"training.local_batch_size": 3}
    Ranks(program, 2, tmp_path / "two", *arguments(options), config=empty_config(tmp_path)).finish()
    known = {name: value for name, value in options.items() if name != "training.random_seed"}
    run(millrace, tmp_path / "one", known | {"training.seed": seed_of(tmp_path / "two")})
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
