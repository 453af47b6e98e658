"""Exports of language models on a disk that takes no more: nothing half-written has a name, and what was there stays."""

import resource
import subprocess

import pytest
import torch
from helpers import load
from llama_runs import BASE, recorded_run


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
    millrace("tune", "run", "lora_finetune_single_device", "--config", "run.yaml")
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
