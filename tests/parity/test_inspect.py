"""`millrace inspect` on what other programs write: shards of webdataset, traces of torch's profiler."""

import collections
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import numpy
import pytest
import torch
import webdataset

BUILD = Path(os.environ.get("MILLRACE", Path(__file__).parents[2] / "build" / "millrace")).parent
TOOL = BUILD / "tests" / "fuzz" / "millrace_formats_tool"


def write_shard(path, samples):
    with webdataset.TarWriter(str(path)) as writer:
        for i in range(samples):
            writer.write({"__key__": f"{i:06d}", "jpg": bytes(1000 + i), "txt": f"caption {i} é", "json": {"n": i}})


def test_shards_of_webdataset(tmp_path, millrace):
    write_shard(tmp_path / "a.tar", 25)
    report = json.loads(millrace("inspect", tmp_path / "a.tar", "--json").stdout)
    assert (report["sample_count"], report["member_count"]) == (25, 75)
    assert report["extensions"]["jpg"] == {"count": 25, "bytes": sum(1000 + i for i in range(25))}
    assert report["samples"][3] == {"key": "000003", "members": {"jpg": 1003, "json": 8, "txt": len("caption 3 é".encode())}}
    text = millrace("inspect", tmp_path / "a.tar").stdout
    assert "25 samples, 75 members" in text and "000019" in text and "000020" not in text
    assert "000024" in millrace("inspect", tmp_path / "a.tar", "--names", "*24").stdout


def test_a_data_set_with_a_shard_that_is_cut_short(tmp_path, millrace):
    for name in ["a.tar", "b.tar"]:
        write_shard(tmp_path / name, 10)
    whole = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[: len(whole) // 1024 * 512 + 100])
    report = json.loads(millrace("inspect", tmp_path, "--json").stdout)
    assert report["damaged_count"] == 1 and 12 < report["sample_count"] < 20
    assert "b.tar, byte" in report["shards"][1]["damage"]
    assert "b.tar, byte" in millrace("inspect", tmp_path / "b.tar", status=3).stderr


def test_our_archives_are_read_by_webdataset_and_tarfile(tmp_path):
    contents = {"000.txt": "a cat".encode(), "000.json": b'{"n": 1}', "001.txt": "ein Kätzchen 😀".encode(), "001.json": b'{"n": 2}'}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    subprocess.run([TOOL, "write-tar", tmp_path / "out.tar", *(tmp_path / name for name in contents)], check=True)
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert {member.name: archive.extractfile(member).read() for member in archive} == contents
        assert all((member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "") for member in archive.getmembers())
    samples = list(webdataset.WebDataset(str(tmp_path / "out.tar"), shardshuffle=False).decode())
    assert [(sample["__key__"], sample["txt"], sample["json"]["n"]) for sample in samples] == [
        ("000", "a cat", 1),
        ("001", "ein Kätzchen 😀", 2),
    ]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_dialect_is_read(format, tmp_path):
    contents = {"short.txt": b"1", "d" * 60 + "/" + "n" * 90 + ".txt": b"22", "é😀.txt": b"", "big.bin": bytes(300_000)}
    with tarfile.open(tmp_path / "a.tar", "w", format=format) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    listing = subprocess.run([TOOL, "list-tar", tmp_path / "a.tar"], check=True, capture_output=True, text=True).stdout
    assert {line.split("\t")[0]: int(line.split("\t")[1]) for line in listing.splitlines()} == {
        name: len(content) for name, content in contents.items()
    }


def test_traces_of_the_profiler(tmp_path, millrace):
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 8))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(5):
            model(torch.randn(32, 64)).sum().backward()
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    report = json.loads(millrace("inspect", tmp_path / "trace.json", "--json").stdout)
    ours = {row["name"]: row for row in report["names"] if row["category"] == "cpu_op"}
    theirs = {row.key: row for row in profiler.key_averages()}
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    calls = collections.Counter(event["name"] for event in events if event.get("cat") == "cpu_op")
    assert {name: row["calls"] for name, row in ours.items()} == dict(calls)
    assert ours["aten::addmm"]["calls"] == theirs["aten::addmm"].count == 10
    for name in ["aten::addmm", "aten::gelu", "aten::mm"]:
        assert ours[name]["self_us"] == pytest.approx(theirs[name].self_cpu_time_total, rel=0.01, abs=5)
        assert ours[name]["total_us"] == pytest.approx(theirs[name].cpu_time_total, rel=0.01, abs=5)
    text = millrace("inspect", tmp_path / "trace.json", "--names", "aten::addmm").stdout
    assert "aten::addmm" in text and "aten::gelu" not in text


def test_npy_arrays(tmp_path, millrace):
    numpy.save(tmp_path / "a.npy", numpy.arange(6, dtype=numpy.float16).reshape(2, 3))
    report = json.loads(millrace("inspect", tmp_path / "a.npy", "--json", "--stats").stdout)
    assert (report["dtype"], report["shape"], report["stats"]["mean"]) == ("F16", [2, 3], 2.5)
    numpy.save(tmp_path / "f.npy", numpy.asfortranarray(numpy.zeros((2, 3))))
    assert "row-major" in millrace("inspect", tmp_path / "f.npy", status=3).stderr


def test_what_it_does_not_know_is_a_data_error(tmp_path, millrace):
    (tmp_path / "notes.md").write_text("hello")
    message = millrace("inspect", tmp_path / "notes.md", status=3).stderr
    assert "notes.md" in message and "expected a safetensors file" in message
    assert "got nothing of that name" in millrace("inspect", tmp_path / "missing", status=3).stderr
    millrace("inspect", status=2)
    millrace("inspect", tmp_path, "--jsn", status=2)


def test_what_a_run_leaves_behind(tmp_path, millrace):
    """Checkpoint and events of a run of a few steps; a flipped bit in the checkpoint is found and named."""
    pictures = tmp_path / "pictures.tar"
    generator = numpy.random.default_rng(1)
    with webdataset.TarWriter(str(pictures)) as writer:
        for i in range(8):
            pixels = generator.integers(0, 256, (20, 20, 3), dtype=numpy.uint8)
            writer.write({"__key__": f"{i:03d}", "png": pixels, "txt": f"noise {i}"})
    config = Path(__file__).parents[2] / "configs" / "tiny.toml"
    overrides = [f"--training.dataset_path={pictures}", f"--job.dump_folder={tmp_path / 'run'}", "--training.steps=3"]
    millrace("train", config, *overrides, "--checkpoint.interval=2")

    report = json.loads(millrace("inspect", tmp_path / "run", "--json", "--stats").stdout)
    assert (report["kind"], report["step"], report["checksums"]) == ("checkpoint", 3, "verified")
    assert 3 in report["steps"] and report["element_count"] > 1000
    assert all(tensor["stats"]["nan"] == 0 for tensor in report["tensors"])
    step = Path(report["folder"])
    assert json.loads(millrace("inspect", step / "index.json", "--json").stdout)["step"] == 3

    report = json.loads(millrace("inspect", tmp_path / "run" / "tb", "--json").stdout)
    assert max(tag["last_step"] for tag in report["tags"]) == 3

    shard = next(step.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert shard.name in millrace("inspect", step, status=5).stderr
