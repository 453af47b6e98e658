"""The parts of the first run, in their order. A part adds rows: {"name", and of "us", "gb_per_s", "tflops", "error",
"allowed", "value" what it knows, and "passed" if it is a check}."""

import json
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from samples import write_samples


@dataclass
class Part:
    name: str
    limit: float  # seconds
    run: Callable


# A part whose failure is news, not a fault of this program.
MAY_FAIL = {"whole modulation"}


def probe(part):
    def run(the):
        the.stream([the.probe, part, "--device", the.device, *(["--tiny"] if the.rehearse else [])], part)

    return run


def verify(the):
    command = [the.program, "verify", "--device", the.device]
    line = re.compile(r"^(\S.*?)\s+(\S+)\s+(\S+)\s+(ok|FAILED)$")
    try:
        output = the.run(command, "verify")
    except RuntimeError:
        output = (the.out / "verify.log").read_text()
    for text in output.splitlines():
        if found := line.match(text):
            name, error, allowed, verdict = found.groups()
            the.add({"name": name, "error": float(error), "allowed": float(allowed), "passed": verdict == "ok"})
    if "all kernels agree" not in output:
        raise RuntimeError("expected every check to pass")


# --- whole training runs ---

# Sizes of a step: real ones, of which a GPU of 80 GB takes six double and twelve single blocks, and those of a rehearsal.
REAL = ["--model.flavor=flux-schnell", "--model.patch_size=4", "--training.img_size=64", "--encoder.max_t5_encoding_len=256",
        "--training.local_batch_size=16"]  # fmt: skip
TINY = ["--model.flavor=flux-schnell", "--model.hidden_size=32", "--model.num_heads=2", "--model.depth=1",
        "--model.depth_single_blocks=1", "--model.context_in_dim=16", "--model.vec_in_dim=16", "--model.patch_size=4",
        "--training.img_size=16", "--encoder.max_t5_encoding_len=4", "--training.local_batch_size=4"]  # fmt: skip


def gpu_gigabytes(the):
    found = re.search(r"(\d+) MiB", the.results["machine"].get("gpu", ""))
    return int(found.group(1)) / 1024 if found else 0


def depth(the, double, single):
    return [] if the.rehearse else [f"--model.depth={double}", f"--model.depth_single_blocks={single}"]


def train_command(the, name, *options, config="tiny.toml"):
    data = the.work / "samples"
    write_samples(data, side=16 if the.rehearse else 64, count=64)
    return [the.program, "train", the.root / "configs" / config, *(TINY if the.rehearse else REAL),
            f"--training.dataset_path={data}", f"--job.dump_folder={the.work / name}", f"--training.device={the.device}",
            "--training.mixed_precision_param=bfloat16", "--sample.every_steps=0", "--checkpoint.enable=false",
            "--metrics.enable_tensorboard=false", *([] if "lora" in config else ["--optimizer.ema_decay=0"]), *options]  # fmt: skip


def metrics(the, name):
    lines = (the.work / name / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


def add_step_rows(the, name, label):
    """The fastest step after the first three (of which one is slowed down by the profiler), and its memory."""
    steps = metrics(the, name)
    best = min(steps[3:] or steps, key=lambda row: row["seconds_per_step"])
    shown = {key: best[key] for key in ["samples_per_second", "tflops", "mfu", "memory_gib"] if best.get(key) is not None}
    the.add({"name": label, "us": best["seconds_per_step"] * 1e6, "value": shown, "losses": [row["loss"] for row in steps]})


def flux_step(the):
    whole = gpu_gigabytes(the) > 130
    blocks = [19, 38] if whole else [6, 12]
    profile = ["--profiling.enable_profiling", "--profiling.profile_freq=8", "--profiling.warmup_steps=1",
               "--profiling.active_steps=1"]  # fmt: skip
    the.run(train_command(the, "flux", *depth(the, *blocks), "--training.dtype=bfloat16", "--training.steps=9", *profile), "flux")
    label = "tiny FLUX" if the.rehearse else f"FLUX step, {blocks[0]} + {blocks[1]} blocks, 16 x 512 tokens"
    add_step_rows(the, "flux", label)
    for trace in (the.work / "flux").rglob("*trace*.json*"):
        trace.replace(the.out / f"flux_{trace.name}")
        the.add({"name": "trace", "value": f"flux_{trace.name}"})


def accumulation(the):
    """Three microbatches summed in bf16 alone: the memory of one, and the loss curve of fp32 sums."""
    options = [*depth(the, 2, 4), "--training.dtype=bfloat16", "--training.steps=6",
               f"--training.global_batch_size={12 if the.rehearse else 48}"]  # fmt: skip
    for sums in ["bfloat16", "float32"]:
        the.run(train_command(the, f"sums_{sums}", *options, f"--training.accumulate_dtype={sums}"), "accumulation")
        add_step_rows(the, f"sums_{sums}", f"accumulation in {sums}")
    narrow, wide = ([row["loss"] for row in metrics(the, f"sums_{sums}")] for sums in ["bfloat16", "float32"])
    error = max(abs(a - b) / abs(b) for a, b in zip(narrow, wide))
    the.add({"name": "loss curve of bf16 sums", "error": error, "allowed": 2**-7, "passed": error <= 2**-7})


def lora_step(the):
    options = depth(the, 2, 4)
    base = the.work / "base.safetensors"
    the.run(train_command(the, "base", *options, "--training.dtype=bfloat16", "--training.steps=1", "--checkpoint.enable=true"), "lora")
    the.run([the.program, "export", the.work / "base", base], "lora")
    the.run(train_command(the, "lora", *options, "--training.steps=6", f"--checkpoint.initial_load_path={base}",
                          config="flux_dev_lora_laptop.toml"), "lora")  # fmt: skip
    add_step_rows(the, "lora", "LoRA step, 2 + 4 blocks")


def kill_and_resume(the):
    """A run killed after a checkpoint ends with the same bits as one that was not."""
    options = ["--training.steps=400", "--checkpoint.interval=100", "--metrics.log_freq=50", "--training.dtype=bfloat16", "--training.global_batch_size=8"]
    sizes = [] if the.rehearse else ["--model.hidden_size=256", "--model.num_heads=2", "--model.depth=2",
                                     "--model.depth_single_blocks=2", "--training.local_batch_size=4"]  # fmt: skip

    def command(name):
        return train_command(the, name, *options, *sizes, "--checkpoint.enable=true")

    the.run(command("unbroken"), "resume")
    victim = the.start(command("broken"), "resume")
    first = the.work / "broken/checkpoint/step-00000100/index.json"
    while not first.exists() and victim.poll() is None and the.seconds_left() > 1:
        time.sleep(0.005)
    the.kill(victim)
    killed = victim.returncode == -signal.SIGKILL
    the.add({"name": "killed while running", "value": killed, "passed": killed})
    the.run(command("broken"), "resume")
    last = "checkpoint/step-00000400"
    ours, theirs = (sorted((the.work / name / last).glob("*.safetensors")) for name in ["broken", "unbroken"])
    same = len(ours) == len(theirs) > 0 and all(a.read_bytes() == b.read_bytes() for a, b in zip(ours, theirs))
    the.add({"name": "same bits after a kill", "value": same, "passed": same})


def torch_blocks(the):
    the.stream(["python3", Path(__file__).parent / "torch_blocks.py", "--device", the.device, *(["--tiny"] if the.rehearse else [])],
               "torch_blocks")  # fmt: skip


PARTS = [
    Part("verify", 40, verify),
    Part("models", 60, probe("models")),
    Part("kernels", 25, probe("kernels")),
    Part("modulation", 35, probe("modulation")),
    Part("products", 25, probe("products")),
    Part("attention", 20, probe("attention")),
    Part("flux step", 90, flux_step),
    Part("kill and resume", 40, kill_and_resume),
    Part("accumulation", 40, accumulation),
    Part("lora step", 45, lora_step),
    Part("torch blocks", 50, torch_blocks),
    Part("whole modulation", 20, probe("whole-modulation")),
]
