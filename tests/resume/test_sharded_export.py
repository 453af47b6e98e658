"""Checkpoints that other programs cut into shards, as docs/checkpoints.md describes them, are read, checked and exported."""

import json

import pytest
import torch
import xxhash
from resume.runs import checkpoints, finish, start
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.slow

RANKS = 3


@pytest.fixture(scope="module")
def run(program, write_config, tmp_path_factory):
    """The folder of a short run on one rank, done."""
    config = write_config(tmp_path_factory.mktemp("short"))
    finish(start(program, config, "--training.steps=4"), config)
    return config.parent / "run"


def checksum(tensor):
    return f"{xxhash.xxh64_intdigest(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()):016x}"


def header_checksum(content):
    return f"{xxhash.xxh64_intdigest(content[: 8 + int.from_bytes(content[:8], 'little')]):016x}"


def cut(tensor, boxes):
    """What each rank holds: (piece, where it lies)."""
    if boxes and tensor.dim() == 2 and tensor.shape[1] >= RANKS:
        step = tensor.shape[1] // RANKS
        ends = [step * (rank + 1) for rank in range(RANKS - 1)] + [tensor.shape[1]]
        begins = [0, *ends[:-1]]
        return [(tensor[:, a:b].contiguous(), {"start": [0, a]}) for a, b in zip(begins, ends)]
    flat = tensor.reshape(-1)
    middle = flat.numel() // 3
    return [(flat[:middle], {"offset": 0}), (flat[middle:middle], None), (flat[middle:], {"offset": middle})]


def shard(run, target):
    """Copies the run with its checkpoint cut into RANKS files."""
    source = checkpoints(run.parent / "any")[-1]
    index = json.loads((source / "index.json").read_text())
    folder = target / "checkpoint" / source.name
    folder.mkdir(parents=True)
    (target / "config.toml").write_text((run / "config.toml").read_text())
    files = [f"rank-{rank:05}-of-{RANKS:05}.safetensors" for rank in range(RANKS)]
    tensors, contents = {}, [{} for _ in files]
    for number, (name, tensor) in enumerate(load_file(source / "rank-00000.safetensors").items()):
        entry = {"dtype": index["tensors"][name]["dtype"], "shape": list(tensor.shape), "pieces": []}
        for rank, (piece, place) in enumerate(cut(tensor, boxes=number % 2 == 0)):
            if piece.numel() == 0:
                continue
            contents[rank][name] = piece.clone()
            shape = list(piece.shape)
            entry["pieces"].append(
                {"file": files[rank], "name": name, "shape": shape, "checksum": checksum(piece), **place})
        tensors[name] = entry
    index |= {"world_size": RANKS, "tensors": tensors, "files": {}}
    for name, content in zip(files, contents):
        save_file(content, folder / name)
        written = (folder / name).read_bytes()
        index["files"][name] = {"size": len(written), "header_checksum": header_checksum(written)}
    del index["checksum"]
    compact = json.dumps(index, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    index["checksum"] = f"{xxhash.xxh64_intdigest(compact.encode()):016x}"
    (folder / "index.json").write_text(json.dumps(index))
    return target


@pytest.mark.parametrize("options", [["--naming", "diffusers"], ["--naming", "torchtitan", "--dtype", "bf16"], ["--use", "last"]])
def test_export_is_the_same_from_one_file_and_from_shards(millrace, run, tmp_path, options):
    sharded = shard(run, tmp_path / "sharded")
    for name, source in {"one": run, "shards": sharded}.items():
        millrace("export", str(source), str(tmp_path / f"{name}.safetensors"), *options)
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "shards.safetensors").read_bytes()


def test_inspect_tells_the_ranks_and_the_same_values(millrace, run, tmp_path):
    sharded = shard(run, tmp_path / "sharded")
    reports = [json.loads(millrace("inspect", str(path), "--json", "--stats").stdout) for path in (run, sharded)]
    assert reports[1]["world_size"] == RANKS
    values = [[(tensor["name"], tensor["stats"]) for tensor in report["tensors"]] for report in reports]
    assert values[0] == values[1] and values[0]


def test_a_run_on_one_rank_goes_on_from_shards(program, write_config, run, tmp_path):
    """Bit for bit as from its own checkpoint."""
    ends = []
    for name in ("one", "shards"):
        config = write_config(tmp_path / name)
        if name == "one":
            finish(start(program, config, "--training.steps=4"), config)
        else:
            shard(run, tmp_path / name / "run")
        finish(start(program, config, "--training.steps=6", "--checkpoint.keep_latest_k=0"), config)
        ends.append(load_file(checkpoints(config)[-1] / "rank-00000.safetensors"))
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_flipped_bit_is_named(millrace, run, tmp_path):
    sharded = shard(run, tmp_path / "sharded")
    damaged = sorted((sharded / "checkpoint").glob("*/rank-00002-*"))[0]
    content = bytearray(damaged.read_bytes())
    content[-5] ^= 16
    damaged.write_bytes(content)
    result = millrace("export", str(sharded), str(tmp_path / "out.safetensors"), status=5)
    assert damaged.name in result.stderr and "checksum" in result.stderr
    assert not (tmp_path / "out.safetensors").exists()
