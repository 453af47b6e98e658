"""`millrace forward llama` against transformers' decoders: Llama, Mistral, Qwen2 and Qwen3."""

import json
import shutil

import pytest
import torch
from forward_parity import check_forward
from helpers import load, relative_error, save
from small_decoders import forward, ids, peer


def positions_of(*rows):
    """Documents of these lengths, each counting from 0."""
    return torch.stack([torch.cat([torch.arange(length) for length in lengths]) for lengths in rows])


SHAPES = [("untied", 3, 37), ("tied", 2, 41), ("wide", 2, 75), ("biases", 2, 9), ("mistral", 2, 33), ("qwen2", 2, 29), ("qwen3", 3, 17)]


# One token alone has gradients of zero in its attention, of which bf16 has no relative error.
@pytest.mark.parametrize("name, batch, length, dtype", [*((*shape, dtype) for shape in SHAPES for dtype in ("fp32", "bf16")), ("untied", 1, 1, "fp32")])
def test_outputs_and_gradients_agree(millrace, tmp_path, name, batch, length, dtype):
    module = peer(name)
    module.save_pretrained(tmp_path / "model")
    inputs = {"input_ids": ids(module.config.vocab_size, batch, length)}
    check_forward(millrace, tmp_path, "llama", tmp_path / "model", module, forward, inputs, dtype)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["untied", "tied", "mistral", "qwen3"])
def test_documents_of_a_packed_batch_do_not_see_each_other(millrace, tmp_path, name, dtype):
    module = peer(name)
    module.save_pretrained(tmp_path / "model")
    inputs = {"input_ids": ids(module.config.vocab_size, 2, 30), "position_ids": positions_of([11, 1, 18], [30])}
    check_forward(millrace, tmp_path, "llama", tmp_path / "model", module, forward, inputs, dtype)


def test_positions_may_start_anywhere(millrace, tmp_path):
    module = peer("untied")
    module.save_pretrained(tmp_path / "model")
    inputs = {"input_ids": ids(71, 1, 25), "position_ids": torch.arange(3000, 3025)[None]}
    check_forward(millrace, tmp_path, "llama", tmp_path / "model", module, forward, inputs)


def test_padding_on_either_side_changes_nothing_for_the_tokens(millrace, tmp_path):
    module = peer("tied")
    module.save_pretrained(tmp_path / "model")
    inputs = {"input_ids": ids(96, 2, 20), "attention_mask": torch.ones(2, 20, dtype=torch.int64)}
    inputs["attention_mask"][0, 15:] = 0
    inputs["attention_mask"][1, :4] = 0
    with torch.no_grad():
        expected = module(**inputs).logits
    options = ["--inputs", save(tmp_path / "i.safetensors", inputs), "--outputs", tmp_path / "o.safetensors"]
    millrace("forward", "llama", "--weights", tmp_path / "model", *options)
    got, real = load(tmp_path / "o.safetensors")["logits"], inputs["attention_mask"].bool()
    assert relative_error(got[real], expected[real]) <= 1e-5


def test_shards_and_older_configs_are_read(millrace, tmp_path):
    module = peer("untied")
    module.save_pretrained(tmp_path / "model", max_shard_size="10KB")
    assert (tmp_path / "model" / "model.safetensors.index.json").exists()
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    rope["type"] = rope.pop("rope_type")
    (tmp_path / "old.json").write_text(json.dumps(config | {"rope_scaling": rope}))
    inputs = {"input_ids": ids(71, 2, 11)}
    index = tmp_path / "model" / "model.safetensors.index.json"
    check_forward(millrace, tmp_path, "llama", index, module, forward, inputs, config=tmp_path / "old.json")


def test_a_tied_model_may_repeat_its_output_layer(millrace, tmp_path):
    module = peer("tied")
    module.save_pretrained(tmp_path / "model")
    weights = load(tmp_path / "model" / "model.safetensors")
    repeated = save(tmp_path / "w.safetensors", weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()})
    inputs = {"input_ids": ids(96, 1, 8)}
    check_forward(millrace, tmp_path, "llama", repeated, module, forward, inputs, config=tmp_path / "model" / "config.json")


def test_what_the_program_does_not_have_is_refused_by_name(millrace, tmp_path):
    module = peer("untied")
    module.save_pretrained(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    inputs = save(tmp_path / "i.safetensors", {"input_ids": ids(71, 1, 7)})

    def error(changes, status=4):
        (tmp_path / "changed.json").write_text(json.dumps(config | changes))
        options = ["--weights", tmp_path / "model", "--config", tmp_path / "changed.json"]
        return millrace("forward", "llama", *options, "--inputs", inputs, "--outputs", tmp_path / "o", status=status).stderr

    assert "model_type] expected one of llama, mistral, qwen2, qwen3, got mixtral, a mixture of experts" in error({"model_type": "mixtral"})
    assert "got qwen3_moe, a mixture of experts" in error({"model_type": "qwen3_moe"})
    assert "num_local_experts] expected no mixture of experts" in error({"num_local_experts": 8})
    assert "expected one of llama, mistral, qwen2, qwen3, got gemma2" in error({"model_type": "gemma2"})
    assert "rope_type] expected default, linear or llama3" in error({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}})
    assert "hidden_act] expected silu" in error({"hidden_act": "gelu"})
    assert "num_key_value_heads] expected a divisor" in error({"num_key_value_heads": 2})
    shutil.copy(tmp_path / "model" / "model.safetensors", tmp_path / "w.safetensors")
    options = ["--weights", tmp_path / "w.safetensors", "--inputs", inputs, "--outputs", tmp_path / "o"]
    assert "expected a config.json beside llama's weights" in millrace("forward", "llama", *options, status=4).stderr


def test_bad_inputs_are_named(millrace, tmp_path):
    peer("untied").save_pretrained(tmp_path / "model")

    def error(tensors, status):
        inputs = save(tmp_path / "i.safetensors", {"input_ids": ids(71, 1, 7)} | tensors)
        options = ["--weights", tmp_path / "model", "--inputs", inputs, "--outputs", tmp_path / "o.safetensors"]
        return millrace("forward", "llama", *options, status=status).stderr

    assert "expected ids from 0 to 70" in error({"input_ids": ids(71, 1, 7) + 70}, 4)
    assert "position_ids] expected [B, L] with B = 1, L = 7" in error({"position_ids": torch.zeros(1, 8, dtype=torch.int64)}, 3)
    assert "position_ids] expected positions from 0, got -1" in error({"position_ids": torch.arange(-1, 6)[None]}, 3)
    assert "attention_mask] expected one run of ones" in error({"attention_mask": torch.tensor([[1, 1, 0, 1, 1, 0, 0]])}, 3)
