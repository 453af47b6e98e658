"""MLPerf logs, and MLCommons' own compliance checker."""

import json
import subprocess
import sys


def events(text):
    lines = [line.removeprefix(":::MLLOG ") for line in text.splitlines() if line.startswith(":::MLLOG ")]
    return [json.loads(line) for line in lines]


def checker(path, ruleset, *options):
    """Whether mlperf_logging's checker accepts the log, and what it says."""
    command = [sys.executable, "-m", "mlperf_logging.compliance_checker", "--usage", "training", "--ruleset", ruleset]
    result = subprocess.run(
        [*command, *options, path], capture_output=True, text=True, timeout=300, cwd=path.parent
    )
    said = result.stdout + result.stderr
    assert ("SUCCESS" in said) == (result.returncode == 0), said
    return result.returncode == 0, said
