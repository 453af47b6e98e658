"""FLUX training steps side by side: this program, diffusers and torchtitan, eager and compiled.

    .venv/bin/python benchmarks/side_by_side/flux_step/run.py --rounds 7

Same weights, batch, precision and optimizer. The workers run in separate processes and take turns, step by step, so
that a machine whose speed drifts is the same machine for all of them. Prints a Markdown table: medians, the ratio to
the first peer, peak memory, seconds from the start of the process to the end of the first step.

With --ranks N every worker is N processes that share the weights and the batch: the peers by FSDP2 on Gloo. Time is then
the slowest rank's, memory the largest.
"""

import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def prepare(folder, options):
    """Random weights in both namings, one batch, and the sizes."""
    import torch
    from diffusers import FluxTransformer2DModel
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = dict(
        patch_size=1,
        in_channels=64,
        num_layers=options.depth,
        num_single_layers=options.depth_single,
        attention_head_dim=128,
        num_attention_heads=options.hidden // 128,
        joint_attention_dim=options.context,
        pooled_projection_dim=768,
        guidance_embeds=False,
        axes_dims_rope=[16, 56, 56],
    )
    model = FluxTransformer2DModel(**config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.02)
    save_file(model.state_dict(), folder / "diffusers.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    subprocess.run(
        [ROOT / "build/millrace", "export", folder / "diffusers.safetensors", folder / "torchtitan.safetensors",
         "--config", folder / "config.json", "--naming", "torchtitan"],
        check=True, stdout=subprocess.DEVNULL)
    side = int(options.image_tokens**0.5)
    rows = torch.arange(side).repeat_interleave(side)
    columns = torch.arange(side).repeat(side)
    img_ids = torch.stack([torch.zeros_like(rows), rows, columns], 1).float()
    batch = options.batch
    tensors = dict(
        img=torch.randn(batch, side * side, 64),
        img_ids=img_ids.expand(batch, -1, -1).contiguous(),
        txt=torch.randn(batch, options.text_tokens, options.context),
        txt_ids=torch.zeros(batch, options.text_tokens, 3),
        timesteps=torch.rand(batch),
        y=torch.randn(batch, 768),
        target=torch.randn(batch, side * side, 64),
    )
    save_file(tensors, folder / "batch.safetensors")


def environments(ranks):
    """One per process, as torchrun sets them; the plain environment for one."""
    if ranks == 1:
        return [None]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, os.cpu_count() // ranks)))
    return [
        {**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks),
         "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": threads}
        for rank in range(ranks)
    ]


class Worker:
    def __init__(self, name, command, ranks):
        self.name, self.seconds, self.losses, self.peak = name, [], [], 0
        started = time.perf_counter()
        self.processes = [
            subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
            for env in environments(ranks)
        ]
        self.read()
        self.first = self.step(counted=False)
        self.start_to_first_step = time.perf_counter() - started

    def read(self):
        answers = []
        for process in self.processes:
            line = process.stdout.readline()
            while line and not line.startswith("{"):  # a library's own words
                line = process.stdout.readline()
            if not line:
                sys.exit(f"{self.name}: ended with status {process.wait()}")
            answers.append(json.loads(line))
        return answers

    def step(self, counted=True):
        for process in self.processes:
            process.stdin.write("step\n")
            process.stdin.flush()
        answers = self.read()
        seconds = max(answer["seconds"] for answer in answers)
        self.losses.append(answers[0]["loss"])
        self.peak = max(answer["peak"] for answer in answers)
        if counted:
            self.seconds.append(seconds)
        return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--depth-single", type=int, default=8)
    parser.add_argument("--image-tokens", type=int, default=256)
    parser.add_argument("--text-tokens", type=int, default=256)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peers", default="diffusers,torchtitan")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--recompute", default="selective,none")
    parser.add_argument("--folder", help="keep the prepared weights and batch here")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(options.folder or temporary)
        prepare(folder, options)
        shared = ["--folder", folder, "--dtype", options.dtype, "--device", options.device]
        commands = []
        for peer in options.peers.split(","):
            for compiled in [False] if options.no_compile else [False, True]:
                command = [sys.executable, HERE / "worker.py", "--peer", peer, *shared]
                commands.append((f"{peer} {'compiled' if compiled else 'eager'}", command + ["--compile"] * compiled))
        for mode in options.recompute.split(","):
            commands.append(
                (f"millrace, recompute {mode}",
                 [ROOT / "build/benchmarks/flux_step_worker", *shared, "--recompute", mode]))
        workers = [Worker(name, command, options.ranks) for name, command in commands]
        for worker in workers:
            worker.step(counted=False)
        for _ in range(options.rounds):
            for worker in workers:
                worker.step()

    # The first two losses tell that all train the same model; later ones drift apart by rounding.
    reference = workers[0].losses
    for worker in workers[1:]:
        for expected, got in zip(reference[:2], worker.losses[:2]):
            if abs(got - expected) > (1e-4 if options.dtype == "fp32" else 3e-2) * abs(expected):
                sys.exit(f"{worker.name}: expected loss {expected}, got {got}: not the same computation")

    first = statistics.median(workers[0].seconds)
    print("| | step, median s (min - max) | of the first | peak memory GiB | of the first | start to first step s |")
    print("|---|---|---|---|---|---|")
    for worker in workers:
        median = statistics.median(worker.seconds)
        print(f"| {worker.name} | {median:.3f} ({min(worker.seconds):.3f} - {max(worker.seconds):.3f}) | {median / first:.2f} "
              f"| {worker.peak / 2**30:.2f} | {worker.peak / workers[0].peak:.2f} | {worker.start_to_first_step:.1f} |")


if __name__ == "__main__":
    main()
