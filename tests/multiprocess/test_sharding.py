"""A tiny FLUX of odd sizes on real ranks: gradients, weights, losses and norms agree with those of one rank."""

import os
import socket
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("MILLRACE", ROOT / "build" / "millrace")).parent
TOOL = BUILD / "tests" / "multiprocess" / "millrace_flux_sharded_tool"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def train(folder, ranks, **settings):
    """Rank 0's results of the tool on that many processes."""
    output = folder / "results.safetensors"
    arguments = [str(TOOL), str(output), *(f"{name}={value}" for name, value in settings.items())]
    common = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    if ranks > 1:
        common |= {"WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    processes = []
    for rank in range(ranks):
        own = {"RANK": rank, "LOCAL_RANK": rank} if ranks > 1 else {}
        environment = os.environ | {key: str(value) for key, value in (common | own).items()}
        processes.append(subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for rank, (process, text) in enumerate(zip(processes, outputs)):
        assert process.returncode == 0, f"rank {rank} left with {process.returncode}:\n{text[-2000:]}"
    return load_file(output)


@pytest.fixture(scope="session")
def one_rank(tmp_path_factory):
    """The same work on one rank."""

    @lru_cache
    def run(heads=3, dtype="fp32"):
        return train(tmp_path_factory.mktemp("one_rank"), 1, heads=heads, dtype=dtype)

    return run


def relative_error(got, expected):
    got, expected = got.double(), expected.double()
    return ((got - expected).norm() / expected.norm().clamp_min(1e-30)).item()


def check(got, expected, bound):
    assert got.keys() == expected.keys()
    for name in expected:
        if name.startswith("bytes_"):
            continue
        assert got[name].shape == expected[name].shape
        error = relative_error(got[name], expected[name])
        assert error <= bound, f"{name}: expected a relative difference of at most {bound}, got {error:.2e}"


MESHES = {
    "shard 2": dict(shard=2),
    "shard 3, recompute all": dict(shard=3, keep="full"),
    "shard 4, recompute nothing": dict(shard=4, keep="none"),
    "replicate 2": dict(replicate=2),
    "replicate 2 x shard 2": dict(replicate=2, shard=2),
    "shard 2, two microbatches": dict(shard=2, microbatches=2),
    "replicate 2 x shard 2, three microbatches, nothing released": dict(replicate=2, shard=2, microbatches=3, reshard="never"),
    "shard 2, all released": dict(shard=2, reshard="always"),
    "tp 3": dict(tp=3),
    "tp 2, recompute all": dict(tp=2, heads=6, keep="full"),
    "tp 2 x shard 2": dict(tp=2, shard=2, heads=6, keep="none"),
    "tp 2 x replicate 2, two microbatches": dict(tp=2, replicate=2, heads=6, microbatches=2),
}


@pytest.mark.parametrize("name", MESHES)
def test_agrees_with_one_rank(name, one_rank, tmp_path):
    mesh = MESHES[name]
    ranks = mesh.get("replicate", 1) * mesh.get("shard", 1) * mesh.get("tp", 1)
    check(train(tmp_path, ranks, **mesh), one_rank(mesh.get("heads", 3)), 1e-5)


def test_memory_falls_with_the_ranks(one_rank, tmp_path):
    name = "bytes_of_parameters_and_optimizer"
    whole = one_rank(heads=6)[name].item()
    share = train(tmp_path, 3, shard=3, heads=6, steps=1)[name].item()
    assert share <= 1.1 * whole / 3


@pytest.mark.parametrize("reduce", ["fp32", "bf16"])
def test_bfloat16_loses_no_more_than_on_one_rank(reduce, one_rank, tmp_path):
    exact, narrow = one_rank(), one_rank(dtype="bf16")
    got = train(tmp_path, 2, shard=2, dtype="bf16", reduce=reduce)
    for name in exact:
        if name.startswith("grad."):
            bound = 2 * max(relative_error(narrow[name], exact[name]), 2**-8)
            error = relative_error(got[name], exact[name])
            assert error <= bound, f"{name}: expected an error of at most {bound:.2e}, got {error:.2e}"
