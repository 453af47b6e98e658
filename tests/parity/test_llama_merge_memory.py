"""Merging adapters into a model needs memory for one tensor, whatever the model's size."""

import json
import os
import subprocess

import pytest
from helpers import random_tensors, save

pytestmark = pytest.mark.slow

HIDDEN, LAYERS, VOCABULARY = 1024, 20, 1024
CONFIG = {"model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": 4 * HIDDEN,
          "num_hidden_layers": LAYERS, "num_attention_heads": 8, "num_key_value_heads": 8, "rms_norm_eps": 1e-5}  # fmt: skip


def sparse_model(folder):
    """A model of zeros, 1.3 GB long, that takes no room on the disk."""
    layer = {"input_layernorm": [HIDDEN], "post_attention_layernorm": [HIDDEN]}
    layer |= {f"self_attn.{name}_proj": [HIDDEN, HIDDEN] for name in "qkvo"}
    layer |= {f"mlp.{name}_proj": [4 * HIDDEN, HIDDEN] for name in ("gate", "up")} | {"mlp.down_proj": [HIDDEN, 4 * HIDDEN]}
    shapes = {f"model.layers.{i}.{name}.weight": shape for i in range(LAYERS) for name, shape in layer.items()}
    shapes |= {"model.embed_tokens.weight": [VOCABULARY, HIDDEN], "model.norm.weight": [HIDDEN]}
    shapes["lm_head.weight"] = [VOCABULARY, HIDDEN]
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder, at


def test_merges_within_a_tenth_of_the_model(program, tmp_path):
    model, size = sparse_model(tmp_path / "model")
    names = [f"base_model.model.model.layers.{i}.mlp.down_proj" for i in range(LAYERS)]
    shapes = {f"{name}.lora_A.weight": (4, 4 * HIDDEN) for name in names} | {f"{name}.lora_B.weight": (HIDDEN, 4) for name in names}
    save(tmp_path / "adapter" / "adapter_model.safetensors", random_tensors(shapes))
    (tmp_path / "adapter" / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 4, "target_modules": ["down_proj"], "bias": "none"})
    )
    command = [program, "export", model, tmp_path / "merged", "--model", "llama", "--merge", tmp_path / "adapter"]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0 and size > 1.2e9
    start = subprocess.Popen([program, "--version"], stdout=subprocess.DEVNULL)
    _, _, idle = os.wait4(start.pid, 0)
    assert (usage.ru_maxrss - idle.ru_maxrss) * 1024 < size / 10 + 64 * 2**20
    assert (tmp_path / "merged" / "model.safetensors").stat().st_size > size
