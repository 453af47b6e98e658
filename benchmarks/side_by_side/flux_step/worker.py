"""One FLUX training step after another in a peer's code, on request.

Reads one line per step on standard input and answers with one JSON line: loss and seconds. So that several workers can
take turns on one machine and be compared under the same load.
"""

import argparse
import json
import os
import pathlib
import sys
import time

START = time.perf_counter()
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from process_peak import peak_bytes  # noqa: E402


def peak_memory_bytes(device):
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    return peak_bytes()


def build_diffusers(folder, config):
    import torch
    from diffusers import FluxTransformer2DModel

    model = FluxTransformer2DModel(**{k: v for k, v in config.items() if not k.startswith("_")})
    from safetensors.torch import load_file

    model.load_state_dict(load_file(f"{folder}/diffusers.safetensors"))

    def forward(batch):
        return model(
            hidden_states=batch["img"],
            encoder_hidden_states=batch["txt"],
            pooled_projections=batch["y"],
            timestep=batch["timesteps"],
            img_ids=batch["img_ids"][0],
            txt_ids=batch["txt_ids"][0],
            return_dict=False,
        )[0]

    return model, forward


def build_torchtitan(folder, config):
    import torch
    from safetensors.torch import load_file
    from torchtitan.models.flux.model.args import FluxModelArgs
    from torchtitan.models.flux.model.model import FluxModel

    args = FluxModelArgs(
        in_channels=config["in_channels"],
        out_channels=config["in_channels"],
        vec_in_dim=config["pooled_projection_dim"],
        context_in_dim=config["joint_attention_dim"],
        hidden_size=config["num_attention_heads"] * config["attention_head_dim"],
        mlp_ratio=4.0,
        num_heads=config["num_attention_heads"],
        depth=config["num_layers"],
        depth_single_blocks=config["num_single_layers"],
        axes_dim=tuple(config["axes_dims_rope"]),
        theta=10_000,
        qkv_bias=True,
    )
    model = FluxModel(args)
    model.load_state_dict(load_file(f"{folder}/torchtitan.safetensors"))

    def forward(batch):
        return model(
            img=batch["img"],
            img_ids=batch["img_ids"],
            txt=batch["txt"],
            txt_ids=batch["txt_ids"],
            y=batch["y"],
            timesteps=batch["timesteps"],
        )

    return model, forward


def shard(model):
    """FSDP2 as torchtitan applies it to FLUX: every block, then the rest."""
    import torch
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("gloo")
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    blocks = ("transformer_blocks", "single_transformer_blocks", "double_blocks", "single_blocks")
    for name in blocks:
        for block in getattr(model, name, []):
            fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", choices=["diffusers", "torchtitan"], required=True)
    parser.add_argument("--folder", required=True, help="weights, config.json and batch.safetensors")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()

    import torch
    from safetensors.torch import load_file

    if options.threads:
        torch.set_num_threads(options.threads)
    with open(f"{options.folder}/config.json") as file:
        config = json.load(file)
    build = {"diffusers": build_diffusers, "torchtitan": build_torchtitan}[options.peer]
    model, forward = build(options.folder, config)
    model.to(options.device).train()
    ranks, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if ranks > 1:
        shard(model)
    batch = {k: v.chunk(ranks)[rank].to(options.device) for k, v in load_file(f"{options.folder}/batch.safetensors").items()}
    # As both peers train: fp32 weights and optimizer states; bf16 through autocast.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)
    autocast = torch.autocast(options.device, dtype=torch.bfloat16, enabled=options.dtype == "bf16")

    def loss_of(batch):
        with autocast:
            prediction = forward(batch)
        return torch.nn.functional.mse_loss(prediction.float(), batch["target"].float())

    if options.compile:
        model.compile()

    def step():
        loss = loss_of(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss = loss.detach()
        if ranks > 1:
            torch.distributed.all_reduce(loss)
        return loss.item() / ranks

    print(json.dumps({"ready": time.perf_counter() - START}), flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        loss = step()
        if options.device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
        print(json.dumps({"loss": loss, "seconds": seconds, "peak": peak_memory_bytes(options.device)}), flush=True)


if __name__ == "__main__":
    main()
