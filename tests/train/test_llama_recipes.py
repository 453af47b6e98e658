"""Runs of torchtune's recipes, step by step: losses, gradient norms, rates, tokens and the weights at the end."""

import json

import pytest
from helpers import load
from llama_runs import BASE, LORA, RECIPES, steps, train

pytestmark = pytest.mark.fast

RUNS = {
    "full": {
        "training.local_batch_size": 2, "training.global_batch_size": 4, "finetune.epochs": 2, "finetune.max_steps_per_epoch": 5,
    },
    "full_leftover": {"training.local_batch_size": 2, "training.global_batch_size": 10, "finetune.epochs": 3},
    "full_packed": {
        "training.local_batch_size": 1, "training.global_batch_size": 2, "finetune.epochs": 4, "finetune.packing": "greedy",
    },
}  # fmt: skip
for name in ("lora", "lora_packed"):
    initial = {"lora.initial_adapter": RECIPES / name / "initial_adapter.safetensors"}
    RUNS[name] = RUNS[name.replace("lora", "full")] | LORA | initial


@pytest.mark.parametrize("name", RUNS)
def test_recipe(millrace, tmp_path, name):
    folder = tmp_path / "run"
    train(millrace, folder, RUNS[name])
    expected = json.loads((RECIPES / name / "log.json").read_text())["log"]
    got = steps(folder)
    assert [step["step"] for step in got] == [step["step"] for step in expected]
    assert [step["trained_tokens"] for step in got] == [step["trained_tokens"] for step in expected]
    for ours, theirs in zip(got, expected, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-5)
    # torchtune logs the rate of the next step.
    for ours, before in zip(got[1:], expected[:-1], strict=True):
        assert ours["lr"] == pytest.approx(before["lr"], abs=1e-12)


@pytest.mark.parametrize("name", ["text", "text_packed", "text_packed_whole"])
def test_texts(millrace, tmp_path, name):
    """text_completion_dataset of 0.6.1, whose labels are shifted in the batch."""
    recorded = json.loads((RECIPES / "texts" / "runs.json").read_text())[name]
    settings = recorded["settings"]
    batch = settings["batch_size"]
    options = {
        "finetune.data": RECIPES / "texts" / "texts.json", "finetune.rows": "text", "finetune.max_seq_len": settings["tokenizer.max_seq_len"],
        "finetune.epochs": settings["epochs"], "training.local_batch_size": batch,
        "training.global_batch_size": batch * settings["gradient_accumulation_steps"],
    }  # fmt: skip
    if settings["dataset.packed"]:
        options["finetune.packing"] = "greedy"
        if settings.get("dataset.split_across_pack", True):
            options["finetune.split_across_packs"] = None
    if not settings.get("dataset.add_eos", True):
        options["finetune.no_add_eos"] = None
    train(millrace, tmp_path / "run", options)
    got = steps(tmp_path / "run")
    assert [step["trained_tokens"] for step in got] == [step["counted"] for step in recorded["log"]]
    for ours, theirs in zip(got, recorded["log"], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-5)
    train(millrace, tmp_path / "main", options | {"finetune.torchtune_version": "main"})
    assert steps(tmp_path / "main")[-1]["loss"] != pytest.approx(got[-1]["loss"], abs=1e-4)


@pytest.mark.parametrize("name", ["plain", "packed"])
def test_lists_of_unlike_data_sets(millrace, tmp_path, name):
    """torchtune's ConcatDataset: each has its own rows, part and packs."""
    recorded = json.loads((RECIPES / "lists" / "runs.json").read_text())[name]
    settings = json.loads((RECIPES.parent / "configs" / "recipes" / "full_packed.json").read_text())
    config = {"output_dir": "out", "dataset": recorded["dataset"]}
    for path, value in (settings | recorded["settings"]).items():
        *tables, key = path.split(".")
        at = config
        for table in tables:
            at = at.setdefault(table, {}) if table != "dataset" else {}
        at[key] = str(RECIPES / value) if isinstance(value, str) and value.startswith("base") else value
    for one in config["dataset"]:
        one["data_files"] = str(RECIPES / ("texts/texts.json" if one["data_files"] == "texts.json" else one["data_files"]))
    (tmp_path / "run.yaml").write_text(json.dumps(config))
    millrace("tune", "run", "full_finetune_single_device", "--config", "run.yaml")
    got = steps(tmp_path / "out")
    assert [step["trained_tokens"] for step in got] == [step["counted"] for step in recorded["log"]]
    for ours, theirs in zip(got, recorded["log"], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-5)


@pytest.mark.parametrize("name", ["full", "full_packed", "lora", "lora_packed"])
def test_weights_at_the_end(millrace, tmp_path, name):
    folder = tmp_path / "run"
    train(millrace, folder, RUNS[name])
    kind, files = ("final_adapter", "adapter/*") if "lora" in name else ("final_weights", "model/*")
    expected = load(RECIPES / name / f"{kind}.safetensors")
    got = {tensor: values for file in folder.glob(f"{files}.safetensors") for tensor, values in load(file).items()}
    if "lora" not in name:  # in the files of the initial weights
        index = "model.safetensors.index.json"
        assert json.loads((folder / "model" / index).read_text())["weight_map"] == json.loads((BASE / index).read_text())["weight_map"]
    assert set(got) == set(expected)
    assert max((got[tensor] - values).abs().max().item() for tensor, values in expected.items()) <= 1e-5


@pytest.mark.parametrize("version", ["main", "0.6.1"])
def test_what_is_left_over_at_the_end_of_an_epoch(millrace, tmp_path, version):
    """24 rows are 12 microbatches; two steps of five leave two, which main's recipes for all weights do not train."""
    for kind, options in (("full", RUNS["full_leftover"]), ("lora", RUNS["full_leftover"] | LORA)):
        train(millrace, tmp_path / kind, options | {"finetune.torchtune_version": version})
        got = [step["samples"] for step in steps(tmp_path / kind)]
        carried = version == "0.6.1" or kind == "lora"
        assert got == [10, 20, 34 if carried else 30, 44 if carried else 40, 58 if carried else 50, 68 if carried else 60]
