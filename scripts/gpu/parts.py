"""The parts of the first run, in their order. A part adds rows: {"name", and of "us", "gb_per_s", "tflops", "error",
"allowed", "value" what it knows, and "passed" if it is a check}."""

import json
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from samples import write_samples, write_texts


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
                          "--objective.guidance_scale=None", config="flux_dev_lora_laptop.toml"), "lora")  # fmt: skip
    add_step_rows(the, "lora", "LoRA step, 2 + 4 blocks")
    blocks = "--lora.offload_blocks=1" if the.rehearse else "--lora.offload_blocks=3"
    for name, what, option in [("lora_offload", "half of the blocks", blocks),
                               ("lora_inputs", "inputs of blocks", "--activation_checkpoint.offload=true")]:  # fmt: skip
        the.run(train_command(the, name, *options, option, "--training.steps=6", f"--checkpoint.initial_load_path={base}",
                              "--objective.guidance_scale=None", config="flux_dev_lora_laptop.toml"), "lora")  # fmt: skip
        add_step_rows(the, name, f"LoRA step, {what} in host memory")
        ours, theirs = ([row["loss"] for row in metrics(the, run)] for run in [name, "lora"])
        error = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs))
        the.add({"name": f"losses with {what} in host memory", "error": error, "allowed": 2**-7, "passed": error <= 2**-7})


# --- Llama ---

# Layers of Llama 3 8B.
LLAMA_8B = {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}


def llama_command(the, name, *options, task="llama_finetune", sizes=None, tokens=4096):
    """sizes: what differs from the tiny model of the tests, whose tokenizer is used whatever the vocabulary."""
    tiny = the.root / "tests/golden/llama/recipes/base"
    config, texts, empty = the.work / f"{name}.json", the.work / "texts.json", the.work / "empty.toml"
    empty.write_text("[job]\n")
    config.write_text(json.dumps(json.loads((tiny / "config.json").read_text()) | ({} if the.rehearse else sizes or {})))
    write_texts(texts, count=64, words=40 if the.rehearse else 400)
    return [the.program, "train", empty, f"--job.task={task}", f"--job.dump_folder={the.work / name}", f"--model.config={config}",
            f"--finetune.data={texts}", "--finetune.rows=text", f"--finetune.tokenizer={tiny}", "--finetune.packing=greedy",
            "--finetune.split_across_packs", f"--finetune.max_seq_len={64 if the.rehearse else tokens}",
            "--training.local_batch_size=2", f"--training.device={the.device}", "--training.mixed_precision_param=bfloat16",
            "--metrics.log_freq=1", "--metrics.enable_tensorboard=false", *options]  # fmt: skip


def llama_step(the):
    sizes = LLAMA_8B | {"vocab_size": 128256, "num_hidden_layers": 8}
    the.run(llama_command(the, "llama", "--training.dtype=bfloat16", "--training.steps=8", "--checkpoint.enable=false",
                          "--finetune.no_save_model", sizes=sizes), "llama")  # fmt: skip
    add_step_rows(the, "llama", "tiny Llama" if the.rehearse else "Llama step, 8 layers of 8B, 2 x 4096 tokens")


def llama_lora_step(the):
    """LoRA on a base in bf16, and on the same in 4 bits."""
    sizes = LLAMA_8B | {"vocab_size": 32768, "num_hidden_layers": 4}
    the.run(llama_command(the, "llama_base", "--training.dtype=bfloat16", "--training.steps=1", "--optimizer.name=SGD", sizes=sizes),
            "llama_lora")  # fmt: skip
    for base, label in [("auto", ""), ("nf4", ", base in nf4")]:
        name = f"llama_lora_{base}"
        the.run(llama_command(the, name, f"--checkpoint.initial_load_path={the.work / 'llama_base/model'}", "--training.steps=6",
                              "--checkpoint.enable=false", "--lora.rank=16", f"--lora.base_dtype={base}",
                              "--lora.targets=q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj", task="llama_lora", sizes=sizes),
                "llama_lora")  # fmt: skip
        add_step_rows(the, name, f"tiny Llama LoRA{label}" if the.rehearse else f"Llama LoRA step, 4 layers of 8B, 2 x 4096 tokens{label}")


# --- kill and resume ---


def kill_and_resume(the):
    """Runs killed after a checkpoint end with the same bits as those that were not."""
    options = ["--metrics.log_freq=50", "--training.dtype=bfloat16"]
    sizes = [] if the.rehearse else ["--model.hidden_size=256", "--model.num_heads=2", "--model.depth=2",
                                     "--model.depth_single_blocks=2", "--training.local_batch_size=4"]  # fmt: skip
    llama_sizes = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64}
    resume_is_exact(the, "FLUX", 40, lambda name, *steps: train_command(
        the, name, *options, *sizes, *steps, "--training.global_batch_size=8", "--checkpoint.enable=true"))  # fmt: skip
    resume_is_exact(the, "Llama", 20, lambda name, *steps: llama_command(
        the, name, *options, *steps, "--training.global_batch_size=4", "--finetune.no_save_model", sizes=llama_sizes, tokens=512))  # fmt: skip


def resume_is_exact(the, model, interval, command):
    """Four times `interval` steps, with a checkpoint after each interval; the first is where the kill may come."""
    whole, broken = f"{model}_unbroken", f"{model}_broken"
    steps = [f"--training.steps={4 * interval}", f"--checkpoint.interval={interval}"]
    the.run(command(whole, *steps), "resume")
    victim = the.start(command(broken, *steps), "resume")
    first = the.work / broken / f"checkpoint/step-{interval:08d}/index.json"
    while not first.exists() and victim.poll() is None and the.seconds_left() > 1:
        time.sleep(0.005)
    the.kill(victim)
    killed = victim.returncode == -signal.SIGKILL
    the.add({"name": f"{model}: killed while running", "value": killed, "passed": killed})
    the.run(command(broken, *steps), "resume")
    last = f"checkpoint/step-{4 * interval:08d}"
    ours, theirs = (sorted((the.work / name / last).glob("*.safetensors")) for name in [broken, whole])
    same = len(ours) == len(theirs) > 0 and all(a.read_bytes() == b.read_bytes() for a, b in zip(ours, theirs))
    the.add({"name": f"{model}: same bits after a kill", "value": same, "passed": same})


def torch_blocks(the):
    the.stream(["python3", Path(__file__).parent / "torch_blocks.py", "--device", the.device, *(["--tiny"] if the.rehearse else [])],
               "torch_blocks")  # fmt: skip


PARTS = [
    Part("verify", 40, verify),
    Part("models", 60, probe("models")),
    Part("kernels", 25, probe("kernels")),
    Part("llama kernels", 25, probe("llama-kernels")),
    Part("modulation", 35, probe("modulation")),
    Part("products", 25, probe("products")),
    Part("attention", 20, probe("attention")),
    Part("flux step", 90, flux_step),
    Part("kill and resume", 60, kill_and_resume),
    Part("accumulation", 40, accumulation),
    Part("lora step", 70, lora_step),
    Part("llama step", 45, llama_step),
    Part("llama lora step", 60, llama_lora_step),
    Part("torch blocks", 50, torch_blocks),
    Part("whole modulation", 20, probe("whole-modulation")),
]
