"""`millrace forward llama` against values that transformers, peft and torchtune gave once (tests/golden/llama)."""

from pathlib import Path

import pytest
import torch
from helpers import load, relative_error, save

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "llama"


def run(millrace, folder, model, inputs, *options):
    inputs_path = save(folder / "i.safetensors", inputs)
    outputs = folder / "o.safetensors"
    millrace("forward", "llama", "--weights", GOLDEN / model, "--inputs", inputs_path, "--outputs", outputs, *options)
    return load(outputs)


def loss_and_gradient(logits, labels):
    """The mean over the trained tokens of labels shifted by one, and its gradient."""
    logits = logits.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    loss.backward()
    return loss.item(), logits.grad


def check(millrace, folder, model, tokens, expected, prefix, *options):
    inputs = {name: tokens[prefix + name] for name in ("input_ids", "position_ids") if prefix + name in tokens}
    logits = run(millrace, folder, model, inputs, *options)["logits"]
    if prefix + "logits" in expected:
        assert relative_error(logits, expected[prefix + "logits"]) <= 1e-5
    loss, gradient = loss_and_gradient(logits, tokens[prefix + "labels"])
    assert abs(loss - expected[prefix + "loss"].item()) <= 5e-6
    gradients = {name[len(prefix) :]: tensor for name, tensor in expected.items() if name.startswith(prefix + "grad.")}
    if not gradients:
        return
    got = run(millrace, folder, model, inputs | {"grad_output": gradient}, "--gradients", *options)
    for name, tensor in gradients.items():
        assert relative_error(got[name], tensor) <= 1e-5, name
    if prefix == "":
        assert {name for name in got if name.startswith("grad.")} == set(gradients)


@pytest.mark.parametrize("prefix", ["", "packed."])
def test_logits_losses_and_gradients(millrace, tmp_path, prefix):
    golden = load(GOLDEN / "tied" / "forward_backward.safetensors")
    check(millrace, tmp_path, "tied", golden, golden, prefix)
    tokens = load(GOLDEN / "untied" / "inputs.safetensors")
    check(millrace, tmp_path, "untied", tokens, tokens, prefix)


@pytest.mark.parametrize("model", ["tied", "untied"])
def test_far_positions(millrace, tmp_path, model):
    golden = load(GOLDEN / model / "long.safetensors")
    logits = run(millrace, tmp_path, model, {"input_ids": golden["input_ids"]})["logits"]
    assert relative_error(logits[:, -4:], golden["logits_last4_from_0"]) <= 1e-5
    positions = golden["position_offset"].item() + torch.arange(golden["input_ids"].shape[1])[None]
    logits = run(millrace, tmp_path, model, {"input_ids": golden["input_ids"], "position_ids": positions})["logits"]
    assert relative_error(logits[:, -4:], golden["logits_last4_from_offset"]) <= 1e-5


@pytest.mark.parametrize("model, kind, prefix", [
    *((model, kind, "") for model, kind in [("tied", "lora"), ("tied", "dora"), ("tied", "rslora"), ("tied", "lora_q_v"), ("untied", "lora_lm_head")]),
    ("tied", "lora", "packed."), ("tied", "dora", "packed."),
])  # fmt: skip
def test_adapters(millrace, tmp_path, model, kind, prefix):
    tokens = load(GOLDEN / model / ("forward_backward.safetensors" if model == "tied" else "inputs.safetensors"))
    folder = GOLDEN / model / kind
    file = folder / "adapter_model.safetensors"
    check(millrace, tmp_path, model, tokens, load(folder / "forward_backward.safetensors"), prefix, "--lora", folder if prefix else file)
