"""`millrace forward llama --lora` against peft, and what it refuses."""

import copy
import json

import pytest
import torch
from helpers import load, relative_error, save
from small_decoders import forward, ids, peer
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model

KINDS = {"lora": LoraConfig, "loha": LoHaConfig, "lokr": LoKrConfig}


def adapted(name, **options):
    """A peft model with random matrices; its base is the module that peer() gives."""
    base = peer(name)
    kind = options.pop("kind", "lora")
    config = KINDS[kind](r=3, **(({"lora_alpha": 5, "lora_dropout": 0.0} if kind == "lora" else {"alpha": 5}) | options))
    model = get_peft_model(copy.deepcopy(base), config).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter.requires_grad and "magnitude" not in parameter_name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return base, model


ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.mark.parametrize(
    "name, options",
    [
        ("untied", {"target_modules": ALL}),
        ("untied", {"target_modules": ["q_proj", "v_proj"], "use_rslora": True}),
        ("qwen2", {"target_modules": ALL, "use_dora": True}),
        ("qwen3", {"target_modules": [*ALL, "lm_head"]}),
        ("untied", {"kind": "loha", "target_modules": ALL, "alpha_pattern": {"o_proj": 11}}),
        ("untied", {"kind": "lokr", "target_modules": ALL}),
        ("untied", {"kind": "lokr", "target_modules": ALL, "decompose_both": True, "decompose_factor": 2, "rank_pattern": {"o_proj": 1}}),
        ("tied", {"target_modules": ALL, "rank_pattern": {"layers.0.*q_proj": 2, "down_proj": 5}, "alpha_pattern": {"o_proj": 11}}),
    ],
)
def test_logits_and_gradients_agree(millrace, tmp_path, name, options):
    base, model = adapted(name, **options)
    base.save_pretrained(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapter")
    inputs = {"input_ids": ids(base.config.vocab_size, 2, 21)}
    logits = model(**inputs).logits
    gradient = torch.randn(logits.shape, generator=torch.Generator().manual_seed(7))
    logits.backward(gradient)
    expected = {n.replace(".default", ""): p.grad for n, p in model.named_parameters() if p.requires_grad}

    files = ["--inputs", save(tmp_path / "i.safetensors", inputs | {"grad_output": gradient}), "--outputs", tmp_path / "o.safetensors"]
    millrace("forward", "llama", "--weights", tmp_path / "base", "--lora", tmp_path / "adapter", "--gradients", *files)
    got = load(tmp_path / "o.safetensors")
    assert relative_error(got["logits"], logits.detach()) <= 1e-5
    assert {n[5:] for n in got if n.startswith("grad.")} == {n.replace(".weight", "") if "magnitude" in n else n for n in expected}
    for n, tensor in expected.items():
        assert relative_error(got["grad." + (n.replace(".weight", "") if "magnitude" in n else n)], tensor) <= 1e-5, n


def test_what_does_not_fit_is_refused_by_name(millrace, tmp_path):
    base, model = adapted("untied", target_modules=["q_proj"])
    base.save_pretrained(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapter")
    tensors = load(tmp_path / "adapter" / "adapter_model.safetensors")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    inputs = save(tmp_path / "i.safetensors", {"input_ids": ids(71, 1, 7)})

    def error(new_tensors, changes=None, status=4):
        save(tmp_path / "bad" / "adapter_model.safetensors", new_tensors)
        (tmp_path / "bad" / "adapter_config.json").write_text(json.dumps(config | (changes or {})))
        options = ["--weights", tmp_path / "base", "--lora", tmp_path / "bad", "--inputs", inputs, "--outputs", tmp_path / "o"]
        return millrace("forward", "llama", *options, status=status).stderr

    first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    assert "expected a down and an up projection, got up alone" in error({n: t for n, t in tensors.items() if n != first})
    assert "expected matrices of one rank, got [30, 3] and [2, 30]" in error(tensors | {first: torch.zeros(2, 30)})
    narrow = {first: torch.zeros(2, 30), first.replace("lora_A", "lora_B"): torch.zeros(30, 2)}
    assert "expected the rank 3" in error(tensors | narrow)
    assert "expected an adapter of 30 inputs and 30 outputs" in error(tensors | {first: torch.zeros(3, 31)})
    renamed = {n.replace("layers.2", "layers.3"): t for n, t in tensors.items()}
    assert "got one of model.layers.3.self_attn.q_proj (is model.layers." in error(renamed)
    assert "lora_embedding_A" in error(tensors | {"base_model.model.model.embed_tokens.lora_embedding_A": torch.zeros(3, 71)})
    assert "expected lora_magnitude_vector beside lora_A and lora_B, as " in error(tensors, {"use_dora": True})
    assert "expected hada_w1_a, hada_w1_b, hada_w2_a and hada_w2_b, as " in error(tensors, {"peft_type": "LOHA"})
    assert "peft_type] expected LORA, LOHA or LOKR" in error(tensors, {"peft_type": "OFT"})
    assert "modules_to_save] expected no modules" in error(tensors, {"modules_to_save": ["lm_head"]})
    (tmp_path / "bad" / "adapter_config.json").unlink()
    options = ["--weights", tmp_path / "base", "--lora", tmp_path / "bad", "--inputs", inputs, "--outputs", tmp_path / "o"]
    assert "adapter_config.json" in millrace("forward", "llama", *options, status=2).stderr
    options[3] = tmp_path / "none"
    assert "none" in millrace("forward", "llama", *options, status=4).stderr
