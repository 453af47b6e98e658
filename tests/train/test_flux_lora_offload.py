"""Frozen blocks, and inputs of blocks, in host memory: the same numbers, and what is refused."""

import json

import pytest
from flux_lora_runs import ROOT, adapters, base, curve, emoji, start_ranks, train  # noqa: F401  (fixtures)

QUICK = ["--training.steps=4", "--optimizer.lr=1e-2", "--sample.every_steps=0"]
LORA = ROOT / "configs" / "flux_dev_lora.toml"


@pytest.mark.parametrize("options", [
    [], ["--activation_checkpoint.mode=none"], ["--activation_checkpoint.mode=selective", "--lora.base_dtype=fp8"],
    ["--lora.base_dtype=nf4"], ["--lora.base_dtype=int8", "--lora.kind=dora"],
    ["--training.local_batch_size=1", "--training.global_batch_size=4"],
])  # fmt: skip
def test_losses_and_adapters_are_those_without(train, options):  # noqa: F811
    resident = train(*QUICK, *options, run="resident")
    for blocks in (1, 2):
        offloaded = train(*QUICK, *options, f"--lora.offload_blocks={blocks}", run=f"offloaded{blocks}")
        assert curve(offloaded) == curve(resident)
        expected, got = adapters(resident, 4), adapters(offloaded, 4)
        assert all(got[name].equal(expected[name]) for name in expected)


@pytest.mark.parametrize("options", [
    [], ["--lora.offload_blocks=2"], ["--training.local_batch_size=1", "--training.global_batch_size=4"],
])  # fmt: skip
def test_inputs_of_blocks_in_host_memory_change_nothing(train, options):  # noqa: F811
    options = [*QUICK, *options, "--activation_checkpoint.mode=full"]
    resident = train(*options, run="resident")
    offloaded = train(*options, "--activation_checkpoint.offload=true", run="offloaded")
    assert curve(offloaded) == curve(resident)
    expected, got = adapters(resident, 4), adapters(offloaded, 4)
    assert all(got[name].equal(expected[name]) for name in expected)


def test_a_run_resumes_and_draws_with_another_number_of_blocks(train, millrace):  # noqa: F811
    whole = train(*QUICK, "--training.steps=8", run="whole")
    train(*QUICK, "--lora.offload_blocks=2", "--checkpoint.interval=4", "--lr_scheduler.total_steps=8")
    resumed = train(*QUICK, "--training.steps=8", "--lora.offload_blocks=1", "--lr_scheduler.total_steps=8")
    assert curve(resumed) == curve(whole)
    for blocks in ("0", "2"):
        drawn = resumed.parent / f"drawn{blocks}"
        millrace("sample", resumed, "--prompt", "red heart", "--steps", 1, "--output", drawn, f"--lora.offload_blocks={blocks}")
    pictures = [next((resumed.parent / f"drawn{blocks}").glob("*.png")).read_bytes() for blocks in ("0", "2")]
    assert pictures[0] == pictures[1]


def test_copies_of_the_model_offload_and_shares_do_not(program, base, emoji, tmp_path):  # noqa: F811
    def run(name, *options):
        return start_ranks(program, 2, tmp_path / name, base, emoji, *QUICK, *options)

    copies = ["--parallelism.data_parallel_replicate_degree=2", "--parallelism.data_parallel_shard_degree=1"]
    run("plain", *copies).finish()
    run("offloaded", *copies, "--lora.offload_blocks=2").finish()
    assert curve(tmp_path / "offloaded") == curve(tmp_path / "plain")
    shares = run("shares", "--lora.offload_blocks=2").finish(status=2)
    assert "[lora.offload_blocks] expected 0 where 2 ranks share the frozen weights" in shares.output(0)


def test_auto_is_0_on_a_cpu(train):  # noqa: F811
    folder = train(*QUICK, "--lora.offload_blocks=auto", "--training.device=cpu")
    assert "lora.offload_blocks = auto: 0 blocks in host memory" in (folder / "log.txt").read_text()


@pytest.mark.parametrize(("blocks", "words"), [
    ("3", "expected at most 2, as many blocks as the model has, got 3"),
    ("-1", "expected a number of blocks from 0, or auto, got \"-1\""),
    ("some", "expected a number of blocks from 0, or auto, got \"some\""),
])  # fmt: skip
def test_refusals_name_the_option(train, blocks, words):  # noqa: F811
    assert f"[lora.offload_blocks] {words}" in train(f"--lora.offload_blocks={blocks}", status=2).stderr


@pytest.mark.parametrize("task", ["flux_pretrain", "llama_finetune"])
def test_a_trained_base_stays_on_the_device(millrace, tmp_path, task):
    config = tmp_path / "empty.toml"
    config.write_text("[job]\n")
    result = millrace("train", config, f"--job.task={task}", "--lora.offload_blocks=1", status=2)
    assert "lora.offload_blocks" in result.stderr


@pytest.fixture
def plan(millrace):
    def run(*options, gpu="rtx-4060-8gb"):
        return json.loads(millrace("plan", LORA, f"--gpu={gpu}", "--json", *options).stdout)

    return run


def test_the_plan_counts_inputs_in_host_memory(plan):
    options = ["--lora.base_dtype=nf4", "--training.local_batch_size=4", "--training.global_batch_size=8"]
    resident, offloaded = (
        plan(*options, "--activation_checkpoint.mode=full", f"--activation_checkpoint.offload={is_on}", gpu="rtx-4090-24gb")
        for is_on in ("false", "true")
    )
    assert resident["offloaded_inputs"] is None
    inputs = offloaded["offloaded_inputs"]
    of_block = 4 * resident["tokens_per_sample"] * 3072 * 2
    assert inputs["blocks"] == 57 and inputs["host_bytes"] == 57 * of_block
    assert inputs["copied_bytes"] == 2 * inputs["host_bytes"] * resident["microbatches"]
    saved = resident["memory"]["peak_bytes"] - offloaded["memory"]["peak_bytes"]
    assert saved == pytest.approx(55 * of_block, rel=0.01), "two buffers stay"
    assert offloaded["memory"]["largest_local_batch"] > 2 * resident["memory"]["largest_local_batch"]


EIGHT_BITS = ("--encoder.device=cpu", "--lora.base_dtype=fp8")


def test_eight_bits_train_on_a_card_of_8_gb(plan):
    without = plan(*EIGHT_BITS)
    assert not without["fits"] and without["remedies"] == ["--lora.offload_blocks=auto"]
    chosen = plan(*EIGHT_BITS, "--lora.offload_blocks=auto")
    assert chosen["fits"] and 0 < chosen["offload"]["blocks"] < 57
    fewer = plan(*EIGHT_BITS, f"--lora.offload_blocks={chosen['offload']['blocks'] - 1}")
    assert not fewer["fits"], "as few as fit"


def test_the_plan_counts_host_memory_buffers_and_copies(plan):
    resident, offloaded, all_of_them = (plan(*EIGHT_BITS, f"--lora.offload_blocks={n}") for n in (0, 28, 57))
    assert resident["offload"] is None
    parts, before = offloaded["memory"]["parts"], resident["memory"]["parts"]
    host = offloaded["offload"]["host_bytes"]
    assert parts["frozen weights"] == pytest.approx(before["frozen weights"] - host, rel=1e-3)
    # Twice a double block of FLUX.1 without its modulations, 226 million numbers of a byte; as many of modulations, with those
    # of the final layer, 19 million numbers of two bytes, are a little more.
    assert parts["offload buffers"] == pytest.approx(2 * (226.5e6 + 9.4e6), rel=1e-2)
    saved = resident["memory"]["peak_bytes"] - offloaded["memory"]["peak_bytes"]
    assert saved == pytest.approx(host - parts["offload buffers"], rel=0.02)
    assert all_of_them["offload"]["host_bytes"] == pytest.approx(11.8e9, rel=0.02)
    # Each of four microbatches copies every block twice, but for two at each end.
    fetched = all_of_them["offload"]["fetched_bytes"]
    assert 4 * 2 * (all_of_them["offload"]["host_bytes"] - 2 * 237e6) < fetched < 4 * 2 * all_of_them["offload"]["host_bytes"]
    assert all_of_them["time"]["waiting_seconds"] > 0 == resident["time"]["waiting_seconds"]
