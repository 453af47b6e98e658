"""The ranks of one run of `millrace train`, as processes of this machine."""

import json
import os
import random
import re
import socket
import subprocess
import time
from pathlib import Path

NUM_KILLS = int(os.environ.get("MILLRACE_KILLS", 3))  # more for long tests
KILL_SEED = int(os.environ.get("MILLRACE_KILL_SEED", 1))  # of the moments
TINY = Path(__file__).resolve().parents[1] / "configs" / "tiny.toml"


def logged(folder: Path) -> list[dict]:
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


class Ranks:
    """The processes of one run, as a launcher starts them."""

    def __init__(self, program, size, folder, *overrides, cwd=None, config=TINY):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.outputs = [folder / f"output-{rank}.txt" for rank in range(size)]
        self.processes = []
        for rank in range(size):
            environment = os.environ | {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
            }  # fmt: skip
            command = [program, "train", config, f"--job.dump_folder={folder}", *map(str, overrides)]
            with open(self.outputs[rank], "wb") as output:
                self.processes.append(
                    subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=cwd(rank) if cwd else None)
                )

    def output(self, rank: int) -> str:
        return self.outputs[rank].read_text(errors="replace")

    def finish(self, status=0, timeout=600, but=()) -> "Ranks":
        """All ranks (but the ones named) leave with the status."""
        deadline = time.monotonic() + timeout
        try:
            got = [process.wait(timeout=max(0.1, deadline - time.monotonic())) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        wrong = [rank for rank, code in enumerate(got) if code != status and rank not in but]
        text = "\n".join(f"-- rank {rank}\n{self.output(rank)[-2000:]}" for rank in range(len(got)))
        assert not wrong, f"expected status {status} of all ranks, got {got}\n{text}"
        return self

    def finish_lost(self, victim: int) -> None:
        """All leave with status 7, unless they were done before; after 10 s if they had not met the victim yet."""
        deadline = time.monotonic() + 120
        try:
            got = [process.wait(timeout=max(0.1, deadline - time.monotonic())) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        assert all(code in (0, 7) for rank, code in enumerate(got) if rank != victim), (got, self.output(1 - victim)[-3000:])

    def wait_for_start(self, timeout: float = 300) -> None:
        """Until rank 0 says where it begins."""
        deadline = time.monotonic() + timeout
        while not re.search(r"from step \d|step: ", self.output(0)):
            assert self.processes[0].poll() is None, f"rank 0 left at its start\n{self.output(0)[-3000:]}"
            assert time.monotonic() < deadline, f"expected a first step within {timeout} s\n{self.output(0)[-3000:]}"
            time.sleep(0.005)

    def wait_for_step(self, step: int, timeout: float = 300) -> None:
        deadline = time.monotonic() + timeout
        while True:
            ended = self.processes[0].poll() is not None  # before looking, so that its last step is seen
            if any(entry["step"] >= step for entry in logged(self.folder)):
                return
            assert not ended, f"rank 0 left before step {step}\n{self.output(0)[-3000:]}"
            assert time.monotonic() < deadline, f"expected step {step} within {timeout} s\n{self.output(0)[-3000:]}"
            time.sleep(0.02)


def kill_at_random_moments(start, folder: Path, look=lambda: None) -> None:
    """One of the ranks that start() starts in the folder, NUM_KILLS times; each time all leave, and no checkpoint is lost.
    look() is called after each."""
    generator, latest = random.Random(KILL_SEED), 0
    for kill in range(NUM_KILLS):
        ranks = start()
        if kill % 3 > 0:  # every third dies in its first second, whatever it does then
            ranks.wait_for_start()
        time.sleep(generator.uniform(0, 1.0 if kill % 3 == 0 else 0.3))
        victim = generator.randrange(len(ranks.processes))
        ranks.processes[victim].kill()
        ranks.finish_lost(victim)
        now = max(checkpoint_steps(folder), default=0)
        assert now >= latest, "a checkpoint was lost"
        latest = now
        look()


def checkpoint_steps(folder: Path) -> list[int]:
    return sorted(int(index.parent.name.removeprefix("step-")) for index in (folder / "checkpoint").glob("step-*/index.json"))
