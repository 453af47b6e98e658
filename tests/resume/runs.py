"""Starting, stopping and comparing runs of the program."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import torch
from safetensors import safe_open

LAST_STEP = 400  # a second or so, in which a test stops a run at an early step


# One thread: those of such small runs wait for each other more than they compute, most of all where other tests share the
# cores. OMP_NUM_THREADS from outside goes before it.
ENVIRONMENT = {"OMP_NUM_THREADS": "1"} | os.environ | {"OMP_WAIT_POLICY": "passive"}


def start(program, config: Path, *overrides, **popen_options) -> subprocess.Popen:
    """The same command every time: it begins the run, or resumes it."""
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


def wait_for_step(process: subprocess.Popen, config: Path, step: int, before: str = "", timeout: float = 300) -> None:
    """Until the step is logged. `before`: metrics() from before the start, of which a resumed run repeats a part."""
    deadline = time.monotonic() + timeout
    while True:
        ended = process.poll() is not None  # before looking, so that its last step is seen
        now = metrics(config)
        complete = now[: now.rfind("\n") + 1].splitlines()
        if now != before and complete and json.loads(complete[-1])["step"] >= step:
            return
        assert not ended, f"ended before step {step}\n{output(config)[-4000:]}"
        assert time.monotonic() < deadline, f"expected step {step} within {timeout} s\n{output(config)[-4000:]}"
        time.sleep(0.002)


def stop_midway(program, config: Path, step: int, signals, *overrides) -> int:
    """Starts the run and sends it signals after the step; its exit status. Once more where the run ended before they came."""
    for _ in range(5):
        process = start(program, config, *overrides)
        wait_for_step(process, config, step)
        for number in signals:
            process.send_signal(number)
        status = process.wait(timeout=300)
        if status != 0:
            return status
        shutil.rmtree(config.parent / "run")
    raise AssertionError(f"expected the signals to stop the run, got its end five times\n{output(config)[-4000:]}")


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


def assert_same_end(config: Path, reference: Path, last_step: int = LAST_STEP) -> None:
    """The last checkpoint equals the reference's to the last bit: weights, moments, averages and state."""
    ours, theirs = checkpoints(config)[-1], checkpoints(reference)[-1]
    assert step_of(ours) == step_of(theirs) == last_step
    got, expected = contents(ours), contents(theirs)
    assert got.keys() == expected.keys() and expected
    assert [name for name in expected if got[name] != expected[name]] == []
    states = [json.loads((path / "index.json").read_text())["state"] for path in (ours, theirs)]
    assert states[0] == states[1]
