"""Every shell script of the project: read by shellcheck, executable, and able to say what it is."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path for path in [ROOT / "test.sh", ROOT / "quickstart.sh", *(ROOT / "scripts").rglob("*")]
    if path.suffix in {".sh", ".sub", ".sbatch"} and path.name != "env.sh"
)  # fmt: skip


def test_shellcheck_has_nothing_to_say():
    assert len(SCRIPTS) >= 10
    command = ["shellcheck", "--external-sources", "--severity=style", *map(str, SCRIPTS)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_executable_or_there_to_be_sourced(script):
    sourced = script.read_text().startswith("# shellcheck shell=bash")
    assert sourced != bool(script.stat().st_mode & 0o111), "expected an executable file, or a first line that names the shell"
