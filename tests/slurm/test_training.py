"""Real training on a real Slurm: to the end, and interrupted in the ways that Slurm knows, which changes no bit of the end."""

import os
import re
import signal

import pytest
from slurm.cluster import wait_until
from slurm.jobs import assert_same_end, ranks_of

pytestmark = pytest.mark.slow

STEPS = 480  # some seconds: a signal by way of Slurm takes a part of one
# Sharded over both nodes, with checkpoints of which each rank writes its part.
OVERRIDES = (
    "--parallelism.data_parallel_replicate_degree=1",
    f"--training.steps={STEPS}",
    "--checkpoint.interval=40",
    "--checkpoint.keep_latest_k=0",
    "--sample.every_steps=0",
    "--metrics.no_enable_tensorboard",
)


@pytest.fixture
def submit(nodes, submit_from, tmp_path):
    def run(*overrides, options=(), **variables):
        return submit_from(tmp_path / "run", *OVERRIDES, *overrides, options=("--nodes=2", *options), **variables)

    return run


@pytest.fixture(scope="module")
def reference(cluster, submit_from, tmp_path_factory):
    """The job that nothing disturbs."""
    job = submit_from(tmp_path_factory.mktemp("reference"), *OVERRIDES, options=("--nodes=2",))
    job.wait_for_end()
    return job


def assert_resumed(job, reference):
    """Ended after one restart, which resumed from a checkpoint, with the result of the uninterrupted job."""
    output = job.wait_for_end()
    (step,) = re.findall(r"restart 1, newest checkpoint: step (\d+)", output)
    assert 0 < int(step) < STEPS
    assert_same_end(job, reference, STEPS)
    return int(step)


def test_two_tasks_on_each_of_two_nodes(nodes, submit_from, tmp_path):
    """The defaults of the script: HSDP, and arguments that reach the program as they are."""
    variables = {"NGPU": 2, "SEED": 5, "ENABLE_TB": "False", "LOG_RANK": 3}
    job = submit_from(tmp_path / "run", "--job.description=two words", "--training.steps", "4", options=("--nodes=2",), **variables)
    output = job.wait_for_end()
    assert "rank 0 of 4 (slurm, host n1), dp_replicate 2 x dp_shard 2 x tp 1" in output
    assert "done, newest checkpoint: step 4" in output
    config = (job.folder / "config.toml").read_text()
    assert 'description = "two words"' in config and "seed = 5" in config and "steps = 4" in config
    assert (job.folder / "log-rank-3.txt").exists()
    assert not (job.folder / "tb").exists()


def test_a_signal_to_the_ranks(submit, reference):
    """Checkpoint at a step that all agree on, back into the queue, resumed."""
    job = submit()
    job.wait_for_step(20)
    job.cluster.command("scancel", "--signal=USR1", job.number)
    step = assert_resumed(job, reference)
    assert step >= 20
    assert f"stopped in time, newest checkpoint: step {step}: requeued" in job.output()


def test_a_signal_to_the_batch_script(submit, reference):
    """--signal=B:USR1@300 reaches the script alone, which passes it on."""
    job = submit()
    job.wait_for_step(20)
    job.cluster.command("scancel", "--batch", "--signal=USR1", job.number)
    assert_resumed(job, reference)


def test_scontrol_requeue(submit, reference):
    job = submit()
    job.wait_for_step(20)
    job.cluster.command("scontrol", "requeue", job.number)
    assert_resumed(job, reference)
    assert "cancelled or requeued, newest checkpoint" in job.output()


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_a_node_that_dies(submit, reference, node):
    """The rank on the other node ends, and once the node is back the job resumes from its newest checkpoint.

    Who puts the job back into the queue is a matter of luck: its batch script, as soon as the other rank has named the lost
    one, or Slurm, as soon as anything that it sends to the node fails. With n1 the batch script dies, too.
    """
    job = submit()
    job.wait_for_step(45)
    job.cluster.kill_node(node)
    wait_until(lambda: ranks_of(job.cluster, job.number) == {}, "the end of the other rank", details=job.details)
    wait_until(lambda: job.field("Restarts") == "1", "a requeued job", details=job.details)
    if node == "n2" and not job.cluster.requeued_itself(job.number):
        assert "a rank was lost or killed (status 7)" in job.output()
        assert re.search(r"\[rank 1 on n2, step \d+\] lost", job.output())
    job.cluster.start_node(node)
    assert assert_resumed(job, reference) >= 40


def test_a_killed_rank_without_requeue(submit):
    job = submit(options=("--no-requeue",))
    job.wait_for_step(20)
    ((pid, _),) = [(pid, rank) for pid, rank in ranks_of(job.cluster, job.number).items() if rank == "1"]
    os.kill(pid, signal.SIGKILL)
    output = job.wait_for_end("FAILED")
    assert re.search(r"\[rank 1 on n2, step \d+\] lost", output)
    assert "a rank was lost or killed" in output and "Submitted without --requeue" in output


def test_the_time_limit_then_scancel(submit):
    """The shortest limit there is, one minute: Slurm looks at limits every half minute, and signals in time for the next look."""
    job = submit("--training.steps=1000000", "--checkpoint.interval=1000000", options=("--time=1", "--signal=USR1@20"))
    job.wait_for("stopped in time")
    (step,) = re.findall(r"newest checkpoint: step (\d+): requeued", job.output())
    wait_until(lambda: job.state() and f"restart 1, newest checkpoint: step {step}" in job.output(), "a restart", details=job.details)
    job.wait_for_step(int(step) + 5)
    job.cluster.command("scancel", job.number)
    output = job.wait_for_end("CANCELLED")
    assert "cancelled or requeued, newest checkpoint" in output
    assert job.checkpoints()[-1] > int(step)
