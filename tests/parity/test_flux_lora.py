"""LoRA of FLUX from a file, unmerged: against sd-scripts (tests/golden/flux_lora) and against diffusers with PEFT."""

import gzip
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers import load, random_tensors, save

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "flux_lora" / "forward"
SHIFT = 3.1582
CONFIG = dict(
    in_channels=64, out_channels=64, vec_in_dim=32, context_in_dim=32, hidden_size=64, num_heads=4, depth=2,
    depth_single_blocks=2, axes_dim=[4, 6, 6], guidance_embed=True,
)  # fmt: skip


def golden(name):
    path = GOLDEN / f"{name}.safetensors"
    return load(path) if path.exists() else safetensors.torch.load(gzip.decompress(path.with_suffix(".safetensors.gz").read_bytes()))


def part(tensors, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def pack(latents):
    b, c, h, w = latents.shape
    return latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h // 2 * (w // 2), c * 4)


def golden_inputs(guidance=1.0):
    """The model's inputs, and the velocity that its output is held against."""
    given = golden("inputs")
    uniform = torch.sigmoid(given["raw_normal"])
    sigma = SHIFT * uniform / (1 + (SHIFT - 1) * uniform)
    blend = sigma.view(-1, 1, 1, 1)
    batch, _, h, w = given["latents"].shape
    ids = torch.zeros(h // 2, w // 2, 3)
    ids[..., 1] = torch.arange(h // 2)[:, None]
    ids[..., 2] = torch.arange(w // 2)[None, :]
    inputs = {
        "img": pack((1 - blend) * given["latents"] + blend * given["noise"]),
        "img_ids": ids.view(1, -1, 3).expand(batch, -1, -1).contiguous(),
        "txt": given["t5_out"],
        "txt_ids": given["txt_ids"],
        "timesteps": sigma,
        "y": given["clip_pooled"],
        "guidance": torch.full((batch,), guidance),
    }
    return inputs, pack(given["noise"] - given["latents"])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flux")
    (folder / "model.json").write_text(json.dumps(CONFIG))
    save(folder / "base.safetensors", golden("base"))
    return folder


@pytest.fixture
def run(millrace, base, tmp_path):
    """run(lora tensors, grad_output=None) -> the outputs of `forward flux`."""

    def run(lora, grad_output=None, guidance=1.0, metadata=None, status=0, dtype="fp32", more=(), change=None):
        inputs, _ = golden_inputs(guidance)
        inputs |= {name: function(inputs[name]) for name, function in (change or {}).items()}
        more = [*more] + ([] if lora is None else ["--lora", save(tmp_path / "lora.safetensors", lora, metadata)])
        if grad_output is not None:
            inputs, more = inputs | {"grad_output": grad_output}, more + ["--gradients"]
        path = save(tmp_path / "inputs.safetensors", inputs)
        result = millrace(
            "forward", "flux", "--weights", base / "base.safetensors", "--config", base / "model.json", "--inputs", path,
            "--outputs", tmp_path / "outputs.safetensors", "--dtype", dtype, *more, status=status,
        )  # fmt: skip
        return load(tmp_path / "outputs.safetensors") if status == 0 else result.stderr

    return run


def assert_close(got, expected, tolerance, name):
    assert got.shape == expected.shape, name
    error = (got - expected).abs().max() / expected.abs().max()
    assert error <= tolerance, f"{name}: {error:.2e}"


# type_dims: a rank per kind of layer, none for some, and LoRA on the embedders; split_qkv: a pair for each of q, k, v.
@pytest.mark.parametrize("variant", ["plain", "type_dims", "split_qkv"])
def test_output_and_gradients_are_those_of_sd_scripts(run, variant):
    expected = golden(variant)
    lora, gradients = part(expected, "lora."), part(expected, "grad.")
    _, velocity = golden_inputs()
    pred = run(lora)["output"]
    assert_close(pred, expected["pred"], 2e-5, "pred")
    got = run(lora, grad_output=2 * (pred - velocity) / pred.numel())
    assert_close(got.pop("output"), expected["pred"], 2e-5, "pred")
    assert set(got) == {f"grad.{name}" for name in gradients}
    for name, gradient in gradients.items():
        assert_close(got[f"grad.{name}"], gradient, 2e-4, name)


def test_a_fused_file_of_split_pairs_is_the_same_with_alpha_times_their_number(run):
    saved = golden("split_qkv_saved")
    ranks = {name.rpartition(".lora_down")[0]: tensor.shape[0] for name, tensor in saved.items() if ".lora_down" in name}
    right = {
        name: tensor * (ranks[name.removesuffix(".alpha")] // 4) if name.endswith(".alpha") else tensor
        for name, tensor in saved.items()
    }
    assert_close(run(right)["output"], golden("split_qkv")["pred"], 2e-5, "pred")


@pytest.mark.parametrize("variant, storage", [("bf16", "dense"), ("fp8_base", "fp8_unscaled")])
def test_bases_of_16_and_8_bits_give_what_sd_scripts_gives(run, variant, storage):
    """There autocast rounds to bf16; the model's input and its time, in thousandths, are rounded too."""
    rounded = {"img": lambda x: x.bfloat16().float(), "timesteps": lambda t: (1000 * t).bfloat16().float() / 1000}
    got = run(part(golden("plain"), "lora."), dtype="bf16", more=["--base-storage", storage], change=rounded)["output"].float()
    expected = golden(variant)["pred"]
    assert_close(got, expected, 3e-2, "pred")
    target = golden_inputs()[1]
    loss = {"bf16": 3.2622476, "fp8_base": 3.2471216}[variant]
    assert (got - target).square().mean().item() == pytest.approx(loss, rel=1e-2)
    # Nearer to its own than to the other's.
    other = golden("fp8_base" if variant == "bf16" else "bf16")["pred"]
    assert (got - expected).norm() < 0.5 * (got - other).norm()


def test_a_file_in_bf16_gives_what_its_rounded_numbers_do(run):
    rounded = {name: tensor.bfloat16() for name, tensor in part(golden("plain"), "lora.").items()}
    wide = {name: tensor.float() for name, tensor in rounded.items()}
    assert torch.equal(run(rounded)["output"], run(wide)["output"])


def test_the_second_factors_rank_divides_the_alpha_of_a_kronecker_product(run):
    """Where both factors are products, of different ranks: as in ComfyUI."""
    stem = "lora_unet_single_blocks_0_linear2"
    second = random_tensors({f"{stem}.lokr_w2_a": (16, 3), f"{stem}.lokr_w2_b": (3, 80)}) | {f"{stem}.alpha": torch.tensor(2.0)}
    first = random_tensors({f"{stem}.lokr_w1_a": (4, 2), f"{stem}.lokr_w1_b": (2, 4)}, seed=5)
    whole = {f"{stem}.lokr_w1": first[f"{stem}.lokr_w1_a"] @ first[f"{stem}.lokr_w1_b"]}
    assert_close(run(second | first)["output"], run(second | whole)["output"], 2e-5, "output")


def test_text_encoders_adapters_are_left_out_with_a_note(millrace, base, run, tmp_path):
    lora = part(golden("plain"), "lora.")
    stem = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    more = random_tensors({f"{stem}.lora_down.weight": (2, 8), f"{stem}.lora_up.weight": (16, 2)}) | {f"{stem}.alpha": torch.tensor(2.0)}
    assert torch.equal(run(lora | more)["output"], run(lora)["output"])
    result = millrace(
        "forward", "flux", "--weights", base / "base.safetensors", "--config", base / "model.json", "--inputs",
        tmp_path / "inputs.safetensors", "--outputs", tmp_path / "o.safetensors", "--lora", save(tmp_path / "l.safetensors", lora | more),
    )  # fmt: skip
    assert f"leaves out 1 adapters of text encoders, {stem}" in result.stderr


def test_what_no_layer_takes_is_refused_by_name(run):
    lora = part(golden("plain"), "lora.")

    def error(more, without=()):
        return run({name: tensor for name, tensor in (lora | more).items() if name not in without}, status=4)

    strange = random_tensors({"lora_unet_double_blocks_7_img_mlp_0.lora_down.weight": (4, 64), "lora_unet_double_blocks_7_img_mlp_0.lora_up.weight": (256, 4)})
    assert "modules that it does not have: lora_unet_double_blocks_7_img_mlp_0.lora_down.weight" in error(strange)
    assert "1 of other names: lora_unet_txt_in.diff" in error({"lora_unet_txt_in.diff": torch.zeros(3)})
    stem = "lora_unet_single_blocks_0_linear2"
    assert f"{stem}] expected a down and an up projection" in error({}, without=[f"{stem}.lora_up.weight"])
    assert f"{stem}] expected matrices beside" in error({}, without=[f"{stem}.lora_up.weight", f"{stem}.lora_down.weight"])
    assert "expected matrices of one rank" in error({f"{stem}.lora_up.weight": torch.zeros(64, 3)})
    for shape in [(7,), (1, 320), (1, 64), ()]:
        refused = error({f"{stem}.dora_scale": torch.ones(shape)})
        assert f"{stem}.dora_scale] expected a magnitude for each of 64 outputs, got" in refused
    sizes = {"w1_a": (64, 2), "w1_b": (2, 320), "w2_a": (64, 2), "w2_b": (2, 320)}
    loha = {f"{stem}.hada_{role}": torch.zeros(shape) for role, shape in sizes.items()}
    pair = [f"{stem}.lora_down.weight", f"{stem}.lora_up.weight"]
    assert "expected magnitudes beside lora_down" in error(loha | {f"{stem}.dora_scale": torch.ones(64)}, without=pair)
    assert f"{stem}.alpha] expected a finite number, got nan" in error({f"{stem}.alpha": torch.tensor(float("nan"))})
    wrong = error({f"{stem}.lora_up.weight": torch.zeros(63, 4)})
    assert "expected an adapter of 320 inputs and 64 outputs for single_blocks.0.linear2, got 320 and 63" in wrong


def test_a_layer_has_one_adapter_in_any_naming(run):
    lora = part(golden("plain"), "lora.")
    projections = {name: random_tensors({f"{name}.lora_A.weight": (4, inputs), f"{name}.lora_B.weight": (outputs, 4)}) for name, inputs, outputs in (
        ("transformer.single_transformer_blocks.0.proj_out", 320, 64), ("diffusion_model.single_blocks.0.linear2", 320, 64),
        ("transformer.transformer_blocks.1.attn.to_k", 64, 64), ("transformer.transformer_blocks.1.attn.to_v", 64, 64))}  # fmt: skip
    for name, layer in zip(projections, ("single_blocks.0.linear2", "single_blocks.0.linear2", "double_blocks.1.img_attn.qkv"), strict=False):
        refused = run(lora | projections[name], status=4)
        assert "expected one adapter for each layer, got " in refused and f" for {layer} as well" in refused, name
        assert name in refused and f"lora_unet_{layer.replace('.', '_')}" in refused, name
    # Rows apart are no clash.
    fused = "lora_unet_double_blocks_1_img_attn_qkv"
    run({name: tensor for name, tensor in lora.items() if fused not in name} | projections["transformer.transformer_blocks.1.attn.to_k"]
        | projections["transformer.transformer_blocks.1.attn.to_v"])  # fmt: skip
    encoder = [random_tensors({f"{name}.lora_down.weight": (2, 8), f"{name}.lora_up.weight": (16, 2)}) for name in (
        "lora_te1_text_model_encoder_layers_0_mlp_fc1", "lora_te_text_model_encoder_layers_0_mlp_fc1")]  # fmt: skip
    assert "for clip_l.text_model.encoder.layers.0.mlp.fc1 as well" in run(lora | encoder[0] | encoder[1], status=4)


def peft_model(rank, alpha, targets, pattern=None):
    from diffusers import FluxTransformer2DModel
    from peft import LoraConfig

    torch.manual_seed(3)
    sizes = dict(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=3,
        joint_attention_dim=40, pooled_projection_dim=24, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    module = FluxTransformer2DModel(**sizes)
    folder_weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, init_lora_weights=False, alpha_pattern=pattern or {})
    module.add_adapter(config)
    return module, folder_weights, sizes


PEFT_TARGETS = {
    "attention": ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_v_proj"],
    "everything": r".*(attn\.(to_q|to_v|add_k_proj|to_add_out)|proj_mlp|proj_out|net\.2|net\.0\.proj|linear|linear_1|x_embedder|context_embedder)",
}


@pytest.mark.parametrize("targets", PEFT_TARGETS)
@pytest.mark.parametrize("container", ["diffusers", "peft"])
def test_peft_adapters_of_separate_projections_agree(millrace, tmp_path, targets, container):
    """q, k and v are layers of their own there, and rows of one layer here."""
    from peft import get_peft_model_state_dict

    pattern = {"to_q": 7, "transformer_blocks.0.attn.to_v": 5} if targets == "attention" else None
    module, weights, sizes = peft_model(4, 6.0, PEFT_TARGETS[targets], pattern)
    module.train(False)
    save(tmp_path / "base" / "diffusion_pytorch_model.safetensors", weights)
    (tmp_path / "base" / "config.json").write_text(json.dumps({"_class_name": "FluxTransformer2DModel"} | sizes))
    adapter = {name: tensor.detach() for name, tensor in get_peft_model_state_dict(module).items()}
    prefix = "base_model.model." if container == "peft" else "transformer."
    tensors = {prefix + name: tensor for name, tensor in adapter.items()}
    settings = {"r": 4, "lora_alpha": 6.0, "alpha_pattern": pattern or {}, "peft_type": "LORA"}
    if container == "peft":
        save(tmp_path / "lora" / "adapter_model.safetensors", tensors)
        (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(settings))
        lora = tmp_path / "lora"
    else:
        metadata = {"lora_adapter_metadata": json.dumps({f"transformer.{key}": value for key, value in settings.items()})}
        lora = save(tmp_path / "lora.safetensors", tensors, metadata)

    batch, tokens, text = 2, 6, 5
    inputs = random_tensors({"img": (batch, tokens, 16), "txt": (batch, text, 40), "y": (batch, 24)})
    ids = torch.zeros(tokens, 3)
    ids[:, 1], ids[:, 2] = torch.arange(tokens) // 3, torch.arange(tokens) % 3
    inputs |= {
        "img_ids": ids.expand(batch, -1, -1).contiguous(), "txt_ids": torch.zeros(batch, text, 3),
        "timesteps": torch.tensor([0.25, 0.75]), "guidance": torch.tensor([1.0, 3.5]),
    }  # fmt: skip
    expected = module(
        hidden_states=inputs["img"], encoder_hidden_states=inputs["txt"], pooled_projections=inputs["y"],
        timestep=inputs["timesteps"], img_ids=ids, txt_ids=inputs["txt_ids"][0], guidance=inputs["guidance"], return_dict=False,
    )[0]  # fmt: skip
    inputs["grad_output"] = random_tensors({"g": tuple(expected.shape)}, seed=1)["g"]
    expected.backward(inputs["grad_output"])
    gradients = {
        prefix + name.replace(".default", ""): parameter.grad for name, parameter in module.named_parameters() if "lora_" in name
    }

    millrace(
        "forward", "flux", "--weights", tmp_path / "base", "--lora", lora, "--inputs", save(tmp_path / "i.safetensors", inputs),
        "--outputs", tmp_path / "o.safetensors", "--gradients",
    )  # fmt: skip
    got = load(tmp_path / "o.safetensors")
    assert_close(got.pop("output"), expected.detach(), 1e-5, "output")
    assert set(got) == {f"grad.{name}" for name in gradients}
    for name, gradient in gradients.items():
        assert_close(got[f"grad.{name}"], gradient, 2e-5, name)
