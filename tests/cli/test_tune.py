"""`millrace tune`: torchtune's recipes and YAML files as configurations, explained, refused, and trained."""

import json
import os
import shutil
import socket
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from helpers import load
from llama_runs import nested

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "llama"
RECIPES = GOLDEN / "recipes"
FULL, LORA = "full_finetune_single_device", "lora_finetune_single_device"


def show(millrace, *words):
    result = millrace("tune", "run", *words, "--show-config")
    return tomllib.loads(result.stdout), result.stderr


def is_sorted(value):
    return not isinstance(value, dict) or list(value) == sorted(value) and all(map(is_sorted, value.values()))


def test_ls_and_cat_and_cp(millrace, tmp_path):
    lines = millrace("tune", "ls").stdout.splitlines()
    assert lines[0].split() == ["RECIPE", "CONFIG"] and lines[0].index("CONFIG") == 40
    assert any(line.split()[-1] == "llama3_3/70B_lora" for line in lines)
    text = millrace("tune", "cat", "llama3_1/8B_lora").stdout
    assert "torchtune.models.llama3_1.lora_llama3_1_8b" in text
    assert "Copied file to" in millrace("tune", "cp", "llama3_1/8B_lora", "mine").stdout
    assert (tmp_path / "mine.yaml").read_text() == text
    (tmp_path / "mine.yaml").write_text("kept: true\n")
    millrace("tune", "cp", "llama3_1/8B_lora", "mine.yaml", "-n")
    assert (tmp_path / "mine.yaml").read_text() == "kept: true\n"
    in_order = millrace("tune", "cat", "llama3_1/8B_lora", "--sort").stdout
    assert yaml.safe_load(in_order) == yaml.safe_load(text) and is_sorted(yaml.safe_load(in_order))
    assert "(try --make-parents)" in millrace("tune", "cp", "llama3_1/8B_lora", "a/b.yaml", status=2).stderr
    millrace("tune", "cp", "llama3_1/8B_lora", "a/b.yaml", "--make-parents")
    assert (tmp_path / "a" / "b.yaml").exists()
    assert "(try llama3_1/8B_lora)" in millrace("tune", "cp", "llama3_1/8B_lorra", "x", status=2).stderr


def test_validate(millrace, tmp_path):
    for name in ("llama3_3/70B_full_multinode", "llama3_1/8B_qlora_single_device"):
        assert millrace("tune", "validate", name).stdout == "Config is well-formed!\n"
    (tmp_path / "mine.yaml").write_text(millrace("tune", "cat", "llama3_1/8B_lora").stdout.replace("lora_rank:", "lora_rnak:"))
    refused = millrace("tune", "validate", "mine.yaml", status=2)
    assert refused.stdout == "" and "got model.lora_rnak" in refused.stderr


@pytest.mark.parametrize("name", ["llama3_3/70B_lora", "llama3_3/70B_full_multinode", "llama3_1/8B_lora_single_device"])
def test_a_configuration_by_name(millrace, name):
    recipe = ("lora" if "lora" in name else "full") + "_finetune_" + ("single_device" if "single" in name else "distributed")
    config, said = show(millrace, recipe, "--config", name)
    facts = json.loads((GOLDEN / "configs" / "facts.json").read_text())[name]["resolved"]
    assert config["job"]["dump_folder"] == facts["output_dir"]
    assert config["checkpoint"]["initial_load_path"] == facts["checkpointer.checkpoint_dir"]
    assert config["training"]["local_batch_size"] == facts["batch_size"]
    assert config["optimizer"]["lr"] == facts["optimizer.lr"] and config["optimizer"]["beta2"] == 0.999
    assert config["finetune"]["epochs"] == facts["epochs"] and config["finetune"]["order"] == "torchtune"
    assert (config["finetune"]["packing"] == "greedy") == facts["dataset.packed"]
    assert ("lora" in config) == ("lora" in name)
    assert f"batch_size={facts['batch_size']}" in said and "settings of torchtune" in said


def test_ranks_as_torchrun_counts_them(millrace):
    words = (FULL.replace("single_device", "distributed"), "--config", "llama3_3/70B_full_multinode", "tensor_parallel_dim=1", "batch_size=1")
    config, _ = show(millrace, "--nproc_per_node", "cpu", *words)
    assert config["training"]["global_batch_size"] == len(os.sched_getaffinity(0))
    said = millrace("tune", "run", "--nproc-per-node=all", *words, "--show-config", status=2).stderr
    assert "[--nproc_per_node] expected a number from 1 to 1024, got all" in said.replace('"', "")


def test_overrides_beat_the_file(millrace, tmp_path):
    millrace("tune", "cp", "llama3_1/8B_lora_single_device", "mine.yaml")
    text = (tmp_path / "mine.yaml").read_text().replace("output_dir: /tmp", "root_dir: /data\noutput_dir: ${root_dir}", 1)
    (tmp_path / "mine.yaml").write_text(text)
    config, said = show(
        millrace, LORA, "--config", "mine.yaml", "root_dir=/else", "batch_size=1", "model.lora_rank=4", "optimizer=torch.optim.SGD",
        "~optimizer.fused", "clip_grad_norm=0.5", "seed=3", "dtype=fp32", "checkpoint_dir=/ignored",
    )  # fmt: skip
    assert config["job"]["dump_folder"].startswith("/else/")
    assert config["training"]["local_batch_size"] == 1 and config["training"]["global_batch_size"] == 8
    assert config["lora"]["rank"] == 4 and config["optimizer"]["name"] == "SGD"
    assert config["training"]["max_norm"] == 0.5 and config["training"]["seed"] == 3 and config["training"]["dtype"] == "float32"
    assert "[checkpoint_dir] has no effect" in said


def test_8_bit_moments_beside_weights_in_bf16(millrace, tmp_path):
    """Llama 3.1 8B on one device, as torchtune ships it, on a tiny model: it trains, and resumes with the same bits."""
    rows = [{"instruction": f"Say {word}.", "input": "", "output": f"{word} " * 3} for word in ("hi", "no", "yes", "cat", "river", "cake", "a", "b")]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    config = "llama3_1/8B_full_single_device"
    base = RECIPES / "base"
    words = [f"checkpointer.checkpoint_dir={base}", f"checkpointer.checkpoint_files=[{', '.join(sorted(file.name for file in base.glob('*.safetensors')))}]",
             f"tokenizer.path={base / 'tokenizer.model'}", "device=cpu", "dataset.source=json", "dataset.data_files=rows.json", "batch_size=2", "seed=1",
             "optimizer.lr=0.05"]  # fmt: skip
    shown, _ = show(millrace, FULL, "--config", config, *words)
    assert shown["optimizer"]["name"] == "AdamW8bit" and shown["training"]["dtype"] == "bfloat16" and shown["optimizer"]["in_backward"]
    weights = {}
    for folder, steps in (("whole", 4), ("parts", 2), ("parts", 4)):
        millrace("tune", "run", FULL, "--config", config, *words, f"output_dir={folder}", f"max_steps_per_epoch={steps}")
        weights[folder] = {name: tensor for file in (tmp_path / folder / "model").glob("*.safetensors") for name, tensor in load(file).items()}
    losses = [json.loads(line)["loss"] for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines() if '"loss"' in line]
    assert losses[-1] < losses[0]
    assert weights["whole"].keys() == weights["parts"].keys()
    assert all(tensor.equal(weights["parts"][name]) for name, tensor in weights["whole"].items())


@pytest.mark.slow
def test_every_configuration_trains(millrace, tmp_path):
    """What each of them chooses goes together: optimizer, precision, adapters, recomputation."""
    (tmp_path / "rows.json").write_text(json.dumps([{"instruction": "Say hi.", "input": "", "output": "hi hi"}] * 2))
    base, recipe, names = RECIPES / "base", "", []
    for line in millrace("tune", "ls").stdout.splitlines()[1:]:
        *first, config = line.split()
        recipe = first[0] if first else recipe
        millrace("tune", "run", recipe, "--config", config, f"checkpointer.checkpoint_dir={base}", f"tokenizer.path={base / 'tokenizer.model'}",
                 "checkpointer.checkpoint_files=[model-00001-of-00002.safetensors, model-00002-of-00002.safetensors]", "device=cpu",
                 f"output_dir={config}", "dataset=torchtune.datasets.alpaca_dataset", "dataset.source=json", "dataset.data_files=rows.json",
                 "batch_size=1", "max_steps_per_epoch=1", "gradient_accumulation_steps=1")  # fmt: skip
        assert '"loss"' in (tmp_path / config / "metrics.jsonl").read_text()
        names.append(config)
    assert len(names) >= 24


def test_our_own_options_beat_what_the_file_became(millrace):
    config, _ = show(millrace, LORA, "--config", "llama3_1/8B_lora_single_device", "--lora.initial_adapter=start", "batch_size=1", "--lora.rank=5")
    assert config["lora"]["initial_adapter"] == "start" and config["lora"]["rank"] == 5
    assert config["training"]["local_batch_size"] == 1


@pytest.mark.parametrize(
    "words, expected",
    [
        ([LORA, "--config", "x.yaml", "batch_sise=1"], "[batch_sise] expected a key that the recipe reads, or a word that others use as ${batch_sise}, got batch_sise (try batch_size)"),
        ([LORA, "--config", "x.yaml", "dataset=torchtune.datasets.alpaca_datset"], "(try torchtune.datasets.alpaca_dataset)"),
        ([LORA, "--config", "x.yaml", "dataset=torchtune.datasets.preference_dataset"], "preferences are not trained"),
        ([LORA, "--config", "x.yaml", "--batch_size=1"], "[--batch_size] expected --config, key=value or an option of `millrace train`"),
        ([LORA, "--config", "x.yaml", "--lora.rank", "3"], "[--lora.rank] expected --section.key=value, got no value"),
        ([LORA, "--config", "x.yaml", "--lora.rnak=3"], "(try --lora.rank)"),
        ([LORA, "--config", "x.yaml", "optimizer.lr=high"], "[optimizer.lr] expected a number for optimizer.lr"),
        ([LORA, "--config", "x.yaml", "optimizer.lr=-1"], "[optimizer.lr, here optimizer.lr] expected"),
        ([LORA, "--config", "y.yaml"], "[y.yaml] expected a YAML file"),
        ([LORA], "expected --config"),
        (["lora_finetune_single_devise", "--config", "x.yaml"], "(try lora_finetune_single_device)"),
        (["full_dpo_distributed", "--config", "x.yaml"], "preferences are not trained"),
        ([FULL, "--config", "x.yaml"], "expected a model without adapters"),
        (["--nnodes", "2", "--nproc_per_node", "8", LORA, "--config", "x.yaml"], "[--nnodes] expected --rdzv_endpoint HOST:PORT"),
        (["--nnodes", "2", "--node_rank", "2", LORA, "--config", "x.yaml"], "[--node_rank] expected 0 to 1, got 2"),
        (["--nnodes", "2", "--master_addr", "a", "--master_port", "x", LORA, "--config", "x.yaml"], "expected HOST:PORT, got a:x"),
        (["--rdzv_conf", "timeout=9", "--tee=3", "--rols", "x", LORA, "--config", "x.yaml"], "[--rols] expected an option of torchrun"),
    ],
)
def test_refusals_name_the_key(millrace, words, expected):
    millrace("tune", "cp", "llama3_1/8B_lora_single_device", "x.yaml")
    result = millrace("tune", "run", *words, status=2)
    assert result.stdout == "" and expected in result.stderr


def test_the_line_of_a_misspelled_key(millrace, tmp_path):
    millrace("tune", "cp", "llama3_1/8B_lora_single_device", "x.yaml")
    text = (tmp_path / "x.yaml").read_text()
    (tmp_path / "x.yaml").write_text(text.replace("  lora_rank:", "  lora_rnak:"))
    line = 1 + text.splitlines().index("  lora_rank: 8")
    assert f"[x.yaml:{line}:3] expected a known key, got model.lora_rnak" in millrace("tune", "run", LORA, "--config", "x.yaml", status=2).stderr


def test_commands_and_help(millrace):
    assert "(try millrace tune run)" in millrace("tune", "rum", status=2).stderr
    assert "key=value" in millrace("tune", "--help").stdout
    assert "expected the token in HF_TOKEN" in millrace("tune", "download", "a/b", "--hf-token", "secret", status=2).stderr


def write_recorded_run(folder, name):
    """run.yaml with the recorded settings, as JSON, which is YAML; the rows; and the model."""
    settings = json.loads((GOLDEN / "configs" / "recipes" / f"{name}.json").read_text())
    shutil.copytree(RECIPES / "base", folder / "base")
    shutil.copy(RECIPES / "chat.json", folder)
    (folder / "run.yaml").write_text(json.dumps(nested(settings)))


def curve(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("name", ["full", "lora"])
def test_a_recorded_run_is_trained(millrace, tmp_path, name):
    """So many steps as recorded, and the files of a run."""
    write_recorded_run(tmp_path, name)
    said = millrace("tune", "run", FULL if name == "full" else LORA, "--config", "run.yaml").stderr
    assert 'finetune.data = ["chat.json"]' in said
    losses = curve(tmp_path / "out")
    assert len(losses) == 10 and losses[-1] < losses[0]
    assert (tmp_path / "out" / "epoch_1" / "model-00001-of-00002.safetensors").exists()  # as in the folder of the initial weights
    if name == "lora":
        adapters = ["tune", "run", LORA, "--config", "run.yaml", "save_adapter_weights_only=true", "epochs=1"]
        millrace(*adapters, "output_dir=alone", "checkpointer.output_dir=alone")
        assert (tmp_path / "alone" / "epoch_0" / "adapter_model.safetensors").exists()
        files = list((tmp_path / "out").rglob("adapter_model.safetensors"))
        assert files and any(key.endswith("q_proj.lora_A.weight") for key in load(files[0]))


def test_a_vocabulary_that_is_not_there(millrace, tmp_path):
    """tokenizer.json beside it has the same tokens, but the file of torchtune's is missing all the same."""
    write_recorded_run(tmp_path, "full")
    refused = millrace("tune", "run", FULL, "--config", "run.yaml", "tokenizer.path=base/tokeniser.model", status=2).stderr
    assert "tokenizer.path] expected the vocabulary beside base/tokenizer.json, got nothing of the name base/tokeniser.model" in refused


@pytest.mark.slow
def test_ranks_of_one_machine_and_of_two(program, millrace, tmp_path):
    write_recorded_run(tmp_path, "full")
    words = ["full_finetune_distributed", "--config", "run.yaml", "batch_size=1"]
    millrace("tune", "run", "--nproc_per_node", "2", *words, "output_dir=one", "checkpointer.output_dir=one", "metric_logger.log_dir=one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = [
        subprocess.Popen([program, "tune", "run", "--nnodes", "2", "--node_rank", str(node), "--rdzv_endpoint", f"127.0.0.1:{port}", *words,
                          "output_dir=two", "checkpointer.output_dir=two"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for node in (0, 1)
    ]  # fmt: skip
    for machine in machines:
        _, said = machine.communicate(timeout=300)
        assert machine.returncode == 0, said
    assert curve(tmp_path / "one") == pytest.approx(curve(tmp_path / "two"), rel=1e-6)
