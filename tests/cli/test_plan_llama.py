"""`millrace plan` of fine-tuning: Llama 3.1's sizes, without its weights."""

import json

import pytest
from llama_runs import empty_config

pytestmark = pytest.mark.fast

SIZES = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture
def plan(millrace, tmp_path):
    def run(*arguments, gpus=8, status=0):
        (tmp_path / "config.json").write_text(json.dumps(SIZES))
        done = millrace(
            "plan", empty_config(tmp_path), f"--model.config={tmp_path / 'config.json'}", "--training.local_batch_size=1",
            f"--gpus={gpus}", "--gpu=h100-80gb", "--json", *arguments, status=status,
        )  # fmt: skip
        return json.loads(done.stdout) if status == 0 else done.stderr

    return run



def test_all_weights_of_the_8b_model(plan):
    result = plan("--model.name=llama", "--finetune.max_seq_len=8192")
    assert result["parameters"] == 8_030_261_248
    assert result["tokens_per_sample"] == 8192
    # 6 FLOPs per matrix element and token, and causal attention.
    per_token = 6 * 7_504_658_432 + 6 * 32 * 4096 * 8192
    assert result["model_flops_per_sample"] == pytest.approx(8192 * per_token, rel=1e-6)
    # Weights in bf16 and fp32, and Adam's two averages, in eighths.
    assert result["memory"]["peak_bytes"] > 8_030_261_248 * 14 / 8
    assert 0.3 < result["time"]["mfu"] < 0.75
    modes = {mode["recompute"]: mode["peak_bytes"] for mode in result["recompute_modes"]}
    assert modes["full"] < modes["selective"] < modes["none"]


def test_adapters_need_less(plan):
    whole = plan("--model.name=llama", "--finetune.max_seq_len=2048")
    lora = plan("--job.task=llama_lora", "--finetune.max_seq_len=2048", "--lora.rank=16")
    assert lora["parameters"] == 41_943_040
    assert lora["memory"]["peak_bytes"] < whole["memory"]["peak_bytes"] / 2
    assert lora["time"]["step_seconds"] < whole["time"]["step_seconds"]


def test_a_base_in_fewer_bits(plan):
    """The matrices of the layers: 6.98 of 8.03 billion numbers."""
    frozen = {
        storage: plan("--job.task=llama_lora", "--finetune.max_seq_len=64", f"--lora.base_dtype={storage}", gpus=1)["memory"]["parts"]["frozen weights"]
        for storage in ["auto", "int8", "nf4"]
    }  # fmt: skip
    matrices = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    assert frozen["auto"] - frozen["int8"] == pytest.approx(matrices, rel=2e-3)
    assert frozen["auto"] - frozen["nf4"] == pytest.approx(matrices * (2 - 0.516), rel=2e-3)  # a scale for 64, in 8 bits


def test_ranks_hold_shares_of_a_base_in_fewer_bits(plan):
    one, eight = (
        plan("--job.task=llama_lora", "--finetune.max_seq_len=2048", "--lora.base_dtype=nf4", gpus=gpus) for gpus in (1, 8)
    )
    layer = 0.516 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)  # bytes
    dense = 2 * 128256 * 4096 * 2  # the embedding and the output layer
    frozen = one["memory"]["parts"]["frozen weights"]
    assert frozen == pytest.approx(32 * layer + dense, rel=2e-3)
    assert eight["memory"]["parts"]["frozen weights"] == pytest.approx(frozen / 8, rel=1e-3)
    # Two layers; beside them either the embedding or the output layer, the adapters and their gradients.
    adapters = 2 * 2 * eight["parameters"]
    assert eight["memory"]["parts"]["collective buffers"] == pytest.approx(dense / 2 + 2 * layer + adapters, rel=1e-2)
    # Each microbatch gathers every layer and the embedding twice, the output layer and the adapters once.
    sent = next(line for line in eight["traffic"] if line["axis"] == "dp_shard" and line["collective"] == "all_gather")
    gathered = 2 * 32 * layer + 1.5 * dense + 2 * eight["parameters"]
    assert sent["sent_bytes"] == pytest.approx(eight["microbatches"] * gathered * 7 / 8, rel=1e-2)
    assert eight["time"]["waiting_seconds"] > 0


def test_blocks_of_a_file_that_is_missing(plan):
    assert "the GGUF file" in plan("--job.task=llama_lora", "--finetune.max_seq_len=64", "--lora.base_dtype=gguf", status=2)


def test_asks_for_the_length(plan):
    assert "finetune.max_seq_len" in plan("--model.name=llama", status=2)
