"""Real processes as ranks of one run, without a launcher, so that tests can kill, stop and leave out any of them."""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = Path(os.environ.get("MILLRACE", ROOT / "build" / "millrace")).parent
TOOL = BUILD / "tests" / "multiprocess" / "millrace_rank_tool"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def quiet_environment() -> dict[str, str]:
    """Few threads: many processes share few cores here."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "TORCHELASTIC")) and k != "RANK"}
    return kept | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


class Ranks:
    """`count` ranks of the tool; those in `without` are not started."""

    def __init__(self, tmp_path, count, *arguments, without=(), job="job"):
        self.tmp_path, self.started = tmp_path, time.monotonic()
        self.processes: dict[int, subprocess.Popen] = {}
        port = free_port()
        for rank in range(count):
            if rank in without:
                continue
            environment = quiet_environment() | {
                "RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "MILLRACE_LAUNCH_ID": job,
            }  # fmt: skip
            with open(self.out(rank), "w") as out, open(self.err(rank), "w") as err:
                self.processes[rank] = subprocess.Popen([TOOL, *map(str, arguments)], stdout=out, stderr=err, env=environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()

    def out(self, rank) -> Path:
        return self.tmp_path / f"out-{rank}"

    def err(self, rank) -> Path:
        return self.tmp_path / f"err-{rank}"

    def errors(self, rank) -> str:
        return self.err(rank).read_text(errors="replace")

    def said(self, rank) -> list[str]:
        """What the program itself said on stderr."""
        return [line for line in self.errors(rank).splitlines() if line.startswith("millrace: ")]

    def wait_for_step(self, rank, step, seconds=300):
        end = time.monotonic() + seconds
        while True:
            ended = self.processes[rank].poll() is not None  # before looking, so that its last words are seen
            if re.search(rf"^step {step} ", self.out(rank).read_text(), re.MULTILINE):
                return
            assert not ended, f"rank {rank} left before step {step}\n{self.errors(rank)}"
            assert time.monotonic() < end, f"rank {rank} did not reach step {step} within {seconds} s\n{self.errors(rank)}"
            time.sleep(0.02)

    def kill(self, rank):
        self.processes[rank].kill()

    def stop(self, rank):
        self.processes[rank].send_signal(signal.SIGSTOP)

    def statuses(self, seconds=120, without=()) -> dict[int, int]:
        """Exit status by rank; fails when one has not left within seconds from now."""
        end = time.monotonic() + seconds
        result = {}
        for rank, process in self.processes.items():
            if rank in without:
                continue
            try:
                result[rank] = process.wait(max(0.01, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise AssertionError(f"expected rank {rank} to leave within {seconds} s\n{self.errors(rank)}") from None
        return result
