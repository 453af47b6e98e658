"""`millrace forward flux` against diffusers' FluxTransformer2DModel and torchtitan's FluxModel, in every naming."""

import json

import pytest
import torch
from diffusers import FluxTransformer2DModel
from forward_parity import check_forward, randomize
from helpers import random_tensors, save

SIZES = {
    # schnell's kind: no guidance; odd counts of heads and of blocks
    "schnell": dict(in_channels=12, num_layers=2, num_single_layers=3, attention_head_dim=16, num_attention_heads=3,
                    joint_attention_dim=20, pooled_projection_dim=10, axes_dims_rope=[4, 6, 6], guidance_embeds=False),
    # dev's kind: with guidance; the real width of a head
    "dev": dict(in_channels=64, num_layers=1, num_single_layers=2, attention_head_dim=128, num_attention_heads=2,
                joint_attention_dim=40, pooled_projection_dim=33, axes_dims_rope=[16, 56, 56], guidance_embeds=True),
    "no single blocks": dict(in_channels=4, num_layers=1, num_single_layers=0, attention_head_dim=24, num_attention_heads=1,
                             joint_attention_dim=8, pooled_projection_dim=8, axes_dims_rope=[8, 8, 8], guidance_embeds=False),
    "only single blocks": dict(in_channels=4, num_layers=0, num_single_layers=2, attention_head_dim=8, num_attention_heads=5,
                               joint_attention_dim=8, pooled_projection_dim=8, axes_dims_rope=[2, 4, 2], guidance_embeds=False),
}  # fmt: skip


def peer(name, seed=0):
    return randomize(FluxTransformer2DModel(**SIZES[name]), seed)


def make_inputs(name, batch, rows, columns, text_tokens):
    sizes = SIZES[name]
    inputs = random_tensors(
        {
            "img": (batch, rows * columns, sizes["in_channels"]),
            "txt": (batch, text_tokens, sizes["joint_attention_dim"]),
            "y": (batch, sizes["pooled_projection_dim"]),
        },
        seed=5,
    )
    grid = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), dim=-1).reshape(-1, 2)
    ids = torch.cat([torch.zeros(rows * columns, 1), grid], dim=1).float()
    inputs["img_ids"] = ids.expand(batch, -1, -1).contiguous()
    inputs["txt_ids"] = torch.zeros(batch, text_tokens, 3)
    inputs["timesteps"] = torch.linspace(0.125, 0.875, batch)
    if sizes["guidance_embeds"]:
        inputs["guidance"] = torch.linspace(1.5, 3.5, batch)
    return inputs


def forward(module, inputs):
    output = module(
        hidden_states=inputs["img"],
        encoder_hidden_states=inputs["txt"],
        pooled_projections=inputs["y"],
        timestep=inputs["timesteps"],
        # The peer takes one set of positions for the whole batch.
        img_ids=inputs["img_ids"][0],
        txt_ids=inputs["txt_ids"][0],
        guidance=inputs.get("guidance"),
        return_dict=False,
    )[0]
    return {"output": output}


def black_forest_parts(sizes):
    """Our name -> the diffusers names that it holds, top to bottom. From the table in BFL's and diffusers' own code."""
    parts = {
        "img_in": ["x_embedder"],
        "txt_in": ["context_embedder"],
        "time_in.in_layer": ["time_text_embed.timestep_embedder.linear_1"],
        "time_in.out_layer": ["time_text_embed.timestep_embedder.linear_2"],
        "vector_in.in_layer": ["time_text_embed.text_embedder.linear_1"],
        "vector_in.out_layer": ["time_text_embed.text_embedder.linear_2"],
        "final_layer.linear": ["proj_out"],
        "final_layer.adaLN_modulation.1": ["norm_out.linear"],
    }
    if sizes["guidance_embeds"]:
        parts["guidance_in.in_layer"] = ["time_text_embed.guidance_embedder.linear_1"]
        parts["guidance_in.out_layer"] = ["time_text_embed.guidance_embedder.linear_2"]
    for i in range(sizes["num_layers"]):
        ours, theirs = f"double_blocks.{i}", f"transformer_blocks.{i}"
        for stream, attention, proj, norm, feed_forward, query, key in [
            ("img", ["to_q", "to_k", "to_v"], "to_out.0", "norm1", "ff", "norm_q", "norm_k"),
            ("txt", ["add_q_proj", "add_k_proj", "add_v_proj"], "to_add_out", "norm1_context", "ff_context", "norm_added_q", "norm_added_k"),
        ]:  # fmt: skip
            parts[f"{ours}.{stream}_mod.lin"] = [f"{theirs}.{norm}.linear"]
            parts[f"{ours}.{stream}_attn.qkv"] = [f"{theirs}.attn.{part}" for part in attention]
            parts[f"{ours}.{stream}_attn.proj"] = [f"{theirs}.attn.{proj}"]
            parts[f"{ours}.{stream}_attn.norm.query_norm"] = [f"{theirs}.attn.{query}"]
            parts[f"{ours}.{stream}_attn.norm.key_norm"] = [f"{theirs}.attn.{key}"]
            parts[f"{ours}.{stream}_mlp.0"] = [f"{theirs}.{feed_forward}.net.0.proj"]
            parts[f"{ours}.{stream}_mlp.2"] = [f"{theirs}.{feed_forward}.net.2"]
    for i in range(sizes["num_single_layers"]):
        ours, theirs = f"single_blocks.{i}", f"single_transformer_blocks.{i}"
        parts[f"{ours}.linear1"] = [f"{theirs}.{part}" for part in ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"]]
        parts[f"{ours}.linear2"] = [f"{theirs}.proj_out"]
        parts[f"{ours}.modulation.lin"] = [f"{theirs}.norm.linear"]
        parts[f"{ours}.norm.query_norm"] = [f"{theirs}.attn.norm_q"]
        parts[f"{ours}.norm.key_norm"] = [f"{theirs}.attn.norm_k"]
    return parts


def swap_halves(tensor):
    return torch.cat(tensor.chunk(2)[::-1])


def to_black_forest(tensors, sizes, norm_part="scale"):
    result = {}
    for ours, theirs in black_forest_parts(sizes).items():
        for part in ["weight", "bias"]:
            if f"{theirs[0]}.{part}" not in tensors:
                continue
            tensor = torch.cat([tensors[f"{name}.{part}"] for name in theirs])
            if ours == "final_layer.adaLN_modulation.1":
                tensor = swap_halves(tensor)
            result[f"{ours}.{norm_part if ours.endswith('_norm') else part}"] = tensor.detach()
    return result


def from_black_forest(tensors, sizes, norm_part="scale"):
    hidden = sizes["attention_head_dim"] * sizes["num_attention_heads"]
    result = {}
    for ours, theirs in black_forest_parts(sizes).items():
        for part in ["weight", "bias"]:
            name = f"{ours}.{norm_part if ours.endswith('_norm') and part == 'weight' else part}"
            if name not in tensors:
                continue
            tensor = tensors[name]
            if ours == "final_layer.adaLN_modulation.1":
                tensor = swap_halves(tensor)
            rows = [hidden] * 3 + [tensor.shape[0] - 3 * hidden] * (len(theirs) - 3) if len(theirs) > 1 else [tensor.shape[0]]
            for their_name, piece in zip(theirs, tensor.split(rows), strict=True):
                result[f"{their_name}.{part}"] = piece
    return result


# The last has one token of each kind: fp32 alone, since bf16's errors are to be averaged over more numbers than that.
CASES = [("schnell", 3, 5, 3, 7), ("dev", 2, 4, 7, 5), ("no single blocks", 1, 2, 3, 3), ("only single blocks", 2, 3, 3, 2), ("schnell", 1, 1, 1, 1)]
IN_BOTH = [(*case, dtype) for case in CASES for dtype in ["fp32", "bf16"][: 1 if case is CASES[-1] else 2]]


@pytest.mark.parametrize("name, batch, rows, columns, text_tokens, dtype", IN_BOTH)
def test_diffusers_agrees(millrace, tmp_path, name, batch, rows, columns, text_tokens, dtype):
    module = peer(name)
    module.save_pretrained(tmp_path / "transformer")
    inputs = make_inputs(name, batch, rows, columns, text_tokens)
    # With several samples the peer has one gradient for the positions of all.
    positions = ("img_ids", "txt_ids") if batch > 1 else ()
    check_forward(millrace, tmp_path, "flux", tmp_path / "transformer", module, forward, inputs, dtype, not_compared=positions)


def test_diffusers_shards_agree(millrace, tmp_path):
    module = peer("dev")
    module.save_pretrained(tmp_path / "transformer", max_shard_size="1MB")
    index = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    assert len(set(json.loads(index.read_text())["weight_map"].values())) > 2
    inputs = make_inputs("dev", 1, 3, 3, 4)
    check_forward(millrace, tmp_path, "flux", tmp_path / "transformer", module, forward, inputs)


def our_config(sizes, **more):
    return dict(
        in_channels=sizes["in_channels"], out_channels=sizes["in_channels"], vec_in_dim=sizes["pooled_projection_dim"],
        context_in_dim=sizes["joint_attention_dim"], hidden_size=sizes["attention_head_dim"] * sizes["num_attention_heads"],
        num_heads=sizes["num_attention_heads"], depth=sizes["num_layers"], depth_single_blocks=sizes["num_single_layers"],
        axes_dim=sizes["axes_dims_rope"], guidance_embed=sizes["guidance_embeds"], **more,
    )  # fmt: skip


@pytest.mark.parametrize("config", ["json", "toml", "shapes"])
@pytest.mark.parametrize("norm_part", ["scale", "weight"], ids=["bfl", "torchtitan"])
def test_black_forest_and_torchtitan_names_agree(millrace, tmp_path, norm_part, config):
    # Shapes alone tell the width of a head; its division into axes is FLUX's.
    name = "dev" if config == "shapes" else "schnell"
    sizes = SIZES[name]
    module = peer(name)
    weights = save(tmp_path / "flux.safetensors", to_black_forest(dict(module.named_parameters()), sizes, norm_part))
    config_path = None
    if config == "json":
        config_path = tmp_path / "model.json"
        config_path.write_text(json.dumps(our_config(sizes)))
    if config == "toml":
        config_path = tmp_path / "model.toml"
        lines = [f"{key} = {json.dumps(value)}" for key, value in our_config(sizes).items()]
        config_path.write_text("[model]\n" + "\n".join(lines) + "\n")

    def as_peer_names(gradients):
        return from_black_forest(gradients, sizes, norm_part)

    inputs = make_inputs(name, 2, 3, 4, 5)
    check_forward(
        millrace, tmp_path, "flux", weights, module, forward, inputs, config=config_path, as_peer_names=as_peer_names,
        not_compared=("img_ids", "txt_ids"),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_torchtitan_agrees(millrace, tmp_path, dtype):
    from torchtitan.models.flux.model.args import FluxModelArgs
    from torchtitan.models.flux.model.model import FluxModel

    sizes = SIZES["schnell"]
    # torch's RMSNorm without an eps adds the machine epsilon of its arithmetic.
    ours = our_config(sizes, mlp_ratio=4.0)
    del ours["guidance_embed"]
    module = randomize(FluxModel(FluxModelArgs(**ours)), 9)
    weights = save(tmp_path / "flux.safetensors", {n: p.detach() for n, p in module.named_parameters()})
    config = tmp_path / "model.json"
    config.write_text(json.dumps(ours | {"qk_norm_eps": torch.finfo(torch.float32).eps}))

    def run(model, inputs):
        return {"output": model(**inputs)}

    inputs = make_inputs("schnell", 3, 3, 5, 4)
    # Here positions differ from sample to sample.
    inputs["img_ids"] = inputs["img_ids"] + torch.arange(3).view(3, 1, 1)
    check_forward(millrace, tmp_path, "flux", weights, module, run, inputs, dtype, config=config)


def test_what_does_not_fit_is_refused(millrace, tmp_path):
    module = peer("dev")
    module.save_pretrained(tmp_path / "transformer")
    inputs = make_inputs("dev", 1, 3, 3, 4)

    def error(tensors, status, *more, weights=tmp_path / "transformer"):
        path = save(tmp_path / "i.safetensors", tensors)
        options = ["--weights", weights, "--outputs", tmp_path / "o.safetensors", *more]
        return millrace("forward", "flux", *options, "--inputs", path, status=status).stderr

    assert "guidance] expected a tensor [B]" in error({n: t for n, t in inputs.items() if n != "guidance"}, 3)
    assert "txt] expected [B, Lt, 40] with B = 1, got [1, 4, 39]" in error(inputs | {"txt": torch.zeros(1, 4, 39)}, 3)
    assert "img_ids] expected [B, Li, 3]" in error(inputs | {"img_ids": torch.zeros(1, 8, 3)}, 3)
    assert "timesteps] expected [B]" in error(inputs | {"timesteps": torch.zeros(2)}, 3)
    stranger = save(tmp_path / "x.safetensors", {"some.weight": torch.zeros(1)})
    assert "expected FLUX tensors" in error(inputs, 4, weights=stranger)
    bfl = to_black_forest(dict(module.named_parameters()), SIZES["dev"])
    del bfl["single_blocks.1.linear2.bias"]
    assert "1 missing: single_blocks.1.linear2.bias" in error(inputs, 4, weights=save(tmp_path / "b.safetensors", bfl))
