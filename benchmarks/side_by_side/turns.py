"""What the comparisons of training steps share: programs that take turns, and the table of what they took."""

import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

from process_peak import peak_bytes

SKIPPED = 2  # steps before a program runs at its usual speed


@dataclass
class Run:
    """One run of a program: seconds of each step, from its start to the end of its first step, its peak, what it said."""

    seconds: list
    first: float
    memory: float  # GiB
    losses: list
    tokens: list = field(default_factory=list)  # trained ones of each step, where the program counts them

    @property
    def ready(self):
        """Seconds from its start to the beginning of its first step: all that was imported, read and built before."""
        return self.first - self.seconds[0]


def measured(command, folder):
    """Runs a command to its end: when it started, its peak memory in GiB and its standard output."""
    if peak_bytes() > 2**28:
        sys.exit("expected at most 256 MiB in the process that measures others, whose peaks include it (try run_apart)")
    with open(folder / "output.txt", "w+") as output, open(folder / "errors.txt", "w+") as errors:
        started = time.time()
        process = subprocess.Popen([str(word) for word in command], stdout=output, stderr=errors, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
        output.seek(0)
        errors.seek(0)
        if status != 0:
            sys.exit(f"{' '.join(map(str, command))}: ended with status {status}\n{errors.read()[-3000:]}")
        return started, usage.ru_maxrss / 2**20, output.read()


def peer_run(command, folder):
    """A worker's last line is {"seconds": [...], "first": time of day, "losses": [...], "tokens": [...]}."""
    started, memory, text = measured(command, folder)
    answer = json.loads(text.strip().splitlines()[-1])
    return Run(answer["seconds"], answer["first"] - started, memory, answer["losses"], answer.get("tokens", []))


def millrace_run(program, arguments, folder):
    """A run of `millrace train` with `metrics.log_freq=1` into folder/run."""
    run = folder / "run"
    subprocess.run(["rm", "-rf", run], check=True)
    (folder / "empty.toml").write_text("[job]\n")
    arguments = {"job.dump_folder": run, "training.device": "cpu", "metrics.log_freq": 1, "metrics.enable_tensorboard": "false",
                 "report.enable": "false", "checkpoint.enable": "false"} | arguments  # fmt: skip
    command = [program, "train", folder / "empty.toml", *(f"--{key}={value}" for key, value in arguments.items())]
    started, memory, _ = measured(command, folder)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    log = (run / "log.txt").read_text().splitlines()
    stamp = next(line for line in log if " step: 1 " in line or " step:  1 " in line)[:23]
    first = datetime.datetime.fromisoformat(stamp).replace(tzinfo=datetime.timezone.utc).timestamp()
    return Run([line["seconds_per_step"] for line in steps], first - started, memory, [line["loss"] for line in steps],
               [line.get("trained_tokens", 0) for line in steps])  # fmt: skip


def take_turns(programs, rounds):
    """programs: name -> function that makes a Run. Each runs once a round, so that a machine whose speed drifts is the
    same machine for all of them."""
    runs = {name: [] for name in programs}
    for _ in range(rounds):
        for name, run in programs.items():
            runs[name].append(run())
            print(f"{name}: {statistics.median(runs[name][-1].seconds[SKIPPED:]):.3f} s", file=sys.stderr, flush=True)
    return runs


def print_table(runs, tokens=False):
    """Medians over the steps of all rounds; ratios to the first program."""
    print("| | step, median s (min - max) | of the first | peak memory GiB | of the first | start to first step s | to its end s | "
          "losses |" + (" trained tokens/s |" if tokens else ""))  # fmt: skip
    print("|---|---|---|---|---|---|---|---|" + ("---|" if tokens else ""))
    reference = None
    for name, made in runs.items():
        seconds = [second for run in made for second in run.seconds[SKIPPED:]]
        median, memory = statistics.median(seconds), max(run.memory for run in made)
        reference = reference or (median, memory)
        row = (f"| {name} | {median:.3f} ({min(seconds):.3f} - {max(seconds):.3f}) | {median / reference[0]:.2f} | {memory:.2f} | "
               f"{memory / reference[1]:.2f} | {statistics.median(run.ready for run in made):.2f} | "
               f"{statistics.median(run.first for run in made):.2f} | {made[0].losses[0]:.4f} to {made[0].losses[-1]:.4f} |")  # fmt: skip
        if tokens:
            trained = sum(count for run in made for count in run.tokens[SKIPPED:])
            row += f" {trained / sum(seconds):.0f} |"
        print(row, flush=True)
