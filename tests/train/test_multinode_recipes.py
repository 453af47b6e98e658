"""The two files for Llama 3.3 70B on two machines, as they stand, on a tiny model: only paths and sizes are said otherwise."""

import json
from pathlib import Path

import pytest
from llama_runs import BASE, RECIPES, steps

FILES = Path(__file__).with_name("multinode")
FULL, LORA = "full_finetune_distributed", "lora_finetune_distributed"
TINY = [
    "root_dir=.", f"checkpointer.checkpoint_dir={BASE}", f"tokenizer.path={BASE}/tokenizer.model",
    f"tokenizer.special_tokens_path={BASE}/tokenizer.json",  # whose special tokens are not Llama's
    "dataset.source=json", f"dataset.data_files={RECIPES}/alpaca.json",
    "dataset_val.source=json", f"dataset_val.data_files={RECIPES}/alpaca.json", "device=cpu",
]  # fmt: skip
SIZES = {FULL: ["tokenizer.max_seq_len=128", "batch_size=1"], LORA: ["batch_size=2"]}


def run(millrace, recipe, *words, ranks=1, out):
    name = f"llama3_3_70B_{recipe.split('_')[0]}_multinode.yaml"
    start = ["--nproc_per_node", ranks] if ranks > 1 else []
    millrace("tune", "run", *start, recipe, "--config", FILES / name, *TINY, *SIZES[recipe], f"output_dir={out}", *words, env={"OMP_NUM_THREADS": "1"})


def losses(folder):
    return [step["loss"] for step in steps(folder)]


def test_full(millrace, tmp_path):
    run(millrace, FULL, out="out")
    got = losses(tmp_path / "out")
    assert len(got) > 5 and got[-1] < got[0]
    index = "model.safetensors.index.json"
    assert json.loads((tmp_path / "out" / "epoch_0" / index).read_text())["weight_map"] == json.loads((BASE / index).read_text())["weight_map"]


def test_lora(millrace, tmp_path):
    run(millrace, LORA, out="out")
    assert len(losses(tmp_path / "out")) == 11  # 95 % of 24 rows, two at a time
    config = json.loads((tmp_path / "out" / "epoch_0" / "adapter_config.json").read_text())
    assert config["r"] == 16 and config["lora_alpha"] == 32
    assert set(config["target_modules"]) == {"q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert not list((tmp_path / "out" / "epoch_0").glob("model*.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [FULL, LORA])
@pytest.mark.parametrize("degree", [1, 2], ids=["shards", "tensor parallel"])
def test_on_two_ranks(millrace, tmp_path, recipe, degree):
    """In single precision: the same losses as on one rank with the same batch."""
    same = ["dtype=fp32", "seed=1"]
    run(millrace, recipe, *same, f"tensor_parallel_dim={degree}", ranks=2, out="two")
    batch = ["batch_size=2" if recipe == FULL else "batch_size=4"] if degree == 1 else []
    run(millrace, recipe, *same, *batch, "tensor_parallel_dim=1", out="one")
    got, alone = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert len(got) >= len(alone) > 3  # torchtune's sampler repeats a row so that all ranks have as many
    assert got[: len(alone)] == pytest.approx(alone, rel=1e-5)
    assert (tmp_path / "two" / "epoch_0").is_dir()
