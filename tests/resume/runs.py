"""Starting, stopping and comparing runs of the program."""

import json
import os
import subprocess
import time
from pathlib import Path

import torch
from safetensors import safe_open

LAST_STEP = 400  # a second or so: whoever stops a run at an early step may be late


# Threads that wait by spinning take minutes where other tests share the cores.
ENVIRONMENT = os.environ | {"OMP_WAIT_POLICY": "passive"}


def start(program, config: Path, *overrides, **popen_options) -> subprocess.Popen:
    """The same command every time: it begins the run, or goes on with it."""
    command = [str(program), "train", str(config), *overrides]
    with open(config.parent / "output.txt", "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=ENVIRONMENT, **popen_options)


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


def metrics(config: Path) -> str:
    path = config.parent / "run" / "metrics.jsonl"
    return path.read_text() if path.exists() else ""


def wait_for_step(process: subprocess.Popen, config: Path, step: int, before: str = "", timeout: float = 120) -> None:
    """Until the step is logged. `before`: metrics() from before the start, of which a resumed run repeats a part."""
    deadline = time.monotonic() + timeout
    while True:
        now = metrics(config)
        complete = now[: now.rfind("\n") + 1].splitlines()
        if now != before and complete and json.loads(complete[-1])["step"] >= step:
            return
        assert process.poll() is None, f"ended before step {step}\n{output(config)[-4000:]}"
        assert time.monotonic() < deadline, f"no step {step} within {timeout} s\n{output(config)[-4000:]}"
        time.sleep(0.002)


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
