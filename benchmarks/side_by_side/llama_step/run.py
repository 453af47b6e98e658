"""Fine-tuning steps of a small Llama side by side: this program, and transformers with peft, eager.

    .venv/bin/python benchmarks/side_by_side/llama_step/run.py

Same random weights, rows, precision and optimizer. A step's time is processor seconds, (run of many steps - run of few) /
steps between, so that loading does not count and a busy machine disturbs little; runs take turns. Prints a Markdown table:
medians, the ratio to the peer, peak memory, the loss of the first and the last step.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "tests"))


def prepare(folder, options):
    """SmolLM2-135M's sizes with fewer layers, random weights; rows of text that are longer than a sample."""
    import torch
    from gguf_tokenizer import read_metadata, smollm2_file, write_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=options.layers, num_attention_heads=9,
        num_key_value_heads=3, rope_theta=100000.0, rms_norm_eps=1e-5, tie_word_embeddings=True, max_position_embeddings=8192,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    write_tokenizer(folder / "model", read_metadata(smollm2_file()))
    words = (ROOT / "docs" / "llama.md").read_text().split()
    count = options.many * options.batch
    rows = [" ".join(words[(7 * i) % 100 :] + words) for i in range(count)]
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    (folder / "empty.toml").write_text("[job]\n")


def usage_of(command, folder):
    """Processor seconds, peak memory in GiB, and what it printed."""
    output = open(folder / "output.txt", "w+")
    process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=subprocess.STDOUT, cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    output.seek(0)
    text = output.read()
    if status != 0:
        sys.exit(f"{command}: ended with status {status}\n{text[-2000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20, text


def millrace(folder, options, lora, recompute, steps):
    run = folder / "run"
    subprocess.run(["rm", "-rf", run], check=True)
    arguments = {
        "job.task": "llama_lora" if lora else "llama_finetune", "job.dump_folder": run,
        "checkpoint.initial_load_path": folder / "model", "checkpoint.no_enable": None, "finetune.data": folder / "rows.jsonl",
        "finetune.rows": "text", "finetune.chat_layout": "template", "finetune.max_seq_len": options.length, "finetune.no_shuffle": None,
        "training.local_batch_size": options.batch, "training.steps": steps, "training.device": "cpu", "training.max_norm": 1,
        "training.mixed_precision_param": "float32", "optimizer.lr": 1e-4, "lr_scheduler.warmup_steps": 0, "metrics.log_freq": 1,
        "report.no_enable": None, "activation_checkpoint.mode": recompute,
    }  # fmt: skip
    if lora:
        arguments |= {"lora.rank": lora, "lora.alpha": 2 * lora}
    words = [f"--{key}" if value is None else f"--{key}={value}" for key, value in arguments.items()]
    seconds, memory, _ = usage_of([ROOT / "build" / "millrace", "train", folder / "empty.toml", *words], folder)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return seconds, memory, [line["loss"] for line in lines if "loss" in line]


def transformers(folder, options, lora, recompute, steps):
    command = [sys.executable, HERE / "worker.py", folder, "--steps", steps, "--batch", options.batch, "--length", options.length]
    command += ["--lora", lora] if lora else []
    command += ["--recompute"] if recompute == "full" else []
    seconds, memory, text = usage_of(command, folder)
    return seconds, memory, json.loads(text.strip().splitlines()[-1])["losses"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--few", type=int, default=1)
    parser.add_argument("--many", type=int, default=5)
    parser.add_argument("--lora", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        prepare(folder, options)
        print("| | step, processor s, median (min - max) | of the first | peak memory GiB | of the first | first loss | last loss |")
        print("|---|---|---|---|---|---|---|")
        for what, lora in (("all weights", 0), (f"LoRA, rank {options.lora}", options.lora)):
            rows = []
            for name, run, recompute in (("transformers + peft" if lora else "transformers", transformers, "none"), ("millrace", millrace, "none")):
                rows.append((f"{name}, {what}", run, recompute, [], []))
            for _ in range(options.rounds):
                for _, run, recompute, seconds, seen in rows:
                    few, many = (run(folder, options, lora, recompute, steps) for steps in (options.few, options.many))
                    seconds.append((many[0] - few[0]) / (options.many - options.few))
                    seen.append(many)
            first = None
            for name, _, _, seconds, seen in rows:
                median, memory = statistics.median(seconds), max(one[1] for one in seen)
                first = first or (median, memory)
                losses = seen[0][2]
                print(f"| {name} | {median:.2f} ({min(seconds):.2f} - {max(seconds):.2f}) | {median / first[0]:.2f} | {memory:.2f} | "
                      f"{memory / first[1]:.2f} | {losses[0]:.4f} | {losses[-1]:.4f} |", flush=True)  # fmt: skip


main()
