"""A real Slurm on this machine: munged, slurmctld and a slurmd for each of two nodes, as the current user.

Configuration, state, logs and sockets are in one temporary folder and all ports are free ones, so that several clusters, of
several test sessions, can run side by side. Each daemon runs below a reaper (reaper.py), which ends with this process.
"""

import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

REAPER = Path(__file__).with_name("reaper.py")
NODES = ("n1", "n2")
SBIN = "/usr/sbin:/usr/local/sbin:/sbin"
STARTS = 3  # in case another process takes one of the ports first

CONFIGURATION = """
ClusterName=millrace
# Jobs of two clusters on one machine must not be taken for each other: their ranks meet on ports and by names made of this.
FirstJobId={first_job}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A requeued job starts again no sooner than its credential expires (2 minutes by default).
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmctldDebug=verbose
SlurmdDebug=verbose
# Containers have neither cgroups nor hardware threads to give away.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,sched_interval=1,requeue_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
# A slurmd that other processes keep from the processor for some seconds is not dead.
SlurmdTimeout=15
MessageTimeout=20
KillWait=30
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_until(condition, what: str, seconds: float = 180, details=lambda: ""):
    """The condition's first true value. `details` explains a failure."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"expected {what} within {seconds} s\n{details()}")
        time.sleep(0.05)
    return value


class Daemon:
    def __init__(self, name: str, folder: Path, command: list[str], environment: dict[str, str]):
        with open(folder / f"{name}.out", "ab") as output:
            self.reaper = subprocess.Popen(
                [sys.executable, str(REAPER), *command],
                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=environment,
            )  # fmt: skip

    def runs(self) -> bool:
        return self.reaper.poll() is None

    def kill(self) -> None:
        """The daemon and all that it has started end at once."""
        self.reaper.stdin.close()
        self.reaper.wait(timeout=300)


class Cluster:
    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = os.environ | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{os.environ['PATH']}:{SBIN}",
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",  # threads that wait by spinning starve the other ranks of two cores
        }
        self.daemons: dict[str, Daemon] = {}

    def start(self) -> None:
        for attempt in range(STARTS):
            try:
                self._start()
                return
            except AssertionError:
                self.stop()
                if attempt == STARTS - 1:
                    raise

    def _start(self) -> None:
        (self.folder / "state").mkdir(exist_ok=True)
        host, user = socket.gethostname().split(".")[0], subprocess.check_output(["id", "-un"], text=True).strip()
        text = CONFIGURATION.format(folder=self.folder, host=host, user=user, ports=free_ports(3), first_job=random.randrange(1, 60_000_000))
        (self.folder / "slurm.conf").write_text(text)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munged.log",
                 "seed-file": "munge.seed"}  # fmt: skip
        self._run("munged", "--foreground", "--force", *(f"--{name}={self.folder / file}" for name, file in files.items()))
        wait_until((self.folder / "munge.socket").exists, "munged", details=self.logs)
        self._run("slurmctld", "-D", "-c", "-f", str(self.folder / "slurm.conf"))
        for node in NODES:
            self.start_node(node)
        wait_until(lambda: self.idle_nodes() == len(NODES), "two idle nodes", details=self.logs)

    def _run(self, name: str, *arguments: str, program: str = "") -> None:
        self.daemons[name] = Daemon(name, self.folder, [program or name, *arguments], self.environment)

    def start_node(self, node: str) -> None:
        (self.folder / f"spool.{node}").mkdir(exist_ok=True)
        self._run(node, "-D", "-N", node, "-f", str(self.folder / "slurm.conf"), program="slurmd")

    def kill_node(self, node: str) -> None:
        """As if the power failed: its slurmd, the job steps on it and their ranks are gone without a word."""
        self.daemons.pop(node).kill()

    def stop(self) -> None:
        for name in reversed(list(self.daemons)):
            self.daemons.pop(name).kill()

    def command(self, *arguments, check: bool = True, environment=None, cwd=None) -> str:
        """Runs one of Slurm's commands and returns what it prints."""
        result = subprocess.run(
            [str(argument) for argument in arguments], env=self.environment | (environment or {}), cwd=cwd or self.folder,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert not check or result.returncode == 0, f"{arguments}\n{result.stdout}{result.stderr}\n{self.logs()}"
        return result.stdout.strip()

    def idle_nodes(self) -> int:
        return self.command("sinfo", "--noheader", "--Node", "--format=%t", check=False).split().count("idle")

    def requeued_itself(self, job: str) -> bool:
        """Whether slurmctld put the job back into the queue because it found a node of the job dead."""
        log = (self.folder / "slurmctld.log").read_text(errors="replace")
        return f"requeue job JobId={job} due to failure of node" in log

    def logs(self) -> str:
        logs = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out")])
        return "\n".join(f"-- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)
