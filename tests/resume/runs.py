"""Starting, stopping and comparing runs of the program."""

import json
import subprocess
import time
from pathlib import Path

import torch
from safetensors import safe_open

LAST_STEP = 120


def start(program, config: Path, *overrides, **popen_options) -> subprocess.Popen:
    """The same command every time: it begins the run, or goes on with it."""
    log = open(config.parent / "output.txt", "ab")
    return subprocess.Popen(
        [str(program), "train", str(config), *overrides], stdout=log, stderr=subprocess.STDOUT, **popen_options
    )


def output(config: Path) -> str:
    return (config.parent / "output.txt").read_text(errors="replace")


def finish(process: subprocess.Popen, config: Path, status: int = 0, timeout: float = 300) -> None:
    got = process.wait(timeout=timeout)
    assert got == status, f"expected exit status {status}, got {got}\n{output(config)[-4000:]}"


def checkpoints(config: Path) -> list[Path]:
    """The complete checkpoints, oldest first."""
    return sorted(index.parent for index in (config.parent / "run" / "checkpoint").glob("step-*/index.json"))


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def steps_logged(config: Path) -> int:
    """Lines of metrics.jsonl: of all starts together."""
    path = config.parent / "run" / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def wait_for_steps(process: subprocess.Popen, config: Path, count: int, timeout: float = 120) -> None:
    """Until `count` steps are logged."""
    deadline = time.monotonic() + timeout
    while steps_logged(config) < count:
        assert process.poll() is None, f"ended before step {count}\n{output(config)[-4000:]}"
        assert time.monotonic() < deadline, f"no step {count} within {timeout} s\n{output(config)[-4000:]}"
        time.sleep(0.005)


def contents(checkpoint: Path) -> dict:
    """Every tensor's dtype, shape and bytes, as Python's safetensors reads them."""
    tensors = {}
    for shard in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(shard, "pt") as file:
            for name in file.keys():
                tensor = file.get_tensor(name)
                content = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
                tensors[name] = (str(tensor.dtype), tuple(tensor.shape), content)
    return tensors


def assert_same_end(config: Path, reference: Path) -> None:
    """The last checkpoint equals the reference's to the last bit: weights, moments, averages and state."""
    ours, theirs = checkpoints(config)[-1], checkpoints(reference)[-1]
    assert step_of(ours) == step_of(theirs) == LAST_STEP
    got, expected = contents(ours), contents(theirs)
    assert got.keys() == expected.keys() and expected
    assert [name for name in expected if got[name] != expected[name]] == []
    states = [json.loads((path / "index.json").read_text())["state"] for path in (ours, theirs)]
    assert states[0] == states[1]
