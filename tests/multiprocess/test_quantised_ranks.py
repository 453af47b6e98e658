"""Adapters on a base in fewer bits, of which every rank holds its slice: the run of one rank."""

import pytest
import torch
from flux_lora_runs import base, curve, emoji, start_ranks  # noqa: F401  (fixtures)
from gguf_files import flux_in_blocks
from helpers import load, random_tensors, relative_error, save
from llama_runs import BASE, COMMON, LORA, RECIPES, SHORT, arguments, empty_config
from train_ranks import Ranks

STORAGES = ["fp8", "fp8_unscaled", "int8", "nf4", "nf4_torchao", "gguf"]
SHARDS = {1: 6, 2: 3, 3: 2}  # ranks, and the batch of each


def expect_same_curve(folder, alone, rel=1e-5):
    assert len(curve(alone)) == 4
    assert curve(folder, "sample_digest") == curve(alone, "sample_digest")
    assert curve(folder) == pytest.approx(curve(alone), rel=rel)
    assert curve(folder, "grad_norm") == pytest.approx(curve(alone, "grad_norm"), rel=10 * rel)


def expect_same_tensors(path, others):
    """Up to rounding, which Adam's first steps make as large as any gradient."""
    ours, theirs = load(path), load(others)
    assert sorted(ours) == sorted(theirs)
    for name, values in theirs.items():
        assert relative_error(ours[name], values) < 1e-3, name


@pytest.fixture
def llama(program, millrace, tmp_path):
    """llama(ranks, folder, options): a run of LoRA on the tiny decoder."""

    def run(size, folder, options, status=0):
        if options.get("lora.base_dtype") == "gguf":
            file = tmp_path / "base.gguf"
            if not file.exists():
                millrace("export", BASE, file, "--model", "llama", "--format", "gguf", "--dtype", "q8_0")
            options = options | {"checkpoint.initial_load_path": file, "finetune.tokenizer": BASE}
        options = COMMON | SHORT | LORA | {"training.local_batch_size": SHARDS.get(size), "training.global_batch_size": 6} | options
        return Ranks(program, size, folder, *arguments(options), config=empty_config(tmp_path)).finish(status=status)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("storage", STORAGES)
def test_a_decoder_trains_as_on_one_rank(llama, tmp_path, storage):
    options = {"lora.base_dtype": storage}
    for size in SHARDS:
        llama(size, tmp_path / str(size), options)
        if size == 1:
            continue
        expect_same_curve(tmp_path / str(size), tmp_path / "1")
        expect_same_tensors(*(tmp_path / str(n) / "adapter/adapter_model.safetensors" for n in (size, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("changed", [
    {"lora.kind": "dora"},
    {"activation_checkpoint.mode": "full", "activation_checkpoint.offload": "true"},
    {"parallelism.fsdp_reshard_after_forward": "never"},
    {"parallelism.fsdp_reshard_after_forward": "always", "training.local_batch_size": 1},
])  # fmt: skip
def test_whatever_else_a_run_does(llama, tmp_path, changed):
    """Validation and texts too."""
    options = {
        "lora.base_dtype": "nf4", "finetune.validation_data": RECIPES / "chat.json", "validation.enable": None,
        "validation.freq": 2, "validation.local_batch_size": 3, "sample.prompts": "What is a bucket?",
        "sample.every_steps": 4, "sample.max_new_tokens": 8} | changed  # fmt: skip
    llama(1, tmp_path / "one", options)
    llama(2, tmp_path / "two", options)
    expect_same_curve(tmp_path / "two", tmp_path / "one")
    assert curve(tmp_path / "two", "validation_loss") == pytest.approx(curve(tmp_path / "one", "validation_loss"), rel=1e-5)
    texts = "samples/step-00000004.txt"
    assert (tmp_path / "two" / texts).read_text() == (tmp_path / "one" / texts).read_text()


@pytest.mark.slow
def test_copies_of_two_shares(llama, tmp_path):
    options = {"lora.base_dtype": "int8", "training.global_batch_size": 8, "training.local_batch_size": 8}
    llama(1, tmp_path / "one", options)
    copies = {"training.local_batch_size": 2, "parallelism.data_parallel_replicate_degree": 2}
    llama(4, tmp_path / "four", options | copies)
    expect_same_curve(tmp_path / "four", tmp_path / "one")


@pytest.fixture(scope="session")
def base_in_blocks(base, tmp_path_factory):  # noqa: F811
    """The tiny FLUX as a GGUF file."""
    return flux_in_blocks(tmp_path_factory.mktemp("gguf") / "base.gguf", load(base))[0]


@pytest.mark.slow
@pytest.mark.parametrize("storage", STORAGES)
def test_flux_trains_as_on_one_rank(program, base, base_in_blocks, emoji, tmp_path, storage):  # noqa: F811
    file = base_in_blocks if storage == "gguf" else base
    for size, batch in SHARDS.items():
        start_ranks(program, size, tmp_path / str(size), file, emoji, f"--lora.base_dtype={storage}", "--training.steps=4",
                    "--optimizer.lr=1e-2", "--training.global_batch_size=6", f"--training.local_batch_size={batch}",
                    "--sample.every_steps=4", '--sample.prompts=["red heart"]').finish()  # fmt: skip
        if size == 1:
            continue
        expect_same_curve(tmp_path / str(size), tmp_path / "1")
        expect_same_tensors(*(tmp_path / str(n) / "lora.safetensors" for n in (size, 1)))


@pytest.mark.slow
def test_adapters_merged_into_blocks_of_flux(program, base, base_in_blocks, emoji, tmp_path):  # noqa: F811
    stem = "lora_unet_single_blocks_0_linear2"
    outputs, inputs = load(base)["single_blocks.0.linear2.weight"].shape
    lora = random_tensors({f"{stem}.lora_down.weight": (2, inputs), f"{stem}.lora_up.weight": (outputs, 2)}, 7)
    file = save(tmp_path / "lora.safetensors", lora | {f"{stem}.alpha": torch.tensor(0.1)})
    for size in (1, 3):
        start_ranks(program, size, tmp_path / str(size), base_in_blocks, emoji, "--lora.base_dtype=gguf", f"--lora.base_weights={file}",
                    "--training.steps=4", "--optimizer.lr=1e-2", "--training.global_batch_size=6",
                    f"--training.local_batch_size={SHARDS[size]}").finish()  # fmt: skip
    expect_same_curve(tmp_path / "3", tmp_path / "1")


@pytest.mark.slow
def test_a_matrix_that_cannot_be_stored_ends_all_ranks(program, base, emoji, tmp_path):  # noqa: F811
    """Also those that hold no byte of it and do not read it."""
    tensors, name = load(base), "single_blocks.0.linear2.weight"
    tensors[name][0, 0] = float("nan")
    bad = save(tmp_path / "bad.safetensors", tensors)
    ranks = start_ranks(program, 3, tmp_path / "run", bad, emoji, "--lora.base_dtype=int8", "--training.steps=2",
                        "--training.local_batch_size=2", "--training.global_batch_size=6")  # fmt: skip
    codes = [process.wait(timeout=120) for process in ranks.processes]
    assert set(codes) <= {4, 7} and 4 in codes, codes
    assert name in ranks.output(codes.index(4))
