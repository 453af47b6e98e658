"""Steps of a LoRA on a FLUX in diffusers with peft. For run.py beside it."""

import argparse
import json
import pathlib
import time

import torch


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--side", type=int, required=True, help="image tokens along an edge")
    parser.add_argument("--text", type=int, required=True)
    parser.add_argument("--lora", type=int, required=True)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()

    from diffusers import FluxTransformer2DModel
    from peft import LoraConfig
    from safetensors.torch import load_file

    config = json.loads((options.folder / "config.json").read_text())
    dtype = getattr(torch, options.dtype)
    with torch.device("meta"):
        model = FluxTransformer2DModel(**config)
    model.load_state_dict(load_file(options.folder / "diffusers.safetensors"), assign=True)
    model.to(dtype)
    model.requires_grad_(False)
    # The adapted layers of sd-scripts: every linear layer of the blocks, the modulations' included.
    layers = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and "transformer_blocks." in name]
    model.add_adapter(LoraConfig(r=options.lora, lora_alpha=options.lora, target_modules=layers))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    if options.recompute:
        model.enable_gradient_checkpointing()
    model.train()
    step_of = torch.compile(model) if options.compile else model

    rows = torch.arange(options.side).repeat_interleave(options.side)
    columns = torch.arange(options.side).repeat(options.side)
    img_ids = torch.stack([torch.zeros_like(rows), rows, columns], 1).float()
    txt_ids = torch.zeros(options.text, 3)
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    seconds, losses, first = [], [], None
    torch.manual_seed(1)
    for _ in range(options.steps):
        begin = time.perf_counter()
        latents = torch.randn(options.batch, options.side**2, config["in_channels"])
        noise = torch.randn_like(latents)
        text = torch.randn(options.batch, options.text, config["joint_attention_dim"])
        t = torch.sigmoid(torch.randn(options.batch))
        noisy = (1 - t[:, None, None]) * latents + t[:, None, None] * noise
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            predicted = step_of(
                hidden_states=noisy.to(dtype), encoder_hidden_states=text.to(dtype),
                pooled_projections=torch.randn(options.batch, config["pooled_projection_dim"]).to(dtype), timestep=t.to(dtype),
                guidance=torch.ones(options.batch, dtype=dtype), img_ids=img_ids.to(dtype), txt_ids=txt_ids.to(dtype), return_dict=False,
            )[0]  # fmt: skip
        loss = torch.nn.functional.mse_loss(predicted.float(), noise - latents)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - begin)
        first = first or time.time()
    print(json.dumps({"seconds": seconds, "first": first, "losses": losses}))


main()
