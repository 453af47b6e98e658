"""Every form in which T5, CLIP and the autoencoder are published is read: the same outputs as the library that wrote it."""

import copy
import itertools

import pytest
import torch
from diffusers import AutoencoderKL
from forward_parity import randomize
from helpers import load, random_tensors, relative_error, save
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel, T5ForConditionalGeneration

T5 = dict(d_model=32, d_kv=8, d_ff=48, num_layers=3, num_heads=4, vocab_size=99, feed_forward_proj="gated-gelu", dropout_rate=0.0)
CLIP = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=80, max_position_embeddings=20,
            hidden_act="quick_gelu", eos_token_id=79, bos_token_id=0, pad_token_id=1)  # fmt: skip
VISION = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def check(millrace, folder, model, weights, inputs, expected):
    """In fp32 arithmetic, whatever the file's dtype."""
    millrace("forward", model, "--weights", weights, "--inputs", save(folder / "i.safetensors", inputs), "--outputs", folder / "o.safetensors")
    got = load(folder / "o.safetensors")
    for name, tensor in expected.items():
        assert relative_error(got[name], tensor) <= 1e-5, name


def write_shards(module, folder, dtype, with_index):
    stored = copy.deepcopy(module).to(dtype)
    stored.save_pretrained(folder, max_shard_size="20KB")
    assert (folder / "model.safetensors.index.json").exists() and len(list(folder.glob("*.safetensors"))) > 2
    if not with_index:
        (folder / "model.safetensors.index.json").unlink()


@pytest.mark.parametrize("kind, form, dtype", list(itertools.product(["encoder", "whole"], ["file", "shards", "shards without index"], DTYPES)))
def test_t5(millrace, tmp_path, kind, form, dtype):
    module = randomize((T5EncoderModel if kind == "encoder" else T5ForConditionalGeneration)(T5Config(**T5)))
    module = module.to(DTYPES[dtype]).float()
    if form == "file":
        copy.deepcopy(module).to(DTYPES[dtype]).save_pretrained(tmp_path / "t5")
    else:
        write_shards(module, tmp_path / "t5", DTYPES[dtype], with_index=form == "shards")
    ids = torch.randint(0, 99, (2, 13), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = module.encoder(input_ids=ids).last_hidden_state
    check(millrace, tmp_path, "t5", tmp_path / "t5", {"input_ids": ids}, {"last_hidden_state": expected})


@pytest.mark.parametrize("kind, dtype", list(itertools.product(["text", "whole"], DTYPES)))
def test_clip(millrace, tmp_path, kind, dtype):
    if kind == "text":
        module = randomize(CLIPTextModel(CLIPTextConfig(**CLIP)))
    else:
        module = randomize(CLIPModel(CLIPConfig(text_config=CLIP, vision_config=VISION, projection_dim=12)))
    module = module.to(DTYPES[dtype]).float()
    copy.deepcopy(module).to(DTYPES[dtype]).save_pretrained(tmp_path / "clip")
    ids = torch.randint(2, 79, (2, 17), generator=torch.Generator().manual_seed(1))
    ids[:, -1] = 79
    with torch.no_grad():
        expected = (module if kind == "text" else module.text_model)(input_ids=ids).pooler_output
    check(millrace, tmp_path, "clip", tmp_path / "clip", {"input_ids": ids}, {"pooled": expected})


@pytest.mark.parametrize("form, dtype", list(itertools.product(["diffusers", "black forest"], DTYPES)))
def test_autoencoder(millrace, tmp_path, form, dtype):
    module = randomize(AutoencoderKL(
        block_out_channels=[32, 64, 64], layers_per_block=1, latent_channels=16, norm_num_groups=32, use_quant_conv=False,
        down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3, use_post_quant_conv=False))  # fmt: skip
    module = module.to(DTYPES[dtype]).float()
    copy.deepcopy(module).to(DTYPES[dtype]).save_pretrained(tmp_path / "vae")
    weights = tmp_path / "vae"
    if form == "black forest":
        weights = tmp_path / "ae.safetensors"
        millrace("export", tmp_path / "vae", weights, "--model", "autoencoder", "--naming", "bfl")
        assert "encoder.down.0.block.0.conv1.weight" in load(weights)
        assert load(weights)["encoder.conv_in.weight"].dtype == DTYPES[dtype]
    inputs = {"image": random_tensors({"image": (1, 3, 24, 32)}, seed=2)["image"].clamp(-1, 1)}
    with torch.no_grad():
        mean, logvar = module.encoder(inputs["image"]).chunk(2, dim=1)
    check(millrace, tmp_path, "autoencoder-encode", weights, inputs, {"mean": mean, "logvar": logvar})


def test_a_pickle_alone_is_refused_with_a_hint(millrace, tmp_path):
    module = T5EncoderModel(T5Config(**T5))
    module.save_pretrained(tmp_path / "t5")
    (tmp_path / "t5" / "model.safetensors").unlink()
    torch.save(module.state_dict(), tmp_path / "t5" / "pytorch_model.bin")
    inputs = save(tmp_path / "i.safetensors", {"input_ids": torch.zeros(1, 3, dtype=torch.int64)})
    result = millrace("forward", "t5", "--weights", tmp_path / "t5", "--inputs", inputs, "--outputs", tmp_path / "o", status=4)
    assert "pytorch_model.bin" in result.stderr and "safetensors" in result.stderr
