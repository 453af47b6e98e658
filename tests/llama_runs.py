"""Runs of Llama fine-tuning on the tiny model of tests/golden/llama/recipes."""

import json
import shutil
from pathlib import Path

from helpers import load, save

RECIPES = Path(__file__).resolve().parent / "golden" / "llama" / "recipes"
BASE = RECIPES / "base"

# What the recipes' own configurations say, in our words.
COMMON = {
    "job.task": "llama_finetune",
    "checkpoint.initial_load_path": BASE,
    "finetune.data": RECIPES / "chat.json",
    "finetune.max_seq_len": 112,
    "finetune.order": "torchtune",
    "finetune.torchtune_version": "0.6.1",
    "training.device": "cpu",
    "training.mixed_precision_param": "float32",
    "training.seed": 5,
    "optimizer.lr": 0.004,
    "optimizer.beta2": 0.999,
    "optimizer.weight_decay": 0.01,
    "lr_scheduler.name": "cosine",
    "lr_scheduler.warmup_steps": 3,
    "metrics.log_freq": 1,
    "report.no_enable": None,
}
LORA = {
    "job.task": "llama_lora",
    "lora.rank": 4,
    "lora.alpha": 8,
    "lora.targets": "q_proj,v_proj,o_proj,gate_proj,up_proj,down_proj",
}
# Millrace's own order, a few steps.
SHORT = {
    "finetune.order": "millrace",
    "training.local_batch_size": 6,
    "training.global_batch_size": 12,
    "training.steps": 4,
}


def tied_base(folder: Path) -> Path:
    """BASE without an output layer of its own."""
    shutil.copytree(BASE, folder)
    tensors = {name: tensor for file in BASE.glob("*.safetensors") for name, tensor in load(file).items()}
    del tensors["lm_head.weight"]
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    save(folder / "model.safetensors", tensors)
    config = json.loads((BASE / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    return folder


def arguments(options: dict) -> list[str]:
    return [f"--{name}" if value is None else f"--{name}={value}" for name, value in options.items()]


def empty_config(folder: Path) -> Path:
    """A configuration that says nothing: the command line says everything."""
    path = folder / "empty.toml"
    path.write_text("[job]\n")
    return path


def train(millrace, folder: Path, options: dict, **how):
    config = empty_config(folder.parent)
    return millrace("train", config, *arguments(COMMON | options | {"job.dump_folder": folder}), **how)


def logged(folder: Path, key: str) -> list[dict]:
    """The lines of metrics.jsonl that have the key."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if key in line]


def steps(folder: Path) -> list[dict]:
    return logged(folder, "loss")


def nested(flat: dict) -> dict:
    """{"a.b": 1} as {"a": {"b": 1}}."""
    root = {}
    for path, value in flat.items():
        *tables, key = path.split(".")
        at = root
        for table in tables:
            at = at.setdefault(table, {})
        at[key] = value
    return root


def recorded_run(folder: Path, name: str, **changes) -> Path:
    """A YAML file (as JSON, which is YAML) with the settings of a recorded run, beside its rows and its model."""
    flat = json.loads((RECIPES.parent / "configs" / "recipes" / f"{name}.json").read_text()) | changes
    shutil.copytree(BASE, folder / "base")
    shutil.copy(RECIPES / "chat.json", folder)
    (folder / "run.yaml").write_text(json.dumps(nested(flat)))
    return folder / "run.yaml"
