"""Training a decoder on ranks that share its layers, its weights or its batches: the run of one rank."""

import json
import shutil

import pytest
from helpers import load, relative_error
from llama_runs import BASE, COMMON, LORA, RECIPES, arguments, empty_config, logged
from train_ranks import Ranks

# Four key heads, and an odd vocabulary.
SIZES = {"vocab_size": 493, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 8,
         "num_key_value_heads": 4, "head_dim": 6, "sliding_window": 40}  # fmt: skip
FAMILIES = {
    "llama": {"model_type": "llama"},
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True},  # biases on q, k and v
    "qwen3": {"model_type": "qwen3"},  # norms on q and k
    "mistral": {"model_type": "mistral", "tie_word_embeddings": True},
}
STEPS = {"finetune.order": "millrace", "training.steps": 4, "training.global_batch_size": 8, "training.local_batch_size": 8,
         "activation_checkpoint.mode": "selective"}  # fmt: skip
TP = "parallelism.tensor_parallel_degree"
# ranks, and what differs from one rank's options
MESHES = {
    "tp 2": (2, {TP: 2}),
    "shard 2 x tp 2": (4, {TP: 2, "training.local_batch_size": 2}),
    "tp 4": (4, {TP: 4, "activation_checkpoint.mode": "full", "activation_checkpoint.offload": "true"}),
}


def run(program, size, folder, options):
    config = empty_config(folder.parent)
    return Ranks(program, size, folder, *arguments(COMMON | STEPS | options), config=config).finish()


def from_random_weights(tmp_path, family):
    path = tmp_path / "sizes.json"
    path.write_text(json.dumps(SIZES | FAMILIES[family]))
    return {"model.config": path, "checkpoint.initial_load_path": "", "finetune.tokenizer": BASE}


def curve(folder, key):
    return [line[key] for line in logged(folder, key)]


def expect_same_curve(folder, alone, rel=1e-5):
    assert curve(folder, "sample_digest") == curve(alone, "sample_digest")
    assert curve(folder, "trained_tokens") == curve(alone, "trained_tokens")
    assert len(curve(folder, "loss")) == 4
    assert curve(folder, "loss") == pytest.approx(curve(alone, "loss"), rel=rel)
    assert curve(folder, "grad_norm") == pytest.approx(curve(alone, "grad_norm"), rel=10 * rel)


def expect_same_tensors(path, others):
    """Up to rounding, which Adam's first steps make as large as any gradient."""
    ours, theirs = load(path), load(others)
    assert sorted(ours) == sorted(theirs)
    for name, values in theirs.items():
        assert ours[name].dtype == values.dtype and relative_error(ours[name], values) < 1e-3, name


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_curve_on_any_ranks(program, tmp_path, family):
    options = from_random_weights(tmp_path, family) | {
        "finetune.validation_data": RECIPES / "chat.json", "validation.enable": None, "validation.freq": 2,
        "validation.local_batch_size": 3, "sample.prompts": "What is a bucket?", "sample.every_steps": 4,
        "sample.max_new_tokens": 8, "training.max_norm": 0.5}  # fmt: skip
    run(program, 1, tmp_path / "alone", options)
    for mesh, (size, changed) in MESHES.items():
        folder = tmp_path / mesh.replace(" ", "-")
        run(program, size, folder, options | changed)
        expect_same_curve(folder, tmp_path / "alone")
        assert curve(folder, "validation_loss") == pytest.approx(curve(tmp_path / "alone", "validation_loss"), rel=1e-5)
        texts = "samples/step-00000004.txt"
        assert (folder / texts).read_text() == (tmp_path / "alone" / texts).read_text()
        expect_same_tensors(folder / "model/model.safetensors", tmp_path / "alone/model/model.safetensors")


@pytest.mark.slow
def test_a_run_resumes_with_other_ranks(program, tmp_path):
    """From a mesh with tensor parallelism to one rank, to shards, and to more of it; and from one rank."""
    options = from_random_weights(tmp_path, "qwen2") | {"checkpoint.interval": 2}
    run(program, 1, tmp_path / "alone", options)
    run(program, 4, tmp_path / "both", options | {TP: 2, "training.local_batch_size": 4})
    to = {"one": (1, {}), "shards": (2, {"training.local_batch_size": 4}), "tp": (4, {TP: 4})}
    for first, names in {"both": to, "alone": ["tp"]}.items():
        for name in names:
            folder = tmp_path / f"{first}-then-{name}"
            shutil.copytree(tmp_path / first, folder)
            shutil.rmtree(folder / "checkpoint" / "step-00000004")
            size, changed = to[name]
            ranks = run(program, size, folder, options | changed)
            assert "resuming from step 2" in ranks.output(0)
            expect_same_curve(folder, tmp_path / "alone")


@pytest.mark.slow
def test_the_exported_folder_is_that_of_one_rank(program, tmp_path):
    """Without a change of the weights, to the bit."""
    options = {"optimizer.lr": 0, "training.steps": 1}
    run(program, 1, tmp_path / "alone", options)
    run(program, 2, tmp_path / "tp", options | {TP: 2})
    names = sorted(path.name for path in (tmp_path / "alone/model").iterdir())
    assert "model.safetensors.index.json" in names and names == sorted(path.name for path in (tmp_path / "tp/model").iterdir())
    for name in names:
        assert (tmp_path / "tp/model" / name).read_bytes() == (tmp_path / "alone/model" / name).read_bytes(), name


ADAPTERS = {
    "lora": {"lora.targets": "all,lm_head", "lora.loraplus_ratio": 4, "lora.scale_weight_norms": 0.05},
    "dora": {"lora.kind": "dora", "lora.targets": "all"},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ADAPTERS)
def test_adapters_are_those_of_one_rank(program, tmp_path, kind):
    """The same losses, and files of the same shapes with the same values; from one rank's file too."""
    options = LORA | ADAPTERS[kind] | {"checkpoint.interval": 2}
    run(program, 1, tmp_path / "alone", options)
    file = "adapter/adapter_model.safetensors"
    config = (tmp_path / "alone/adapter/adapter_config.json").read_text()
    for mesh in ("tp 2", "shard 2 x tp 2"):
        size, changed = MESHES[mesh]
        folder = tmp_path / mesh.replace(" ", "-")
        run(program, size, folder, options | changed)
        expect_same_curve(folder, tmp_path / "alone")
        assert (folder / "adapter/adapter_config.json").read_text() == config
        expect_same_tensors(folder / file, tmp_path / "alone" / file)
    # A checkpoint of both kinds of sharing on one rank, and that of one rank on two.
    for first, size, changed in (("shard-2-x-tp-2", 1, {}), ("alone", *MESHES["tp 2"])):
        folder = tmp_path / f"{first}-then"
        shutil.copytree(tmp_path / first, folder)
        shutil.rmtree(folder / "checkpoint" / "step-00000004")
        assert "resuming from step 2" in run(program, size, folder, options | changed).output(0)
        expect_same_curve(folder, tmp_path / "alone")
    start = options | {"lora.initial_adapter": tmp_path / "alone/adapter", "training.steps": 1}
    run(program, 1, tmp_path / "start-alone", start)
    run(program, 2, tmp_path / "start-tp", start | {TP: 2})
    assert curve(tmp_path / "start-tp", "loss") == pytest.approx(curve(tmp_path / "start-alone", "loss"), rel=1e-5)


@pytest.mark.slow
def test_codes_of_moments_do_not_depend_on_the_ranks(program, tmp_path):
    """AdamW8bit counts its blocks through whole parameters, of which ranks have columns."""
    options = from_random_weights(tmp_path, "llama") | {"optimizer.name": "AdamW8bit", "optimizer.lr": 1e-3}
    run(program, 1, tmp_path / "alone", options)
    for mesh in ("tp 2", "shard 2 x tp 2"):
        size, changed = MESHES[mesh]
        run(program, size, tmp_path / mesh.replace(" ", "-"), options | changed)
        # A moment halfway between two codes falls to either side.
        expect_same_curve(tmp_path / mesh.replace(" ", "-"), tmp_path / "alone", rel=1e-4)


def test_a_plan_splits_layers_and_sums_activations(millrace, tmp_path):
    def plan(degree):
        options = COMMON | STEPS | {TP: degree}
        return json.loads(
            millrace("plan", empty_config(tmp_path), *arguments(options), "--gpu=h100-80gb", f"--gpus={degree}", "--json").stdout
        )

    one, two = plan(1), plan(2)
    assert two["mesh"] == "dp_replicate 1 x dp_shard 1 x tp 2" and two["parameters"] == one["parameters"]
    assert two["memory"]["parts"]["optimizer"] < 0.6 * one["memory"]["parts"]["optimizer"]
    assert two["memory"]["parts"]["activations"] < one["memory"]["parts"]["activations"]
    sent = {line["collective"]: line["sent_bytes"] for line in two["traffic"] if line["axis"] == "tp"}
    # 8 samples of 112 tokens in fp32, 32 wide, of which a rank sends half: two sums per layer and direction, and the
    # embedding's; as many gathers, the norms' once more in the backward pass, the last hidden states and the embedding's
    # gradient, and two numbers of each token's loss; the output layer's sum, and the norms' gradients.
    tokens = 8 * 112
    half = tokens * 32 * 4 // 2
    assert sent == {
        "reduce_scatter": (4 * 2 + 1) * half,
        "all_gather": (4 * 2 + 2 * 2 + 2) * half + 2 * tokens * 8,
        "all_reduce": 2 * half + (2 * 2 + 1) * 32 * 4,
    }


def test_stored_weights_are_refused(program, tmp_path):
    options = LORA | {"lora.base_dtype": "nf4", TP: 2}
    ranks = Ranks(program, 2, tmp_path / "run", *arguments(COMMON | STEPS | options), config=empty_config(tmp_path))
    assert "[lora.base_dtype] expected auto" in ranks.finish(status=2).output(0)


def test_degrees_that_do_not_fit_are_refused_with_the_count(program, tmp_path):
    config = empty_config(tmp_path)
    ranks = Ranks(program, 4, tmp_path / "run", *arguments(COMMON | STEPS | {TP: 4}), config=config).finish(status=2)
    assert "expected a divisor of the model's 2 key and value heads" in ranks.output(0)
    assert "got 4 (try 2)" in ranks.output(0)
