"""Submitting scripts/slurm/*.sbatch and watching what becomes of them."""

import json
import os
import re
import time
from pathlib import Path

import torch
from safetensors import safe_open
from slurm.cluster import Cluster, wait_until

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "slurm" / "flux_pretrain.sbatch"


class Job:
    def __init__(self, cluster: Cluster, number: str, folder: Path):
        self.cluster, self.number, self.folder = cluster, number, folder
        self.log = folder / f"slurm-{number}.out"
        self.hurried = "0"

    def field(self, name: str) -> str:
        text = self.cluster.command("scontrol", "show", "job", self.number)
        return re.search(rf"\b{name}=(\S*)", text)[1]

    def state(self) -> str:
        state = self.field("JobState")
        if state == "PENDING" and self.field("Reason") == "BeginTime" and self.hurried != self.field("Restarts"):
            # Requeued; Slurm would wait until the old credentials expire, of which each has another second in it.
            self.hurried = self.field("Restarts")
            self.cluster.command("scontrol", "update", f"JobId={self.number}", "StartTime=now+2", check=False)
        return state

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def details(self) -> str:
        description = self.cluster.command("scontrol", "show", "job", self.number, check=False)
        return f"{description}\n-- {self.log}\n{self.output()[-6000:]}\n{self.cluster.logs()}"

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.output(), f"'{text}'", details=self.details)

    def wait_for_step(self, step: int) -> None:
        wait_until(lambda: self.last_step() >= step, f"step {step}", details=self.details)

    def last_step(self) -> int:
        metrics = self.folder / "metrics.jsonl"
        text = metrics.read_text() if metrics.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()
        return json.loads(lines[-1])["step"] if lines else 0

    def wait_for_end(self, state: str = "COMPLETED", seconds: float = 300) -> str:
        """Returns the job's log. A job that is being put back into the queue has not ended."""
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        wait_until(lambda: self.state() in ended, "the end of the job", seconds, self.details)
        assert self.state() == state, self.details()
        assert_no_ranks(self.cluster, self.number)
        return self.output()

    def checkpoints(self) -> list[int]:
        return sorted(int(index.parent.name.removeprefix("step-")) for index in self.folder.glob("checkpoint/step-*/index.json"))


def ranks_of(cluster: Cluster, number: str) -> dict[int, str]:
    """The running processes of the job's steps: pid -> rank."""
    configuration = cluster.environment["SLURM_CONF"]
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            entries = Path(f"/proc/{name}/environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended, or belongs to another user
            continue
        variables = dict(entry.split("=", 1) for entry in entries if "=" in entry)
        if (variables.get("SLURM_CONF"), variables.get("SLURM_JOB_ID")) == (configuration, number) and "SLURM_STEP_ID" in variables:
            found[int(name)] = variables["SLURM_PROCID"]
    return found


def assert_no_ranks(cluster: Cluster, number: str) -> None:
    deadline = time.monotonic() + 60  # Slurm calls a job ended a moment before its processes are
    while left := ranks_of(cluster, number):
        assert time.monotonic() < deadline, f"expected no process of job {number} after a minute, got {left}"
        time.sleep(0.05)


def contents(checkpoint: Path) -> dict[tuple[str, str], tuple]:
    """Of every tensor in every rank's file: dtype, shape and bytes."""
    tensors = {}
    for shard in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(shard, "pt") as file:
            for name in file.keys():
                tensor = file.get_tensor(name)
                bytes_of = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
                tensors[shard.name, name] = (str(tensor.dtype), tuple(tensor.shape), bytes_of)
    return tensors


def assert_same_end(job: Job, reference: Job, step: int) -> None:
    """The last checkpoint equals the reference's to the last bit: weights, moments, averages and state."""
    folders = [one.folder / "checkpoint" / f"step-{step:08}" for one in (job, reference)]
    got, expected = map(contents, folders)
    assert got.keys() == expected.keys() and expected
    assert [name for name in expected if got[name] != expected[name]] == []
    states = [json.loads((folder / "index.json").read_text())["state"] for folder in folders]
    assert states[0] == states[1]
