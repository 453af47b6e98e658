"""What a fine-tuning run leaves behind, in the hands of transformers and peft: their logits are ours."""

import json

import pytest
import torch
from helpers import load, save
from llama_runs import BASE, LORA, SHORT, train
from peft import LoHaConfig, LoKrConfig, LoraConfig, PeftModel
from transformers import AutoModelForCausalLM

IDS = torch.arange(3, 43).reshape(2, 20)


def our_logits(millrace, folder, weights, *arguments):
    inputs = save(folder / "inputs.safetensors", {"input_ids": IDS})
    millrace("forward", "llama", "--weights", weights, "--inputs", inputs, "--outputs", folder / "outputs.safetensors", *arguments)
    return load(folder / "outputs.safetensors")["logits"]


def test_a_gguf_file_computes_the_same(millrace, tmp_path):
    """Written and read here; the reader is held against gguf-py (formats/gguf_test.cpp)."""
    plain = our_logits(millrace, tmp_path, BASE)
    error = {}
    for dtype in ("fp32", "fp16", "q8_0"):
        path = tmp_path / f"{dtype}.gguf"
        millrace("export", BASE, path, "--model", "llama", "--format", "gguf", "--dtype", dtype)
        error[dtype] = (our_logits(millrace, tmp_path, path) - plain).norm() / plain.norm()
    assert error["fp32"] <= 1e-6 and error["fp16"] <= 1e-3 and 0 < error["q8_0"] <= 3e-2
    for tokenizer in (BASE / "tokenizer.json", path):
        ids = millrace("tokenize", "--tokenizer", tokenizer, "--text", input="Where is the river?\n").stdout
        assert tokenizer == path or (expected := ids)
    assert ids == expected
    refusal = millrace("export", BASE, tmp_path / "x", "--model", "llama", "--dtype", "q8_0", status=2).stderr
    assert "GGUF" in refusal


@pytest.fixture
def short_run(millrace, tmp_path):
    def run(options):
        train(millrace, tmp_path / "run", SHORT | options)
        return tmp_path / "run"

    return run


def test_transformers_loads_the_model(millrace, tmp_path, short_run):
    run = short_run({})
    millrace("export", run, tmp_path / "exported", "--max-shard-gb", "0.0001")
    assert (tmp_path / "exported" / "model.safetensors.index.json").exists()
    for folder in (run / "model", tmp_path / "exported"):
        for name in ("tokenizer.json", "tokenizer.model", "generation_config.json"):
            assert (folder / name).read_bytes() == (BASE / name).read_bytes()
        ours, theirs = (json.loads((path / "config.json").read_text()) for path in (folder, BASE))
        assert theirs == ours
        model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
        with torch.no_grad():
            expected = model(IDS).logits
        assert (our_logits(millrace, tmp_path, folder) - expected).abs().max() <= 1e-4


def check_merged(millrace, tmp_path, run):
    """The whole model with the adapters in it: in the files of the initial weights, with all that belongs beside them."""
    adapted = our_logits(millrace, tmp_path, BASE, "--lora", run / "adapter")
    millrace("export", run, tmp_path / "merged", "--merged")
    assert (our_logits(millrace, tmp_path, tmp_path / "merged") - adapted).abs().max() <= 1e-5
    index, theirs = (json.loads((folder / "model.safetensors.index.json").read_text()) for folder in (tmp_path / "merged", BASE))
    assert index["weight_map"] == theirs["weight_map"]
    assert (tmp_path / "merged" / "tokenizer.json").exists() and (tmp_path / "merged" / "config.json").exists()
    millrace("export", run, tmp_path / "merged.gguf", "--merged", "--dtype", "fp32")
    assert (our_logits(millrace, tmp_path, tmp_path / "merged.gguf") - adapted).abs().max() <= 1e-5
    assert "--merged" in millrace("export", run, tmp_path / "adapters.gguf", status=2).stderr


KINDS = {
    "lora": {},
    "loha": {"lora.alpha_patterns": "['*.q_proj=2']", "lora.rank_patterns": "['*.up_proj=3']"},
    "lokr": {"lora.rank_patterns": "['*.up_proj=2', '*.down_proj=40']"},  # whole matrices there, as in PEFT
    "lokr_both": {"lora.kind": "lokr", "lora.rank": 1, "lora.rank_stabilised": None, "lora.lokr_factor": 4, "lora.lokr_decompose_both": None},
}


@pytest.mark.parametrize("kind", KINDS)
def test_peft_loads_the_adapters(millrace, tmp_path, short_run, kind):
    run = short_run(LORA | {"lora.kind": kind} | KINDS[kind] | {"optimizer.lr": 0.02})
    millrace("export", run, tmp_path / "exported")
    base = AutoModelForCausalLM.from_pretrained(BASE, attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        before = base(IDS).logits
    check_merged(millrace, tmp_path, run)
    for folder in (run / "adapter", tmp_path / "exported"):
        config = json.loads((folder / "adapter_config.json").read_text())
        assert config["target_modules"] == sorted(LORA["lora.targets"].split(","))
        theirs = {"LORA": LoraConfig, "LOHA": LoHaConfig, "LOKR": LoKrConfig}[config["peft_type"]]
        assert set(config) == set(theirs().to_dict())
        fresh = AutoModelForCausalLM.from_pretrained(BASE, attn_implementation="eager", dtype=torch.float32)
        with torch.no_grad():
            expected = PeftModel.from_pretrained(fresh, folder)(IDS).logits
        assert (expected - before).abs().max() > 1e-3
        got = our_logits(millrace, tmp_path, BASE, "--lora", folder)
        assert (got - expected).abs().max() <= 1e-4
