"""`millrace forward clip` against transformers' CLIPTextModel."""

import json

import pytest
import torch
from forward_parity import check_forward, randomize
from helpers import save
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

SIZES = {
    "odd": dict(hidden_size=33, intermediate_size=50, num_hidden_layers=3, num_attention_heads=3, vocab_size=97,
                max_position_embeddings=21, hidden_act="quick_gelu", eos_token_id=96),
    "gelu": dict(hidden_size=40, intermediate_size=24, num_hidden_layers=2, num_attention_heads=5, vocab_size=61,
                 max_position_embeddings=77, hidden_act="gelu", eos_token_id=7, layer_norm_eps=1e-3),
    # the published file's eos_token_id, which stands for "the highest id"
    "openai": dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=1, vocab_size=80,
                   max_position_embeddings=30, hidden_act="quick_gelu", eos_token_id=2),
    # large enough for products without gradients to go their own way in bf16
    "wide": dict(hidden_size=132, intermediate_size=300, num_hidden_layers=2, num_attention_heads=4, vocab_size=70,
                 max_position_embeddings=77, hidden_act="quick_gelu", eos_token_id=69),
}  # fmt: skip


def peer(name, seed=0):
    return randomize(CLIPTextModel(CLIPTextConfig(**SIZES[name], bos_token_id=0, pad_token_id=1)), seed)


def forward(module, inputs):
    output = module(input_ids=inputs["input_ids"])
    return {"pooled": output.pooler_output, "last_hidden_state": output.last_hidden_state}


def ids(name, batch, length, seed=1):
    """Random ids; the end-of-text token once, twice, or not at all."""
    result = torch.randint(3, SIZES[name]["vocab_size"] - 1, (batch, length), generator=torch.Generator().manual_seed(seed))
    eos = SIZES[name]["eos_token_id"]
    result[result == eos] = 3
    end = SIZES[name]["vocab_size"] - 1 if eos == 2 else eos
    result[0, length // 2 :] = end
    if batch > 1:
        result[1, -1] = end
    return result


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name, batch, length", [("odd", 3, 21), ("odd", 1, 1), ("gelu", 2, 77), ("gelu", 1, 13), ("openai", 3, 29), ("wide", 2, 77)])
def test_outputs_and_gradients_agree(millrace, tmp_path, name, batch, length, dtype):
    module = peer(name)
    module.save_pretrained(tmp_path / "clip")
    inputs = {"input_ids": ids(name, batch, length)}
    check_forward(millrace, tmp_path, "clip", tmp_path / "clip", module, forward, inputs, dtype)


def test_published_names_and_old_buffers_are_read(millrace, tmp_path):
    module = peer("openai")
    tensors = {f"text_model.{name}": tensor for name, tensor in module.named_parameters()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(30)[None]
    weights = save(tmp_path / "clip.safetensors", tensors)

    def as_peer_names(gradients):
        assert all(name.startswith("text_model.") for name in gradients)
        return {name.removeprefix("text_model."): gradient for name, gradient in gradients.items()}

    # Heads of 64 and the published eos rule are what a file without config.json is taken for.
    inputs = {"input_ids": ids("openai", 2, 17)}
    check_forward(millrace, tmp_path, "clip", weights, module, forward, inputs, as_peer_names=as_peer_names)


def test_the_text_half_of_a_clip_model_is_found(millrace, tmp_path):
    vision = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8)
    text = SIZES["gelu"] | dict(bos_token_id=0, pad_token_id=1)
    whole = randomize(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)), 4)
    whole.save_pretrained(tmp_path / "whole")
    module = peer("gelu")
    state = {name.removeprefix("text_model."): tensor for name, tensor in whole.state_dict().items() if name.startswith("text_")}
    del state["text_projection.weight"]
    module.load_state_dict(state)
    as_peer_names = lambda gradients: {name.removeprefix("text_model."): g for name, g in gradients.items()}  # noqa: E731
    inputs = {"input_ids": ids("gelu", 2, 9)}
    check_forward(millrace, tmp_path, "clip", tmp_path / "whole", module, forward, inputs, as_peer_names=as_peer_names)


def test_what_does_not_fit_is_refused(millrace, tmp_path):
    module = peer("odd")
    weights = save(tmp_path / "clip.safetensors", dict(module.named_parameters()))
    inputs = save(tmp_path / "i.safetensors", {"input_ids": ids("odd", 1, 21)})
    options = ["--inputs", inputs, "--outputs", tmp_path / "o.safetensors"]
    assert "heads of 64" in millrace("forward", "clip", "--weights", weights, *options, status=4).stderr
    config = tmp_path / "config.json"

    def error(status=4, **changes):
        config.write_text(json.dumps(SIZES["odd"] | changes))
        return millrace("forward", "clip", "--weights", weights, "--config", config, *options, status=status).stderr

    error(status=0)
    assert "num_attention_heads] expected a divisor of hidden_size 33, got 2" in error(num_attention_heads=2)
    assert "hidden_act] expected quick_gelu or gelu, got tanh" in error(hidden_act="tanh")
    assert "vocab_size] expected a whole number" in error(vocab_size=-1)
    assert "token_embedding.weight (expected [98, 33], got [97, 33])" in error(vocab_size=98)
    assert "unknown" in error(num_hidden_layers=2)
    assert "missing" in error(num_hidden_layers=4)
    config.write_text("{")
    millrace("forward", "clip", "--weights", weights, "--config", config, *options, status=2)
    long = save(tmp_path / "i.safetensors", {"input_ids": torch.zeros(1, 22, dtype=torch.int64)})
    config.write_text(json.dumps(SIZES["odd"]))
    options[1] = long
    error = millrace("forward", "clip", "--weights", weights, "--config", config, *options, status=4).stderr
    assert "expected at most 21 tokens, got 22" in error
