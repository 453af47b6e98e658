"""T5 and CLIP with their weights sharded over ranks: the encodings of one rank, and a share of its memory."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from helpers import load
from rank_processes import free_port, quiet_environment
from tiny_encoders import make_clip, make_t5

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TOOL = Path(os.environ.get("MILLRACE", ROOT / "build" / "millrace")).parent / "tests" / "multiprocess" / "millrace_encoder_ranks_tool"


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    make_t5(folder / "t5", d_model=27, d_kv=5, d_ff=33)  # nothing divides by the ranks
    make_clip(folder / "clip")
    return folder


def encode(encoders, folder, ranks, shard):
    port = free_port()
    processes = []
    for rank in range(ranks):
        own = {"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = quiet_environment() | {key: str(value) for key, value in own.items()}
        command = [TOOL, encoders, folder / f"{ranks}-{shard}", shard]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    for rank, process in enumerate(processes):
        assert process.returncode == 0, f"rank {rank}: {outputs[rank][-2000:]}"
    return [load(folder / f"{ranks}-{shard}-{rank}.safetensors") for rank in range(ranks)]


@pytest.mark.parametrize("ranks", [2, 3])
def test_sharded_encoders_give_the_same_encodings(encoders, tmp_path, ranks):
    whole, sharded = encode(encoders, tmp_path, ranks, "false"), encode(encoders, tmp_path, ranks, "true")
    for rank in range(ranks):
        assert whole[rank]["t5.1"].shape[0] == rank + 1 + (rank > 0)
        for name in whole[rank]:
            if name != "bytes":
                assert whole[rank][name].equal(sharded[rank][name]), f"rank {rank}: {name}"
    for kind in (0, 1):
        total = whole[0]["bytes"][kind].item()
        assert all(part["bytes"][kind].item() <= 1.1 * total / ranks for part in sharded)


def test_small_encoders_stay_whole_on_a_cpu_by_default(encoders, tmp_path):
    for part, alone in zip(encode(encoders, tmp_path, 2, "auto"), encode(encoders, tmp_path, 2, "false")):
        assert all(part[name].equal(alone[name]) for name in alone)


def test_training_from_captions_is_the_same_with_sharded_encoders(program, encoders, tmp_path):
    data = tmp_path / "data"
    environment = quiet_environment()
    subprocess.run([program, "prepare", "emoji", "--output", data, "--size", "16", "--count", "11"], check=True, timeout=300, env=environment)
    common = [program, "launch", "-n", "2", program, "train", ROOT / "configs" / "tiny.toml", f"--training.dataset_path={data}",
              f"--encoder.t5_encoder={encoders / 't5'}", f"--encoder.clip_encoder={encoders / 'clip'}", "--model.context_in_dim=27",
              "--model.vec_in_dim=16", "--training.steps=5", "--training.local_batch_size=2", "--encoder.max_t5_encoding_len=12",
              "--training.global_batch_size=4", "--report.no_enable", "--metrics.no_enable_tensorboard", "--checkpoint.no_enable"]  # fmt: skip
    curves = {}
    for name, options in {"whole": ["--encoder.shard=false"], "sharded": ["--encoder.shard=true"],
                          "cached": ["--encoder.shard=true", "--encoder.cache_encodings=memory"]}.items():  # fmt: skip
        command = [*common, f"--job.dump_folder={tmp_path / name}", *options]
        result = subprocess.run(command, timeout=300, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-3000:]
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        curves[name] = [json.loads(line)["loss"] for line in lines if "loss" in json.loads(line)]
    assert len(curves["whole"]) == 5 and curves["whole"] == curves["sharded"] == curves["cached"]
