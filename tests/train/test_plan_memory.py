"""`plan` against real runs: the peak it names is within 10 % of what the run's allocator counts.

Both sides count the blocks of tensors (nn/cpu_allocator.h), not the process: libraries, stacks and the heap's small change
are the same for every configuration. A block of 1 MiB and more is rounded up by the allocator, and the plan rounds the same way.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

# Two sizes whose tensors are large against what the allocator leaves uncounted.
SIZES = {
    "narrow": dict(hidden_size=256, num_heads=4, depth=2, depth_single_blocks=4, batch=8),
    "wide": dict(hidden_size=512, num_heads=4, depth=1, depth_single_blocks=2, batch=4),
}


@pytest.fixture(scope="session")
def emoji(emoji_set):
    return emoji_set(24, size=64)


def options(emoji, folder, size, mode, *more):
    sizes = dict(SIZES[size])
    batch = sizes.pop("batch")
    return [
        str(ROOT / "configs" / "tiny.toml"), f"--job.dump_folder={folder}", f"--training.dataset_path={emoji}",
        *[f"--model.{key}={value}" for key, value in sizes.items()], "--model.context_in_dim=64", "--model.vec_in_dim=64",
        "--training.img_size=64", "--encoder.max_t5_encoding_len=32", f"--training.local_batch_size={batch}",
        "--training.steps=2", f"--activation_checkpoint.mode={mode}", "--sample.every_steps=0", "--checkpoint.no_enable",
        "--metrics.no_enable_tensorboard", "--report.no_enable", "--training.device=cpu", *more,
    ]


def planned(millrace, arguments, ranks=1):
    """The peak of the configuration, and those of all modes of recomputation."""
    result = json.loads(millrace("plan", *arguments, "--gpu=cpu", f"--gpus={ranks}", "--json").stdout)
    return result["memory"]["peak_bytes"], {mode["recompute"]: mode["peak_bytes"] for mode in result["recompute_modes"]}


def measured(program, arguments, tmp_path, ranks=1):
    tool = program.parent / "tests" / "train" / "millrace_memory_tool"
    output = tmp_path / "peak"
    command = [tool, output, *arguments]
    if ranks > 1:
        command = [program, "launch", "-n", str(ranks), "--", *command]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return max(int((tmp_path / f"peak.{rank}").read_text()) for rank in range(ranks))


def check(plan, real):
    assert plan == pytest.approx(real, rel=0.1), f"planned {plan / 2**20:.1f} MiB, measured {real / 2**20:.1f} MiB"


@pytest.mark.parametrize("size", SIZES)
def test_one_rank(millrace, program, emoji, tmp_path, size):
    plan, modes = planned(millrace, options(emoji, tmp_path / "run", size, "selective"))
    assert plan == modes["selective"] and modes.keys() == {"none", "selective", "full"}
    for mode in modes:
        check(modes[mode], measured(program, options(emoji, tmp_path / mode, size, mode), tmp_path))


def test_inputs_in_host_memory_count_on_a_cpu(millrace, program, emoji, tmp_path):
    arguments = options(emoji, tmp_path / "run", "narrow", "full", "--activation_checkpoint.offload=true")
    check(planned(millrace, arguments)[0], measured(program, arguments, tmp_path))


def test_accumulation_takes_no_more_than_planned(millrace, program, emoji, tmp_path):
    arguments = options(emoji, tmp_path / "run", "narrow", "selective", "--training.local_batch_size=4",
                        "--training.global_batch_size=12")
    check(planned(millrace, arguments)[0], measured(program, arguments, tmp_path))


MESHES = {
    "shard 2, none": (2, "none", []),
    "shard 2, full": (2, "full", []),
    "shard 3, selective": (3, "selective", []),
    "replicate 2, selective": (2, "selective", ["--parallelism.data_parallel_replicate_degree=2"]),
    "shard 2, accumulation": (2, "selective", ["--training.global_batch_size=24"]),
    "tp 2, selective": (2, "selective", ["--training.local_batch_size=8", "--parallelism.tensor_parallel_degree=2"]),
}


@pytest.mark.parametrize("mesh", MESHES)
def test_many_ranks(millrace, program, emoji, tmp_path, mesh):
    ranks, mode, more = MESHES[mesh]
    arguments = options(emoji, tmp_path / "run", "narrow", mode, "--training.local_batch_size=4", *more)
    check(planned(millrace, arguments, ranks)[0], measured(program, arguments, tmp_path, ranks))


def test_shares_of_a_frozen_base_in_fewer_bits(millrace, program, emoji, tmp_path):
    sizes = ["--model.hidden_size=512", "--model.num_heads=4", "--model.depth=2", "--model.depth_single_blocks=8"]
    tiny, lora = (ROOT / "configs" / name for name in ("tiny.toml", "flux_dev_lora_laptop.toml"))
    common = [f"--training.dataset_path={emoji}", *sizes, "--sample.every_steps=0", "--report.no_enable", "--training.device=cpu"]
    made = tmp_path / "made"
    millrace("train", tiny, f"--job.dump_folder={made}", *common, "--model.guidance_embed", "--training.steps=1")
    millrace("export", made, tmp_path / "base.safetensors")
    plans, peaks = {}, {}
    for ranks in (1, 2, 3):
        arguments = [
            str(lora), f"--job.dump_folder={tmp_path / str(ranks)}", *common, "--lora.base_dtype=int8", "--training.steps=2",
            f"--checkpoint.initial_load_path={tmp_path / 'base.safetensors'}", "--training.local_batch_size=1",
            "--training.global_batch_size=6", "--lora.rank=16", "--checkpoint.no_enable", "--metrics.no_enable_tensorboard",
        ]  # fmt: skip
        plans[ranks] = planned(millrace, arguments, ranks)[0]
        if ranks > 1:  # on one rank most matrices are too small to be counted
            peaks[ranks] = measured(program, arguments, tmp_path, ranks)
            check(plans[ranks], peaks[ranks])
    # A rank of three lets go of two thirds, and gathers two blocks; a byte for each number of the matrices.
    double, single, modulation = (count * 512 * 512 for count in (24, 12, 3))
    matrices = 2 * (double + 4 * modulation) + 8 * (single + modulation)
    assert plans[1] - peaks[3] > 0.9 * (matrices * 2 / 3 - 2 * double)
