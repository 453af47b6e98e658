"""Steps of a LoRA on a FLUX of 162 M parameters side by side: this program, and diffusers with peft.

    .venv/bin/python benchmarks/side_by_side/lora_step/run.py --recompute none,full

Same base, sizes, rank (16 on every linear layer of the blocks), precision and optimizer. The programs take turns, run by run.
This program trains on pictures and captions as any run does (pixels as latents, each word a random vector, both cached);
the peer's batch is drawn in place, so that it has no data to load. Prints a Markdown table: medians of the steps' times, the
ratio to the first peer, peak memory, seconds from the start of the process to the beginning of the first step and to its end.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parent), str(ROOT / "scripts" / "gpu")]

from process_peak import run_apart  # noqa: E402
from samples import write_samples  # noqa: E402
from turns import millrace_run, peer_run, print_table, take_turns  # noqa: E402

PATCH = 4  # pixels along the edge of a token: 48 channels
FIRST_LAYER = "double_blocks.0.img_attn.qkv"


def prepare(folder, options):
    """Random weights in both namings, and pictures."""
    import torch
    from diffusers import FluxTransformer2DModel
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = dict(
        patch_size=1, in_channels=3 * PATCH**2, num_layers=options.depth, num_single_layers=options.depth_single,
        attention_head_dim=128, num_attention_heads=options.hidden // 128, joint_attention_dim=options.context,
        pooled_projection_dim=768, guidance_embeds=True, axes_dims_rope=[16, 56, 56],
    )  # fmt: skip
    model = FluxTransformer2DModel(**config).to(getattr(torch, options.dtype))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.02)
    save_file(model.state_dict(), folder / "diffusers.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    subprocess.run(
        [ROOT / "build/millrace", "export", folder / "diffusers.safetensors", folder / "bfl.safetensors", "--config",
         folder / "config.json", "--naming", "bfl"], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    write_samples(folder / "pictures", side=options.side * PATCH, count=options.batch * 4)


def millrace(folder, options, recompute, base, targets="all"):
    arguments = {
        "job.task": "flux_lora", "model.flavor": "flux-dev", "model.hidden_size": options.hidden, "model.num_heads": options.hidden // 128,
        "model.depth": options.depth, "model.depth_single_blocks": options.depth_single, "model.context_in_dim": options.context,
        "model.vec_in_dim": 768, "model.patch_size": PATCH, "encoder.t5_encoder": "random", "encoder.clip_encoder": "random",
        "encoder.autoencoder_path": "none", "encoder.max_t5_encoding_len": options.text, "encoder.cache_encodings": "memory",
        "checkpoint.initial_load_path": folder / "bfl.safetensors", "training.dataset": "webdataset",
        "training.dataset_path": folder / "pictures", "training.img_size": options.side * PATCH,
        "training.local_batch_size": options.batch, "training.steps": options.steps, "training.max_norm": 1,
        "training.mixed_precision_param": options.dtype, "lora.rank": options.lora, "lora.alpha": options.lora, "lora.targets": targets,
        "lora.base_dtype": base, "optimizer.name": "AdamW", "optimizer.lr": 1e-4, "lr_scheduler.name": "constant",
        "activation_checkpoint.mode": recompute, "sample.every_steps": 0,
    }  # fmt: skip
    return millrace_run(ROOT / "build" / "millrace", arguments, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--depth-single", type=int, default=8)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--side", type=int, default=16, help="image tokens along an edge")
    parser.add_argument("--text", type=int, default=256)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--lora", type=int, default=16, help="rank")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--recompute", default="none", help="some of none,selective,full")
    parser.add_argument("--bases", default="auto", help="storages of the base, as lora.base_dtype has them: some of auto,int8,nf4,...")
    parser.add_argument("--one-layer", action="store_true", help="an adapter on the first layer alone, too: what do the others cost?")
    parser.add_argument("--compile", action="store_true", help="the peer under torch.compile, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        run_apart(prepare, folder, options)

        def peer(*more):
            return peer_run([sys.executable, HERE / "worker.py", folder, "--steps", options.steps, "--batch", options.batch, "--side",
                             options.side, "--text", options.text, "--lora", options.lora, "--dtype", options.dtype, *more], folder)  # fmt: skip

        modes = options.recompute.split(",")
        programs = {}
        for name, words in [("", []), *([(", recompute", ["--recompute"])] if "full" in modes else [])]:
            programs[f"diffusers + peft{name}"] = lambda words=words: peer(*words)
        if options.compile:
            programs["diffusers + peft, compiled"] = lambda: peer("--compile")
        for base in options.bases.split(","):
            for mode in modes:
                name = f"millrace, recompute {mode}" + ("" if base == "auto" else f", base in {base}")
                programs[name] = lambda mode=mode, base=base: millrace(folder, options, mode, base)
        if options.one_layer:  # the frozen model's forward pass and its input gradients, nearly alone
            programs["millrace, adapter on the first layer"] = lambda: millrace(folder, options, modes[0], "auto", FIRST_LAYER)
        print_table(take_turns(programs, options.rounds))


main()
