"""Runs the parts of scripts/gpu/first_run.sh and writes what they find, as it comes: one JSON file and one page."""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import parts  # noqa: E402
from page import render  # noqa: E402


class Run:
    """What the parts share: where things are, and where results go."""

    def __init__(self, build, out, rehearse):
        self.root = Path(__file__).resolve().parents[2]
        self.build = (self.root / build).resolve()
        self.out = Path(out).resolve()
        self.rehearse = rehearse
        self.device = "cpu" if rehearse else "cuda"
        if rehearse:
            os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny sizes are done before a second thread is awake
        self.work = self.out / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        self.results = {"machine": {}, "parts": self.earlier_parts()}
        self.lock = threading.Lock()
        self.part = None
        self.deadline = 0.0
        self.processes = []

    def earlier_parts(self):
        """Those that this output folder already has: --only adds to them."""
        file = self.out / "first_run.json"
        return json.loads(file.read_text())["parts"] if file.exists() else {}

    @property
    def program(self):
        return self.build / "millrace"

    @property
    def probe(self):
        if self.rehearse:
            return self.build / "tests/gpu_emulation/millrace_gpu_probe_emulated"
        return self.build / "benchmarks/millrace_gpu_probe"

    def add(self, row):
        with self.lock:
            self.results["parts"][self.part]["rows"].append(row)
        self.save()

    def save(self):
        with self.lock:
            text = json.dumps(self.results, indent=1)
            page = render(self.results)
        for name, content in [("first_run.json", text + "\n"), ("gpu_first_run.md", page)]:
            temporary = self.out / (name + ".new")
            temporary.write_text(content)
            temporary.replace(self.out / name)

    def start(self, command, log, **options):
        """A process in a group of its own, whose output goes to a file of the output folder."""
        file = open(self.out / f"{log}.log", "a")
        process = subprocess.Popen([str(word) for word in command], stderr=file, start_new_session=True, text=True,
                                   cwd=self.work, **{"stdout": file, **options})  # fmt: skip
        self.processes.append(process)
        return process

    def seconds_left(self):
        return max(self.deadline - time.monotonic(), 0.1)

    def run(self, command, log):
        """Runs a command to its end; its standard output."""
        process = self.start(command, log, stdout=subprocess.PIPE)
        try:
            output, _ = process.communicate(timeout=self.seconds_left())
        except subprocess.TimeoutExpired:
            self.kill(process)
            raise RuntimeError(f"{Path(command[0]).name} {command[1]}: expected an end within the part's time") from None
        with open(self.out / f"{log}.log", "a") as file:
            file.write(output)
        if process.returncode != 0:
            tail = (self.out / f"{log}.log").read_text().strip().splitlines()[-3:]
            raise RuntimeError(f"{Path(command[0]).name} {command[1]}: exit status {process.returncode}: {' | '.join(tail)}")
        return output

    def stream(self, command, log):
        """Runs a command that prints a line of JSON per result, and keeps each as it comes."""
        process = self.start(command, log, stdout=subprocess.PIPE)
        timer = threading.Timer(self.seconds_left(), self.kill, [process])
        timer.start()
        for line in process.stdout:
            if line.startswith("{"):
                self.add(json.loads(line))
        status = process.wait()
        late = not timer.is_alive()
        timer.cancel()
        if late:
            raise RuntimeError("expected an end within the part's time")
        if status != 0:
            tail = (self.out / f"{log}.log").read_text().strip().splitlines()[-3:]
            raise RuntimeError(f"exit status {status}: {' | '.join(tail)}")

    @staticmethod
    def kill(process):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def do(self, part):
        self.part = part.name
        entry = self.results["parts"][part.name] = {"rows": [], "status": "running", "limit": part.limit}
        self.save()
        begin = time.monotonic()
        self.deadline = begin + part.limit * (20 if self.rehearse else 1)  # a busy machine is no failure
        try:
            part.run(self)
            failed = [row["name"] for row in entry["rows"] if row.get("passed") is False]
            entry["status"] = f"failed: {', '.join(failed)}" if failed else "passed"
        except Exception as error:  # the other parts are to run whatever happens to this one
            entry["status"] = f"failed: {error}"
        finally:
            for process in self.processes:
                self.kill(process)
            self.processes.clear()
        entry["seconds"] = round(time.monotonic() - begin, 1)
        self.save()
        print(f"{part.name:<20} {entry['seconds']:>6.1f} s  {entry['status'][:150]}", flush=True)


def machine(rehearse):
    facts = {"date": time.strftime("%Y-%m-%d"), "host": platform.machine(), "cores": os.cpu_count()}
    if rehearse:
        return facts | {"gpu": "none (rehearsal: emulated kernels, tiny sizes)"}
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True).stdout.strip().splitlines()
    return facts | {"gpu": answer[0] if answer else "unknown"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--rehearse", action="store_true")
    arguments = parser.parse_args()
    names = [part.name for part in parts.PARTS]
    wanted = arguments.only.split(",") if arguments.only else names
    for name in wanted:
        if name not in names:
            sys.exit(f"first_run: [--only] expected some of {', '.join(names)}, got {name}")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("first_run: ended from outside"))  # with the part that is running
    run = Run(arguments.build, arguments.out, arguments.rehearse)
    run.results["machine"] = machine(arguments.rehearse)
    for part in parts.PARTS:
        if part.name in wanted:
            run.do(part)
    print(f"results: {run.out / 'first_run.json'}, {run.out / 'gpu_first_run.md'}")
    broken = [name for name in wanted if run.results["parts"][name]["status"] != "passed" and name not in parts.MAY_FAIL]
    sys.exit(f"first_run: {len(broken)} parts failed: {', '.join(broken)}" if broken else 0)


if __name__ == "__main__":
    main()
