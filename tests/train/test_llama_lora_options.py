"""Options of LoRA on a language model: dropout of what adapters read, and ranks of their own."""

import json
import shutil

import pytest
from helpers import load, save
from llama_runs import LORA, SHORT, steps, tied_base, train


def losses(folder):
    return [step["loss"] for step in steps(folder)]


def test_dropout_resumes_with_the_same_numbers(millrace, tmp_path):
    options = SHORT | LORA | {"lora.dropout": 0.3, "checkpoint.interval": 2}
    train(millrace, tmp_path / "whole", options)
    train(millrace, tmp_path / "parts", options | {"activation_checkpoint.mode": "full"})
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), abs=1e-6)
    shutil.rmtree(tmp_path / "parts" / "checkpoint" / "step-00000004")
    train(millrace, tmp_path / "parts", options)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    train(millrace, tmp_path / "without", SHORT | LORA)
    # In the first step up matrices are zero, so that there is nothing to drop.
    whole, without = losses(tmp_path / "whole"), losses(tmp_path / "without")
    assert whole[0] == without[0] and whole[-1] != without[-1]
    assert json.loads((tmp_path / "whole/adapter/adapter_config.json").read_text())["lora_dropout"] == 0.3


def test_layers_have_ranks_of_their_own(millrace, tmp_path):
    patterns = '["model.layers.0.*=2", "*.down_proj=0"]'
    train(millrace, tmp_path / "run", SHORT | LORA | {"lora.rank_patterns": patterns, "training.steps": 2})
    ours = load(tmp_path / "run/adapter/adapter_model.safetensors")
    ranks = {name.removeprefix("base_model.model.model."): values.shape[0] for name, values in ours.items() if "lora_A" in name}
    assert ranks["layers.0.self_attn.q_proj.lora_A.weight"] == 2 and ranks["layers.1.self_attn.q_proj.lora_A.weight"] == 4
    config = json.loads((tmp_path / "run/adapter/adapter_config.json").read_text())
    assert config["r"] == 4 and config["rank_pattern"]["model.layers.0.self_attn.q_proj"] == 2
    assert not any("layers.1" in layer for layer in config["rank_pattern"])
    # The reader takes the ranks from the file.
    start = SHORT | LORA | {"lora.rank_patterns": patterns, "lora.initial_adapter": tmp_path / "run/adapter", "training.steps": 1}
    train(millrace, tmp_path / "next", start)
    assert losses(tmp_path / "next")[0] < losses(tmp_path / "run")[0]


def test_layers_have_alphas_and_rates_of_their_own(millrace, tmp_path):
    options = SHORT | LORA | {"lora.lr_patterns": "['re:\\.mlp\\.=0']"}
    train(millrace, tmp_path / "run", options | {"lora.alpha_patterns": "['model.layers.{1}.*q_proj=2']"})
    ours = load(tmp_path / "run/adapter/adapter_model.safetensors")
    learnt = {"mlp" in name for name, values in ours.items() if "lora_B" in name and values.any()}
    assert learnt == {False}
    config = json.loads((tmp_path / "run/adapter/adapter_config.json").read_text())
    assert config["lora_alpha"] == 8 and config["alpha_pattern"] == {"model.layers.1.self_attn.q_proj": 2}
    train(millrace, tmp_path / "usual", options)
    assert losses(tmp_path / "run") != losses(tmp_path / "usual")


def test_a_resumed_run_does_not_need_the_file_it_started_from(millrace, tmp_path):
    train(millrace, tmp_path / "first", SHORT | LORA | {"training.steps": 2})
    start = SHORT | LORA | {"lora.initial_adapter": tmp_path / "first/adapter", "checkpoint.interval": 2}
    train(millrace, tmp_path / "whole", start)
    train(millrace, tmp_path / "parts", start | {"training.steps": 2, "lr_scheduler.total_steps": 4})
    shutil.rmtree(tmp_path / "first")
    train(millrace, tmp_path / "parts", start)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_merged_weights_of_a_run_from_one_file(millrace, tmp_path):
    """Its sizes are beside the file, not in a folder that is named."""
    base = tied_base(tmp_path / "base")
    shutil.copy(base / "model.safetensors", base / "other.safetensors")
    options = SHORT | LORA | {"finetune.save_merged": None, "training.steps": 2}
    for file in ("", "other.safetensors"):
        train(millrace, tmp_path / f"run{file}", options | {"checkpoint.initial_load_path": base / file})
    merged = [load(tmp_path / f"run{file}" / "model" / "model.safetensors") for file in ("", "other.safetensors")]
    assert merged[0].keys() == merged[1].keys() and all(values.equal(merged[1][name]) for name, values in merged[0].items())
    assert (tmp_path / "runother.safetensors" / "model" / "config.json").exists()


def test_an_adapter_on_a_tied_output_layer_is_not_merged(millrace, tmp_path):
    """Its weights are the embedding's, which the adapter does not change."""
    options = SHORT | LORA | {"checkpoint.initial_load_path": tied_base(tmp_path / "tied"), "lora.targets": "lm_head", "training.steps": 1}
    train(millrace, tmp_path / "run", options)
    for output, more in (("merged", []), ("merged.gguf", ["--format=gguf"])):
        refused = millrace("export", tmp_path / "run", tmp_path / output, "--merged", *more, status=4).stderr
        assert "got one of lm_head.weight, which are another layer's (tied)" in refused and not (tmp_path / output).exists()
    refused = train(millrace, tmp_path / "merging", options | {"finetune.save_merged": None}, status=2).stderr
    assert "got lm_head, whose weights are the embedding's (tied)" in refused and "loss:" not in refused
    millrace("export", tmp_path / "run", tmp_path / "adapters")


def test_files_are_merged_into_the_frozen_weights(millrace, tmp_path):
    train(millrace, tmp_path / "first", SHORT | LORA)
    millrace("export", tmp_path / "first", tmp_path / "merged", "--merged")
    options = SHORT | LORA | {"training.steps": 2}
    train(millrace, tmp_path / "by_hand", options | {"checkpoint.initial_load_path": tmp_path / "merged"})
    train(millrace, tmp_path / "merging", options | {"lora.base_weights": tmp_path / "first/adapter"})
    assert losses(tmp_path / "merging") == pytest.approx(losses(tmp_path / "by_hand"), rel=1e-6)
    assert losses(tmp_path / "merging")[0] < losses(tmp_path / "first")[0]

    shutil.copytree(tmp_path / "first/adapter", tmp_path / "deeper")
    tensors = load(tmp_path / "deeper/adapter_model.safetensors")
    save(tmp_path / "deeper/adapter_model.safetensors", {name.replace("layers.1", "layers.9"): values for name, values in tensors.items()})
    refused = train(millrace, tmp_path / "none", options | {"lora.base_weights": tmp_path / "deeper"}, status=4).stderr
    assert "[lora.base_weights: base_model.model.model.layers.9." in refused


def test_refuses_by_name(millrace, tmp_path):
    def complaint(options):
        return train(millrace, tmp_path / "run", SHORT | LORA | options, status=2).stderr

    assert "lora.rank_dropout" in complaint({"lora.rank_dropout": 0.1})
    assert "lora.dropout" in complaint({"lora.dropout": 0.1, "lora.kind": "dora"})


@pytest.mark.parametrize("dtype", ["auto", "nf4_torchao"])
def test_blocks_in_host_memory_change_nothing(millrace, tmp_path, dtype):
    options = SHORT | LORA | {"lora.base_dtype": dtype}
    train(millrace, tmp_path / "resident", options)
    for blocks in (1, 2):
        train(millrace, tmp_path / f"offloaded{blocks}", options | {"lora.offload_blocks": blocks})
        assert losses(tmp_path / f"offloaded{blocks}") == losses(tmp_path / "resident")
    ours, theirs = (load(tmp_path / run / "adapter/adapter_model.safetensors") for run in ("offloaded2", "resident"))
    assert all(ours[name].equal(theirs[name]) for name in theirs)
