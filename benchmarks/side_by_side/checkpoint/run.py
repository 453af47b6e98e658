"""Checkpoints side by side: this program and torch.distributed.checkpoint, on one rank.

    .venv/bin/python benchmarks/side_by_side/checkpoint/run.py --rounds 3

The same number of bytes in the same tensors. The workers take turns, save by save, so that a disk whose speed drifts is
the same disk for all. Prints a Markdown table of medians. Blocked: until save() returns. Complete: until the files are
forced to the disk and named. Loading is from files that the system still has in memory.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]


class Worker:
    def __init__(self, name, command):
        self.name, self.first, self.saves, self.loads, self.copies = name, None, [], [], []
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        while line and not line.startswith("{"):  # log lines
            line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: ended with status {self.process.wait()}")
        return json.loads(line)

    def do(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.read()


def median(values, digits=2):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} - {max(values):.{digits}f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--tensors", type=int, default=120)
    parser.add_argument("--folder", help="a folder on the disk to measure; by default the system's temporary one")
    parser.add_argument("--alone", action="store_true", help="without the peer")
    parser.add_argument("--worker", default=ROOT / "build/benchmarks/checkpoint_worker")
    options = parser.parse_args()
    rows = round(options.gigabytes * 1e9 / options.tensors / 2048 / 4)
    sizes = [options.tensors, rows]
    copies = []
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        ours = Worker("millrace", [options.worker, f"{temporary}/millrace", *sizes])
        workers = [ours]
        if not options.alone:
            workers.append(Worker("torch.distributed.checkpoint",
                                  [sys.executable, HERE / "worker.py", f"{temporary}/torch", *sizes]))
        reserve = ours.do("reserve")["seconds"]
        for worker in workers:
            worker.first = worker.do("save")
        for _ in range(options.rounds):
            for worker in workers:
                os.sync()  # neither side pays for the other's pending writes
                copies.append(ours.do("copy"))  # just before, as the machine is now
                worker.copies.append(min(copies[-1].values()))
                worker.saves.append(worker.do("save"))
            for worker in workers:
                load = worker.do("load")
                if not load["same"]:
                    sys.exit(f"{worker.name}: loaded something else than was saved")
                worker.loads.append(load["seconds"])
        for worker in workers:
            worker.process.stdin.close()
            worker.process.wait()

    copy = {kind: statistics.median(each[kind] for each in copies) for kind in ("one_thread", "all_threads")}
    print(f"{options.tensors} tensors of {rows * 2048 * 4 / 1e6:.1f} MB. A plain copy of all of them in memory: "
          f"{copy['all_threads']:.3f} s on all threads, {copy['one_thread']:.3f} s on one. "
          f"Taking our staging memory in the background, before the first save: {reserve:.2f} s.\n")
    print("| | first save blocks, s | a save blocks, s | of the faster copy | complete, s | load, s |")
    print("|---|---|---|---|---|---|")
    for worker in workers:
        blocked = [save["blocked"] for save in worker.saves]
        print(f"| {worker.name} | {worker.first['blocked']:.2f} | {median(blocked)} "
              f"| {median([save / a_copy for save, a_copy in zip(blocked, worker.copies)])} "
              f"| {median([save['complete'] for save in worker.saves])} | {median(worker.loads)} |")


if __name__ == "__main__":
    main()
