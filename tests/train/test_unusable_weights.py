"""Weights with numbers that are not finite: the run that ends of them says which file and tensor it was."""

import re
import shutil

import pytest
from flux_lora_runs import base, emoji, train  # noqa: F401  (fixtures)
from helpers import load, save
from llama_runs import BASE, LORA, SHORT
from llama_runs import train as train_llama

QUICK = ["--sample.every_steps=0", "--report.no_enable"]
LAYER = "double_blocks.0.img_mlp.0"
NAN, INFINITY = float("nan"), float("inf")


def spoilt(source, path, name, value, dtype=None):
    """A copy of a file in which two numbers of a tensor are another."""
    tensors = {key: tensor.to(dtype or tensor.dtype) for key, tensor in load(source).items()}
    tensors[name].view(-1)[[3, 7]] = value
    return save(path, tensors), tensors[name].numel()


@pytest.mark.parametrize(
    "value, storage, what",
    [
        (NAN, "auto", "2 of {} numbers are nan"),
        (-INFINITY, "auto", "2 of {} numbers are infinite"),
        (NAN, "fp8_unscaled", "2 of {} numbers are nan"),
        # fp8 without scales has no such number, and makes nan of it.
        (1000.0, "fp8_unscaled", "a magnitude of 1000, where at most 464 can be stored"),
    ],
)
def test_a_base_is_named_with_its_tensor(train, base, tmp_path, value, storage, what):  # noqa: F811
    bad, count = spoilt(base, tmp_path / "bad.safetensors", f"{LAYER}.weight", value)
    error = train(f"--checkpoint.initial_load_path={bad}", f"--lora.base_dtype={storage}", *QUICK, status=6).stderr
    assert re.search(r"\[step 1\] expected a finite loss, got -?(nan|inf) from weights that are not finite: ", error)
    assert f"{bad}: {LAYER}.weight: {what.format(f'{count:,}')} (try another copy of the file)" in error


@pytest.mark.parametrize("name", [f"{LAYER}.bias", "double_blocks.0.img_attn.norm.query_norm.scale"])
def test_fp8_unscaled_rounds_biases_and_norms_too(train, base, tmp_path, name):  # noqa: F811
    """They stay dense, but as sd-scripts casts them: what fp8 cannot store is nan in the model, and rightly blamed."""
    bad, _ = spoilt(base, tmp_path / "bad.safetensors", name, 1000.0)
    start = [f"--checkpoint.initial_load_path={bad}", "--training.steps=1", *QUICK]
    error = train(*start, "--lora.base_dtype=fp8_unscaled", run="unscaled", status=6).stderr
    assert f"{bad}: {name}: a magnitude of 1000, where at most 464 can be stored" in error
    train(*start, "--lora.base_dtype=fp8", run="scaled")


@pytest.mark.parametrize("storage", ["fp8", "int8", "nf4"])
def test_storages_with_scales_refuse_it_as_they_read_it(train, base, tmp_path, storage):  # noqa: F811
    bad, _ = spoilt(base, tmp_path / "bad.safetensors", f"{LAYER}.weight", NAN)
    error = train(f"--checkpoint.initial_load_path={bad}", f"--lora.base_dtype={storage}", *QUICK, status=4).stderr
    assert f"[{bad}: {LAYER}.weight]" in error and "expected finite weights to quantise" in error


@pytest.mark.parametrize("option", ["initial_adapter", "base_weights"])
def test_a_lora_file_is_named_with_its_tensor(train, tmp_path, option):  # noqa: F811
    good = train("--training.steps=2", *QUICK, run="good") / "lora.safetensors"
    name = "lora_unet_single_blocks_0_linear1.lora_up.weight"
    bad, count = spoilt(good, tmp_path / "bad.safetensors", name, INFINITY)
    error = train(f"--lora.{option}={bad}", *QUICK, run="bad", status=6).stderr
    assert f"{bad}: {name}: 2 of {count:,} numbers are infinite" in error


def test_good_weights_are_not_blamed(train):  # noqa: F811
    error = train("--optimizer.lr=1e30", "--lr_scheduler.warmup_steps=0", "--training.max_norm=1e9", *QUICK, status=6).stderr
    assert "weights that are not finite" not in error and "(try a lower optimizer.lr" in error


@pytest.mark.parametrize("task", ["llama_lora", "llama_finetune"])
def test_the_shard_of_a_language_model_is_named(millrace, tmp_path, task):
    shutil.copytree(BASE, tmp_path / "base")
    shard = tmp_path / "base" / "model-00001-of-00002.safetensors"
    name = sorted(name for name in load(shard) if name.endswith("_proj.weight"))[0]
    _, count = spoilt(shard, shard, name, NAN)
    options = SHORT | {"checkpoint.initial_load_path": tmp_path / "base"} | (LORA if task == "llama_lora" else {})
    error = train_llama(millrace, tmp_path / "run", options, status=6).stderr
    assert f"{shard}: {name}: 2 of {count:,} numbers are nan" in error
