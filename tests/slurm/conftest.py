"""A Slurm cluster of two nodes for the tests of this folder, and jobs on it."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from slurm.cluster import NODES, Cluster, wait_until
from slurm.jobs import ROOT, SCRIPT, Job


@pytest.fixture(scope="session")
def cluster():
    for program in ("slurmctld", "slurmd", "munged", "sbatch"):
        if shutil.which(program, path="/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin:/usr/local/sbin") is None:
            pytest.fail(f"[{program}] expected Slurm and MUNGE (try scripts/setup.sh --tests)", pytrace=False)
    folder = Path(tempfile.mkdtemp(prefix="millrace-slurm-"))  # short: it holds sockets, whose paths are limited
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def workplace(program, tmp_path_factory):
    """The folder from which jobs are submitted, with the pictures of configs/tiny.toml."""
    folder = tmp_path_factory.mktemp("workplace")
    command = [str(program), "prepare", "emoji", "--output", "data/emoji", "--size", "16", "--count", "40"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture
def nodes(cluster):
    """Both nodes up and idle before and after a test."""
    yield cluster
    cluster.command("scancel", "--partition=main", check=False)
    for node in NODES:
        if node not in cluster.daemons:
            cluster.start_node(node)
    wait_until(lambda: cluster.idle_nodes() == len(NODES), "two idle nodes", details=cluster.logs)


@pytest.fixture(scope="session")
def submit_from(cluster, program, workplace):
    """submit_from(folder, sbatch options, variables, overrides): scripts/slurm/flux_pretrain.sbatch with configs/tiny.toml."""

    def submit(folder: Path, *overrides: str, options: tuple[str, ...] = (), **variables) -> Job:
        environment = {
            "MILLRACE": str(program),
            "CONFIG_FILE": str(ROOT / "configs" / "tiny.toml"),
            "LOGDIR": str(folder),
            "NGPU": "1",
            "STEP_WAIT": "5",  # less than SlurmdTimeout: the job script finds a dead node before Slurm does
            **{name: str(value) for name, value in variables.items()},
        }
        number = cluster.command("sbatch", "--parsable", *options, SCRIPT, *overrides, environment=environment, cwd=workplace)
        return Job(cluster, number, folder)

    return submit
