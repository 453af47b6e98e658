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
