"""The script for the first ten minutes on a GPU, rehearsed without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["verify", "models", "kernels", "modulation", "products", "attention", "flux step", "kill and resume", "accumulation",
         "lora step", "torch blocks", "whole modulation"]  # fmt: skip


@pytest.mark.slow
def test_the_rehearsal_fills_every_part_of_both_files(tmp_path):
    result = subprocess.run([ROOT / "scripts/gpu/first_run.sh", "--rehearse", "--out", tmp_path], capture_output=True, text=True,
                            env=environment_with_peers())  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    parts = json.loads((tmp_path / "first_run.json").read_text())["parts"]
    assert list(parts) == PARTS
    for name, part in parts.items():
        assert part["status"] == "passed", (name, part)
        assert part["rows"], name
    page = (tmp_path / "gpu_first_run.md").read_text()
    assert "A rehearsal" in page and "**FAILED**" not in page
    for name, part in parts.items():
        assert f"## {name}\n" in page
        assert all(row["name"].strip() in page for row in part["rows"] if "us" in row or "passed" in row)
    # Every prediction has a row that a run measures.
    kernels = {row["name"] for row in parts["kernels"]["rows"]}
    assert kernels == set(predictions()["kernels"])


def test_the_published_page_is_the_form_of_the_script():
    form = subprocess.run([sys.executable, ROOT / "scripts/gpu/page.py"], capture_output=True, text=True, check=True).stdout
    assert (ROOT / "benchmarks/results/gpu_first_run.md").read_text() == form


def test_an_unknown_part_is_named(tmp_path):
    result = subprocess.run([sys.executable, ROOT / "scripts/gpu/first_run.py", "--build", "build", "--out", tmp_path, "--rehearse",
                             "--only", "speed"], capture_output=True, text=True)  # fmt: skip
    assert result.returncode == 1
    assert "[--only] expected some of verify, models," in result.stderr


def environment_with_peers():
    """`python3` is the one of the tests, which has torch."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def predictions():
    sys.path.insert(0, str(ROOT / "scripts/gpu"))
    try:
        from predictions import PREDICTIONS
    finally:
        sys.path.pop(0)
    return PREDICTIONS
