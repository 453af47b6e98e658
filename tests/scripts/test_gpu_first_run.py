"""The script for the first ten minutes on a GPU, rehearsed without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["verify", "models", "kernels", "llama kernels", "modulation", "products", "attention", "flux step", "kill and resume",
         "accumulation", "lora step", "llama step", "llama lora step", "torch blocks", "whole modulation"]  # fmt: skip


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
    for name in ["kernels", "llama kernels"]:
        assert {row["name"] for row in parts[name]["rows"]} == set(predictions()[name])


def test_the_published_page_is_the_form_of_the_script():
    form = subprocess.run([sys.executable, ROOT / "scripts/gpu/page.py"], capture_output=True, text=True, check=True).stdout
    assert (ROOT / "benchmarks/results/gpu_first_run.md").read_text() == form


def test_an_unknown_part_is_named(tmp_path):
    result = subprocess.run([sys.executable, ROOT / "scripts/gpu/first_run.py", "--build", "build", "--out", tmp_path, "--rehearse",
                             "--only", "speed"], capture_output=True, text=True)  # fmt: skip
    assert result.returncode == 1
    assert "[--only] expected some of verify, models," in result.stderr


def test_only_adds_to_earlier_results(tmp_path):
    (tmp_path / "first_run.json").write_text('{"machine": {}, "parts": {"verify": {"rows": [], "status": "passed", "limit": 40}}}')
    # A build without a program: the part fails, and is recorded beside the earlier one.
    result = subprocess.run([sys.executable, ROOT / "scripts/gpu/first_run.py", "--build", tmp_path, "--out", tmp_path, "--rehearse",
                             "--only", "llama step"], capture_output=True, text=True)  # fmt: skip
    assert result.returncode == 1
    parts = json.loads((tmp_path / "first_run.json").read_text())["parts"]
    assert list(parts) == ["verify", "llama step"]
    assert parts["llama step"]["status"].startswith("failed")
    assert "1 parts failed: llama step" in result.stderr


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
