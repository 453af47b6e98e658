"""./quickstart.sh, shortened: all of its steps fit together."""

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def test_the_quickstart_trains_on_what_its_prompts_name(tmp_path):
    command = ["./quickstart.sh", "--training.steps=2", "--sample.denoising_steps=2", f"--job.dump_folder={tmp_path}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert (tmp_path / "samples" / "step-00000002.png").exists() and (tmp_path / "report.html").exists()
    assert 'millrace sample outputs/quickstart --prompt "red heart"' in result.stdout

    config = tomllib.loads((ROOT / "configs" / "quickstart.toml").read_text())
    listed = json.loads((ROOT / config["training"]["dataset_path"] / "captions.json").read_text())
    captions = {entry["caption"] for entry in listed}
    assert 150 < len(captions) < 300  # what ten minutes on two cores can teach
    assert [prompt for prompt in config["sample"]["prompts"] if prompt not in captions] == []


def test_the_lora_teaches_a_style_to_what_it_was_not_shown(millrace, tmp_path):
    """The commands of `./quickstart.sh lora`, cut short: that script trains the whole quickstart first."""
    configs = ROOT / "configs"
    quiet = ["--sample.every_steps=0", "--report.no_enable"]
    sets = {}
    for name, listed, style in (("plain", "quickstart_emoji.txt", "plain"), ("new", "quickstart_lora_emoji.txt", "duotone")):
        millrace("prepare", "emoji", "--output", tmp_path / name, "--only", configs / listed, "--size", 32, "--style", style)
        sets[name] = {entry["caption"] for entry in json.loads((tmp_path / name / "captions.json").read_text())}
    prompts = set(tomllib.loads((configs / "quickstart_lora.toml").read_text())["sample"]["prompts"])
    assert len(sets["new"]) == 12 and sets["new"] < sets["plain"]
    assert prompts < sets["plain"] - sets["new"]

    millrace("train", configs / "quickstart.toml", "--training.steps=2", f"--training.dataset_path={tmp_path / 'plain'}",
             f"--job.dump_folder={tmp_path / 'base'}", *quiet)  # fmt: skip
    millrace("export", tmp_path / "base", tmp_path / "base.safetensors")
    millrace("train", configs / "quickstart_lora.toml", "--training.steps=2", f"--training.dataset_path={tmp_path / 'new'}",
             f"--job.dump_folder={tmp_path / 'lora'}", f"--checkpoint.initial_load_path={tmp_path / 'base.safetensors'}", *quiet)  # fmt: skip
    millrace("sample", tmp_path / "lora", "--lora-strength", "0,0.5,1", "--steps", 2, "--output", tmp_path / "strengths")
    assert len(list((tmp_path / "strengths").glob("*-lora-*.png"))) == 3 * len(prompts)
    assert (tmp_path / "strengths" / "grid.png").exists()
