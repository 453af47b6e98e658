"""A disk that takes no more: nothing half-written has a name, what was there stays, and the next start writes what is missing."""

import os
import resource
import subprocess

import pytest
import torch
from flux_lora_runs import base, emoji, train  # noqa: F401  (fixtures)
from helpers import load
from llama_runs import BASE, recorded_run

LORA = ["tune", "run", "lora_finetune_single_device", "--config", "run.yaml"]


def weights(folder):
    return {name: values for file in folder.glob("model*.safetensors") for name, values in load(file).items()}


def same(ours, theirs):
    return set(ours) == set(theirs) and all(torch.equal(ours[name], values) for name, values in theirs.items())


def leftovers(folder):
    return [path for path in folder.rglob("*") if ".part" in path.name or path.name == "unfinished"]


def limit():
    """No file may be as large as a shard."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))


@pytest.mark.parametrize("there", [False, True], ids=["a new folder", "an older export"])
@pytest.mark.parametrize("kind", ["merged", "gguf", "weights"])
def test_a_full_disk_while_exporting(program, millrace, tmp_path, kind, there):
    recorded_run(tmp_path, "lora")
    millrace(*LORA)
    output = tmp_path / ("x.gguf" if kind == "gguf" else "exported")
    command = {
        "merged": ["export", "out", output, "--merged"],
        "gguf": ["export", "out", output, "--merged", "--dtype", "fp32"],
        "weights": ["export", "base", output, "--model", "llama", "--merge", "out/adapter"],
    }[kind]
    if there:
        millrace("export", "base", output, "--model", "llama")
    before = output.read_bytes() if output.is_file() else weights(output) if there else None
    result = subprocess.run([program, *command], cwd=tmp_path, capture_output=True, text=True, timeout=300, preexec_fn=limit)
    assert result.returncode == 5, result.stderr
    assert output.name in result.stderr.splitlines()[-1]
    assert output.exists() == there
    if there and kind == "gguf":
        assert output.read_bytes() == before
    elif there:
        assert same(weights(output), before)
    assert not leftovers(tmp_path)
    millrace(*command)
    assert output.exists() and not leftovers(tmp_path)
    if kind != "gguf":
        assert set(weights(output)) == set(weights(BASE))
        assert torch.equal(weights(output)["lm_head.weight"], weights(BASE)["lm_head.weight"])


# What the last step of a run leaves. A folder has the name of a file, or a file that of a folder: nothing can be written there.


KOHYA = ["--lora.kohya_files", "--lora.kohya_name=heart"]
ENDS = ["--checkpoint.interval=100", "--sample.every_steps=0", "--report.no_enable", '--lora.targets=["all", "img_in"]', *KOHYA]
LAST_FILES = ["lora.safetensors", "lora_diffusers.safetensors", "heart.safetensors", "heart_diffusers.safetensors"]
MISSING = "files for other programs of step {} are missing or incomplete"


def lora_files(folder):
    """Their tensors: the metadata say when they were written."""
    return {name: load(folder / name) for name in LAST_FILES}


@pytest.mark.parametrize("name", LAST_FILES)
def test_a_lora_file_that_could_not_be_written(train, tmp_path, name):  # noqa: F811
    expected = lora_files(train(*ENDS, run="undisturbed"))
    (tmp_path / "run" / name).mkdir(parents=True)
    assert name in train(*ENDS, status=5).stderr.splitlines()[-1]
    (tmp_path / "run" / name).rmdir()
    folder = train(*ENDS)
    assert all(same(values, expected[file]) for file, values in lora_files(folder).items()) and not leftovers(folder)
    log = (folder / "log.txt").read_text()
    assert MISSING.format(8) in log and log.count("step:  8 ") == 1
    train(*ENDS)
    assert (folder / "log.txt").read_text() == log, "nothing is left to do"


def test_lora_files_that_are_gone_or_cut(train):  # noqa: F811
    folder = train(*ENDS)
    expected = lora_files(folder)
    for name in LAST_FILES:
        whole = (folder / name).read_bytes()
        for content in (None, whole[:-1]):
            (folder / name).unlink()
            if content is not None:
                (folder / name).write_bytes(content)
            train(*ENDS)
            assert all(same(values, expected[file]) for file, values in lora_files(folder).items()), name
    assert (folder / "log.txt").read_text().count(MISSING.format(8)) == 2 * len(LAST_FILES)


def test_llama_adapters_that_could_not_be_written(millrace, tmp_path):
    recorded_run(tmp_path, "lora", epochs=1)
    run = tmp_path / "out"
    run.mkdir()
    (run / "adapter").write_text("in the way")
    assert "out/adapter" in millrace(*LORA, status=5).stderr.splitlines()[-1]
    (run / "adapter").unlink()
    said = millrace(*LORA).stderr
    assert MISSING.format(5) in said
    assert same(load(run / "adapter" / "adapter_model.safetensors"), load(run / "epoch_0" / "adapter_model.safetensors"))
    assert MISSING.format(5) not in millrace(*LORA).stderr


def test_a_whole_model_of_an_earlier_end(program, millrace, tmp_path):
    """A longer run ends without room for its model: that of the shorter one is not taken for it."""
    recorded_run(tmp_path, "lora")
    run = tmp_path / "out"
    millrace(*LORA, "epochs=1")
    earlier = weights(run / "model")
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    result = subprocess.run([program, *LORA], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, preexec_fn=limit)
    assert result.returncode == 5 and same(weights(run / "model"), earlier)
    millrace(*LORA)
    millrace("export", run, "expected", "--merged")
    expected = weights(tmp_path / "expected")
    assert same(weights(run / "model"), expected) and same(weights(run / "epoch_1"), expected) and not same(earlier, expected)
    before = (run / "model" / "model.safetensors.index.json").stat().st_mtime_ns
    millrace(*LORA)
    assert (run / "model" / "model.safetensors.index.json").stat().st_mtime_ns == before
