"""`millrace forward autoencoder-encode` and `-decode` against diffusers' AutoencoderKL."""

import json

import pytest
import torch
from diffusers import AutoencoderKL
from forward_parity import check_forward, randomize
from helpers import assert_agree, load, random_tensors, save
from torchtitan.models.flux.model.autoencoder import AutoEncoder, AutoEncoderParams

SIZES = {
    # four levels as FLUX's, every shortcut kind, 32 groups
    "flux": dict(block_out_channels=[32, 64, 96, 96], layers_per_block=2, latent_channels=16, norm_num_groups=32),
    "small": dict(block_out_channels=[12, 18], layers_per_block=1, latent_channels=5, norm_num_groups=6),
    "one level": dict(block_out_channels=[8], layers_per_block=3, latent_channels=4, norm_num_groups=4),
}


def peer(name, seed=0):
    levels = len(SIZES[name]["block_out_channels"])
    module = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * levels, up_block_types=["UpDecoderBlock2D"] * levels,
        use_quant_conv=False, use_post_quant_conv=False, **SIZES[name],
    )  # fmt: skip
    return randomize(module, seed)


def encode(module, inputs):
    mean, logvar = module.encoder(inputs["image"]).chunk(2, dim=1)
    return {"mean": mean, "logvar": logvar}


def decode(module, inputs):
    return {"image": module.decoder(inputs["latent"])}


def image(batch, height, width):
    return {"image": random_tensors({"image": (batch, 3, height, width)}, seed=2)["image"].clamp(-1, 1)}


def latent(name, batch, height, width):
    return random_tensors({"latent": (batch, SIZES[name]["latent_channels"], height, width)}, seed=3)


# The smallest in fp32 alone: bf16's errors are to be averaged over more numbers than they have. Attention sees a 64th of the
# pixels; of 7 positions, one seed in ten gave the queries' bias a gradient with 2.4 times the peer's error (the average is 1.0).
ENCODED = [("flux", 2, 40, 24, "fp32"), ("flux", 1, 24, 72, "bf16"), ("small", 3, 14, 22, "fp32"), ("one level", 1, 7, 5, "fp32")]
DECODED = [("flux", 2, 3, 5, "fp32"), ("flux", 1, 3, 7, "bf16"), ("small", 3, 7, 11, "fp32"), ("one level", 1, 7, 5, "fp32")]


@pytest.mark.parametrize("name, batch, height, width, dtype", ENCODED)
def test_encode_agrees(millrace, tmp_path, name, batch, height, width, dtype):
    module = peer(name)
    module.save_pretrained(tmp_path / "vae")
    inputs = image(batch, height, width)
    check_forward(millrace, tmp_path, "autoencoder-encode", tmp_path / "vae", module, encode, inputs, dtype)


@pytest.mark.parametrize("name, batch, height, width, dtype", DECODED)
def test_decode_agrees(millrace, tmp_path, name, batch, height, width, dtype):
    module = peer(name)
    module.save_pretrained(tmp_path / "vae")
    inputs = latent(name, batch, height, width)
    check_forward(millrace, tmp_path, "autoencoder-decode", tmp_path / "vae", module, decode, inputs, dtype)


def test_large_pictures_agree(millrace, tmp_path):
    """Large enough for the convolutions that need no gradients to go by Winograd's algorithm."""
    module = peer("flux")
    module.save_pretrained(tmp_path / "vae")
    for model, run, inputs in (("encode", encode, image(2, 96, 136)), ("decode", decode, latent("flux", 2, 13, 10))):
        path = save(tmp_path / "inputs.safetensors", inputs)
        millrace("forward", f"autoencoder-{model}", "--weights", tmp_path / "vae", "--inputs", path, "--outputs", tmp_path / "o.safetensors")
        with torch.no_grad():
            assert_agree(load(tmp_path / "o.safetensors"), run(module, inputs), 1e-5)


def run_black_forest(module, inputs):
    if "image" in inputs:
        mean, logvar = module.encoder(inputs["image"]).chunk(2, dim=1)
        return {"mean": mean, "logvar": logvar}
    return {"image": module.decoder(inputs["latent"])}


@pytest.mark.parametrize("model", ["autoencoder-encode", "autoencoder-decode"])
def test_black_forest_names_agree(millrace, tmp_path, model):
    """torchtitan's autoencoder is Black Forest's own code."""
    params = AutoEncoderParams(resolution=64, in_channels=3, ch=32, out_ch=3, ch_mult=(1, 2, 3, 3), num_res_blocks=2, z_channels=16)
    module = randomize(AutoEncoder(params))
    weights = save(tmp_path / "ae.safetensors", {name: p.detach() for name, p in module.named_parameters()})
    inputs = image(1, 24, 16) if model == "autoencoder-encode" else latent("flux", 1, 3, 2)
    check_forward(millrace, tmp_path, model, weights, module, run_black_forest, inputs)


def test_sizes_may_come_in_black_forest_words(millrace, tmp_path):
    module = peer("flux")
    weights = save(tmp_path / "vae.safetensors", dict(module.named_parameters()))
    config = tmp_path / "ae.json"
    config.write_text(json.dumps(dict(in_channels=3, ch=32, out_ch=3, ch_mult=[1, 2, 3, 3], num_res_blocks=2, z_channels=16)))
    check_forward(millrace, tmp_path, "autoencoder-decode", weights, module, decode, latent("flux", 1, 2, 3), config=config)


def test_what_does_not_fit_is_refused(millrace, tmp_path):
    module = peer("flux")
    module.save_pretrained(tmp_path / "vae")

    def error(model, inputs, status, *more, weights=tmp_path / "vae"):
        options = ["--weights", weights, "--outputs", tmp_path / "o.safetensors", *more]
        return millrace("forward", model, *options, "--inputs", save(tmp_path / "i.safetensors", inputs), status=status).stderr

    assert "multiples of 8, got [1, 3, 24, 20]" in error("autoencoder-encode", image(1, 24, 20), 4)
    assert "expected [B, 3, H, W], got [1, 4, 8, 8]" in error("autoencoder-encode", {"image": torch.zeros(1, 4, 8, 8)}, 3)
    assert "latent] expected a tensor" in error("autoencoder-decode", image(1, 24, 16), 3)
    single = save(tmp_path / "x.safetensors", {"encoder.conv_in.weight": torch.zeros(1)})
    assert "expected the autoencoder's tensors" in error("autoencoder-decode", {}, 4, weights=single)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(dict(module.config) | {"use_quant_conv": True}, default=str))
    assert "use_quant_conv] expected false" in error("autoencoder-decode", {}, 4, "--config", config)
