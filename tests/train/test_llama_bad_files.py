"""Weights and adapters that are damaged, incomplete or another model's: the file is named, and nothing is trained."""

import json
import shutil

import pytest
from helpers import load, save
from llama_runs import BASE, LORA, RECIPES, SHORT, recorded_run, train


@pytest.fixture
def base(tmp_path):
    return shutil.copytree(BASE, tmp_path / "base")


def refusal(millrace, tmp_path, options, status):
    said = train(millrace, tmp_path / "run", SHORT | options, status=status).stderr
    assert not (tmp_path / "run" / "checkpoint").exists() or not list((tmp_path / "run" / "checkpoint").glob("step-*"))
    return said.splitlines()[-1]


def cut(base):
    file = base / "model-00002-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-4096])
    return "model-00002-of-00002.safetensors"


def cut_in_the_header(base):
    file = base / "model-00002-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    return "model-00002-of-00002.safetensors"


def remove(base):
    (base / "model-00001-of-00002.safetensors").unlink()
    return "model-00001-of-00002.safetensors"


def remove_without_an_index(base):
    (base / "model.safetensors.index.json").unlink()
    return remove(base) and "expected 2 shards"


def move_a_tensor(base):
    index = json.loads((base / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.norm.weight"] = "model-00001-of-00002.safetensors"
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    return "model.norm.weight"


def leave_out_a_tensor(base):
    file = base / "model-00002-of-00002.safetensors"
    save(file, {name: values for name, values in load(file).items() if name != "model.norm.weight"})
    return "model.norm.weight"


@pytest.mark.parametrize("damage", [cut, cut_in_the_header, remove, remove_without_an_index, move_a_tensor, leave_out_a_tensor])
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_weights(millrace, tmp_path, base, damage, kind):
    named = damage(base)
    options = {"checkpoint.initial_load_path": base} | (LORA if kind == "lora" else {})
    assert named in refusal(millrace, tmp_path, options, status=4)


def test_weights_of_a_name_that_is_not_there(millrace, tmp_path):
    missing = {"checkpoint.initial_load_path": "nothere"}
    assert refusal(millrace, tmp_path, missing, status=4).startswith("millrace: [nothere] expected weights, got nothing of that name")
    assert refusal(millrace, tmp_path, missing | LORA, status=4).startswith("millrace: [nothere] expected weights")
    for option in ("--chat", "--top-p=0.5", "--temperature=1"):
        said = millrace("sample", "typo", option, status=2).stderr
        assert said == "millrace: [typo] expected a run's folder with config.toml, got none\n"


def test_adapters_of_another_rank_or_model(millrace, tmp_path):
    start = tmp_path / "start"
    start.mkdir()
    for file in ("initial_adapter.safetensors", "adapter_config.json"):
        shutil.copy(RECIPES / "lora" / file, start / file.replace("initial_adapter", "adapter_model"))
    file = start / "adapter_model.safetensors"
    tensors = load(file)
    options = LORA | {"lora.initial_adapter": start}

    def error(changes):
        return refusal(millrace, tmp_path, options | changes, status=4)

    assert "rank" in error({"lora.rank": 8})
    assert "q_proj" in error({"lora.targets": "v_proj,o_proj,gate_proj,up_proj,down_proj"})
    save(file, {name: values.repeat(1, 2) if "lora_A" in name else values for name, values in tensors.items()})
    assert "start" in error({})
    save(file, {name.replace("layers.1", "layers.7"): values for name, values in tensors.items()})
    assert "layers.7" in error({})
    file.unlink()
    assert "adapter_model.safetensors" in error({})


def test_a_recipe_with_the_vocabularies_of_two_models(millrace, tmp_path):
    """tokenizer.path of another model than tokenizer.special_tokens_path."""
    run = recorded_run(tmp_path, "lora", epochs=1, max_steps_per_epoch=1)
    command = ["tune", "run", "lora_finetune_single_device", "--config", run]
    millrace(*command, "--show-config")
    path = tmp_path / "base" / "tokenizer.model"
    lines = path.read_text().splitlines(keepends=True)
    swapped = [f"{lines[1 - at].split()[0]} {at}\n" for at in (0, 1)]
    for others in (lines[:-1], [*swapped, *lines[2:]]):
        path.write_text("".join(others))
        said = millrace(*command, status=2).stderr
        assert "expected the vocabulary of base/tokenizer.json, got another one in base/tokenizer.model" in said
