"""The commands of docs/slurm.md that need no GPU, run on the cluster as they stand there."""

import re
import shutil
import subprocess

import pytest
from slurm.jobs import ROOT

pytestmark = pytest.mark.slow

BLOCK = re.compile(r"<!-- not run: tests/slurm runs it[^\n]*-->\n```sh\n(.*?)```", re.DOTALL)


def test_the_commands_of_the_page(nodes, program, tmp_path):
    blocks = BLOCK.findall((ROOT / "docs" / "slurm.md").read_text())
    assert len(blocks) == 3
    for part in ("configs", "scripts", "tests/golden/llama/recipes"):
        shutil.copytree(ROOT / part, tmp_path / part)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "millrace").symlink_to(program)
    environment = nodes.environment | {"MILLRACE": str(program), "PATH": f"{tmp_path}/bin:{nodes.environment['PATH']}"}
    for block in blocks:
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, f"{block}\n{result.stdout}{result.stderr}"
