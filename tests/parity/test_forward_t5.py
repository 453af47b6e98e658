"""`millrace forward t5` against transformers' T5EncoderModel."""

import pytest
import torch
from forward_parity import check_forward, randomize
from helpers import save
from transformers import T5Config, T5EncoderModel, T5ForConditionalGeneration

SIZES = {
    # v1.1, odd numbers of heads, of columns and of tokens
    "v1.1": dict(d_model=27, d_kv=5, d_ff=33, num_layers=3, num_heads=3, vocab_size=71, feed_forward_proj="gated-gelu"),
    "v1.0": dict(d_model=40, d_kv=8, d_ff=64, num_layers=2, num_heads=5, vocab_size=101, feed_forward_proj="relu"),
    "silu": dict(d_model=24, d_kv=16, d_ff=20, num_layers=1, num_heads=1, vocab_size=13, feed_forward_proj="gated-silu"),
    # buckets that are not the published ones, and an eps that shows
    "buckets": dict(
        d_model=32, d_kv=7, d_ff=48, num_layers=2, num_heads=4, vocab_size=50, feed_forward_proj="gated-gelu",
        relative_attention_num_buckets=12, relative_attention_max_distance=40, layer_norm_epsilon=1e-3,
    ),
    # large enough for products without gradients to go their own way in bf16
    "wide": dict(d_model=130, d_kv=20, d_ff=210, num_layers=2, num_heads=5, vocab_size=60, feed_forward_proj="gated-gelu"),
}  # fmt: skip


def peer(sizes, seed=0):
    # Unscaled attention over d_kv columns: T5's initialisation keeps its scores small, and so must ours.
    return randomize(T5EncoderModel(T5Config(**sizes, dropout_rate=0.0)), seed)


def forward(module, inputs):
    return {"last_hidden_state": module(input_ids=inputs["input_ids"]).last_hidden_state}


def ids(vocab_size, batch, length, seed=1):
    return torch.randint(0, vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name, batch, length", [("v1.1", 3, 37), ("v1.0", 1, 1), ("v1.0", 2, 150), ("silu", 2, 9), ("buckets", 1, 77), ("wide", 2, 75)])
def test_outputs_and_gradients_agree(millrace, tmp_path, name, batch, length, dtype):
    module = peer(SIZES[name])
    module.save_pretrained(tmp_path / "t5")
    inputs = {"input_ids": ids(SIZES[name]["vocab_size"], batch, length)}
    check_forward(millrace, tmp_path, "t5", tmp_path / "t5", module, forward, inputs, dtype)


def test_sizes_follow_from_the_shapes_of_a_single_file(millrace, tmp_path):
    module = peer(SIZES["v1.1"])
    weights = save(tmp_path / "t5.safetensors", dict(module.named_parameters()))
    inputs = {"input_ids": ids(71, 2, 19)}
    check_forward(millrace, tmp_path, "t5", weights, module, forward, inputs)


def test_config_may_come_as_toml(millrace, tmp_path):
    module = peer(SIZES["buckets"])
    weights = save(tmp_path / "t5.safetensors", dict(module.named_parameters()))
    lines = [f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in SIZES["buckets"].items()]
    (tmp_path / "t5.toml").write_text("[model]\n" + "\n".join(lines) + "\n")
    inputs = {"input_ids": ids(50, 1, 45)}
    check_forward(millrace, tmp_path, "t5", weights, module, forward, inputs, config=tmp_path / "t5.toml")


def test_a_whole_t5_in_shards_serves_as_encoder(millrace, tmp_path):
    whole = randomize(T5ForConditionalGeneration(T5Config(**SIZES["v1.1"], dropout_rate=0.0)), 3)
    whole.save_pretrained(tmp_path / "whole", max_shard_size="10KB")
    assert (tmp_path / "whole" / "model.safetensors.index.json").exists()
    module = T5EncoderModel(T5Config(**SIZES["v1.1"], dropout_rate=0.0)).eval()
    module.load_state_dict(whole.state_dict(), strict=False)
    inputs = {"input_ids": ids(71, 2, 11)}
    check_forward(millrace, tmp_path, "t5", tmp_path / "whole", module, forward, inputs)
    index = tmp_path / "whole" / "model.safetensors.index.json"
    check_forward(millrace, tmp_path, "t5", index, module, forward, inputs)


def test_the_embedding_may_go_by_its_alias(millrace, tmp_path):
    module = peer(SIZES["v1.1"])
    tensors = dict(module.named_parameters())
    tensors["encoder.embed_tokens.weight"] = tensors.pop("shared.weight")
    weights = save(tmp_path / "alias.safetensors", tensors)

    def as_peer_names(gradients):
        return {"shared.weight" if name == "encoder.embed_tokens.weight" else name: g for name, g in gradients.items()}

    inputs = {"input_ids": ids(71, 1, 7)}
    check_forward(millrace, tmp_path, "t5", weights, module, forward, inputs, as_peer_names=as_peer_names)


def test_mismatched_weights_are_refused_by_name(millrace, tmp_path):
    module = peer(SIZES["v1.1"])
    tensors = dict(module.named_parameters())
    arguments = ["forward", "t5", "--weights", tmp_path / "w.safetensors", "--outputs", tmp_path / "o.safetensors", "--inputs",
                 save(tmp_path / "i.safetensors", {"input_ids": ids(71, 1, 7)})]  # fmt: skip

    save(tmp_path / "w.safetensors", {n: t for n, t in tensors.items() if "block.1.layer.0" not in n})
    assert "5 missing: encoder.block.1.layer.0.SelfAttention.k.weight" in millrace(*arguments, status=4).stderr
    save(tmp_path / "w.safetensors", tensors | {"encoder.block.0.extra": torch.zeros(2)})
    assert "1 unknown: encoder.block.0.extra" in millrace(*arguments, status=4).stderr
    save(tmp_path / "w.safetensors", tensors | {"encoder.final_layer_norm.weight": torch.zeros(26)})
    error = millrace(*arguments, status=4).stderr
    assert "encoder.final_layer_norm.weight (expected [27], got [26])" in error
    save(tmp_path / "w.safetensors", tensors | {"shared.weight": tensors["shared.weight"].to(torch.int8)})
    assert "shared.weight (expected floating point, got I8)" in millrace(*arguments, status=4).stderr
    torch.save(tensors, tmp_path / "w.pt")
    arguments[3] = tmp_path / "w.pt"
    assert "safetensors" in millrace(*arguments, status=4).stderr


def test_bad_inputs_are_named(millrace, tmp_path):
    weights = save(tmp_path / "w.safetensors", dict(peer(SIZES["v1.1"]).named_parameters()))

    def error(tensors, status, *more):
        inputs = save(tmp_path / "i.safetensors", tensors)
        options = ["--weights", weights, "--inputs", inputs, "--outputs", tmp_path / "o.safetensors", *more]
        return millrace("forward", "t5", *options, status=status).stderr

    assert "input_ids] expected a tensor [B, L]" in error({"input_id": ids(71, 1, 7)}, 3)
    assert "expected int64, got Float" in error({"input_ids": torch.zeros(1, 7)}, 3)
    assert "expected [B, L], got [7]" in error({"input_ids": ids(71, 1, 7)[0]}, 3)
    assert "expected ids from 0 to 70" in error({"input_ids": ids(72, 1, 7) + 70}, 4)
    assert "grad_output" in error({"input_ids": ids(71, 1, 7)}, 3, "--gradients")
    assert "grad_output" in error({"input_ids": ids(71, 1, 7), "grad_output": torch.zeros(1, 7, 26)}, 3, "--gradients")
    assert not (tmp_path / "o.safetensors").exists()
    millrace("forward", "t6", "--weights", weights, "--inputs", "i", "--outputs", "o", status=2)
    millrace("forward", "t5", "--weights", weights, status=2)
    missing = ["--inputs", tmp_path / "none.safetensors", "--outputs", tmp_path / "o.safetensors"]
    millrace("forward", "t5", "--weights", weights, *missing, status=3)
