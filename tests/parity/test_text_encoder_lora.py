"""Adapters on CLIP's and T5's text encoders, forward and backward: against transformers with PEFT."""

import pytest
import torch
from forward_parity import randomize
from helpers import load, save
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

CLIP_LAYERS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
T5_LAYERS = ["q", "k", "v", "o", "wi_0", "wi_1", "wo"]


def make_clip():
    return CLIPTextModel(CLIPTextConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, vocab_size=61,
        max_position_embeddings=17, hidden_act="quick_gelu", eos_token_id=2, bos_token_id=0, pad_token_id=1))  # fmt: skip


def make_t5():
    return T5EncoderModel(T5Config(
        d_model=24, d_kv=6, d_ff=40, num_layers=2, num_heads=3, vocab_size=61, feed_forward_proj="gated-gelu", dropout_rate=0.0))  # fmt: skip


MODELS = {"clip": (make_clip, CLIP_LAYERS, "pooler_output"), "t5": (make_t5, T5_LAYERS, "last_hidden_state")}
PREFIXES = {"clip": "lora_te1_text_model_", "t5": "lora_te3_"}


def kohya_name(model, name):
    """PEFT's name of a matrix as sd-scripts has it."""
    module, role = name.removeprefix("base_model.model.").removeprefix("text_model.").split(".lora_")
    return f"{PREFIXES[model]}{module.replace('.', '_')}.lora_{'down' if role[0] == 'A' else 'up'}.weight"


class Peer:
    """The model with adapters of rank 3 and alpha 6, its output and its adapters' gradients."""

    def __init__(self, model, folder, use_dora=False):
        make, layers, output = MODELS[model]
        base = randomize(make(), 0)
        base.save_pretrained(folder / "base")
        self.module = get_peft_model(base, LoraConfig(r=3, lora_alpha=6, target_modules=layers, use_dora=use_dora))
        generator = torch.Generator().manual_seed(1)
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad and "magnitude" not in name:
                parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
        self.ids = torch.randint(3, 60, (3, 13), generator=generator)
        result = getattr(self.module(input_ids=self.ids), output)
        self.grad_output = torch.randn(result.shape, generator=generator)
        result.backward(self.grad_output)
        self.output = result.detach()
        self.adapters = get_peft_model_state_dict(self.module)
        grads = {name: p.grad for name, p in self.module.named_parameters() if p.requires_grad}
        self.grads = {name.replace(".default", ""): grad for name, grad in grads.items()}


def forward(millrace, tmp_path, model, peer, lora, dtype="fp32"):
    inputs = save(tmp_path / "inputs.safetensors", {"input_ids": peer.ids, "grad_output": peer.grad_output})
    outputs = tmp_path / "outputs.safetensors"
    run = ["forward", model, "--weights", tmp_path / "base", "--inputs", inputs, "--outputs", outputs, "--lora", lora, "--dtype", dtype]
    plain = millrace(*run)
    first = "pooled" if model == "clip" else "last_hidden_state"
    without_gradients = load(outputs)[first]
    millrace(*run, "--gradients")
    result = load(outputs)
    assert torch.allclose(without_gradients, result[first], rtol=1e-5, atol=1e-5)
    return result[first], {name.removeprefix("grad."): grad for name, grad in result.items() if name.startswith("grad.")}, plain


def error(got, expected):
    return ((got.float() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("model", MODELS)
def test_a_kohya_file_gives_transformers_output_and_gradients(millrace, tmp_path, model):
    peer = Peer(model, tmp_path)
    lora = {kohya_name(model, name): tensor for name, tensor in peer.adapters.items()}
    alphas = {name.replace(".lora_down.weight", ".alpha"): torch.tensor(6.0) for name in lora if "lora_down" in name}
    others = {
        "lora_unet_double_blocks_0_img_mlp_0.lora_down.weight": torch.zeros(3, 8),
        "lora_unet_double_blocks_0_img_mlp_0.lora_up.weight": torch.zeros(8, 3),
    }
    file = save(tmp_path / "lora.safetensors", lora | alphas | others)
    output, grads, run = forward(millrace, tmp_path, model, peer, file)
    assert "leaves out 1 adapters of other models" in run.stderr
    assert error(output, peer.output) < 1e-5
    assert grads.keys() == lora.keys()
    for name, expected in peer.grads.items():
        assert error(grads[kohya_name(model, name)], expected) < 1e-5, name


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_a_peft_folder_gives_transformers_output_and_gradients(millrace, tmp_path, model, use_dora):
    peer = Peer(model, tmp_path, use_dora)
    peer.module.save_pretrained(tmp_path / "peft")
    output, grads, _ = forward(millrace, tmp_path, model, peer, tmp_path / "peft")
    assert error(output, peer.output) < 1e-5
    assert len(grads) == len(peer.adapters)
    for name, expected in peer.grads.items():
        name = name.removesuffix(".weight") if "magnitude" in name else name
        assert error(grads[name].flatten(), expected.flatten()) < 1e-5, name


def test_a_file_without_adapters_of_the_model_is_refused(millrace, tmp_path):
    peer = Peer("clip", tmp_path)
    lora = {kohya_name("clip", name): tensor for name, tensor in peer.adapters.items()}
    file = save(tmp_path / "lora.safetensors", lora)
    make_t5().save_pretrained(tmp_path / "t5")
    inputs = save(tmp_path / "inputs.safetensors", {"input_ids": peer.ids})
    run = ["forward", "t5", "--weights", tmp_path / "t5", "--inputs", inputs, "--outputs", tmp_path / "out.safetensors"]
    assert "expected adapters of T5, got none" in millrace(*run, "--lora", file, status=4).stderr
