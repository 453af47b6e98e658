"""A tiny FLUX to train LoRA on, and what a run of it leaves."""

import json
import subprocess
from pathlib import Path

import pytest
from helpers import load
from train_ranks import Ranks

ROOT = Path(__file__).resolve().parents[1]
TINY, LAPTOP = ROOT / "configs" / "tiny.toml", ROOT / "configs" / "flux_dev_lora_laptop.toml"
BLOCK_LAYERS = 10 + 3  # of one double block and one single block


@pytest.fixture(scope="session")
def emoji(emoji_set):
    return emoji_set(40)


@pytest.fixture(scope="session")
def base(program, emoji, tmp_path_factory):
    """A tiny FLUX with guidance that has learnt a little: a file of weights."""
    folder = tmp_path_factory.mktemp("base")
    for command in (
        ["train", TINY, f"--job.dump_folder={folder / 'run'}", f"--training.dataset_path={emoji}", "--model.guidance_embed",
         "--training.steps=60", "--optimizer.lr=3e-3", "--sample.every_steps=0"],
        ["export", folder / "run", folder / "base.safetensors"],
    ):  # fmt: skip
        subprocess.run([program, *map(str, command)], check=True, capture_output=True, timeout=300)
    return folder / "base.safetensors"


@pytest.fixture
def train(millrace, base, emoji, tmp_path):
    """train("--section.key=value", ..., run="name"): the laptop's run of LoRA; returns its folder."""

    def run(*overrides, run="run", status=0):
        folder = tmp_path / run
        result = millrace(
            "train", LAPTOP, f"--job.dump_folder={folder}", f"--training.dataset_path={emoji}",
            f"--checkpoint.initial_load_path={base}", *overrides, status=status,
        )  # fmt: skip
        return folder if status == 0 else result

    return run


def curve(folder, key="loss"):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line[key] for line in lines if key in line]


def checkpoint(folder, step=8):
    return load(folder / "checkpoint" / f"step-{step:08d}" / "rank-00000.safetensors")


def adapters(folder, step=8):
    return {name.removeprefix("model."): tensor for name, tensor in checkpoint(folder, step).items() if name.startswith("model.")}


def start_ranks(program, size, folder, base, emoji, *overrides):
    return Ranks(program, size, folder, f"--training.dataset_path={emoji}", f"--checkpoint.initial_load_path={base}",
                 "--report.no_enable", *overrides, config=LAPTOP)  # fmt: skip
