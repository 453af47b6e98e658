"""Weights that change in the backward pass (optimizer.in_backward), as torchtune's optimizer_in_bwd."""

import json

import pytest
from llama_runs import COMMON, LORA, SHORT, arguments, empty_config, logged, recorded_run, steps, tied_base, train
from safetensors.torch import load_file
from train_ranks import TINY, Ranks

IN_BACKWARD = {"optimizer.in_backward": "true", "training.max_norm": "1e30"}
AFTERWARDS = {"training.max_norm": "1e30"}
ONE = {"finetune.order": "millrace", "training.local_batch_size": 4, "training.global_batch_size": 4, "training.steps": 4}


LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 8192, "tie_word_embeddings": False,
    "hidden_act": "silu", "bos_token_id": 128000, "eos_token_id": 128001}


def losses(folder):
    return [step["loss"] for step in steps(folder)]


def weights(millrace, folder):
    millrace("export", folder, folder.with_suffix(".weights"))
    files = sorted(folder.with_suffix(".weights").glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("rule", ["AdamW", "AdamW8bit", "SGD"])
@pytest.mark.parametrize("recompute", ["none", "full"])
def test_a_llama_gets_the_same_weights(millrace, tmp_path, rule, recompute):
    common = COMMON | ONE | {"optimizer.name": rule, "activation_checkpoint.mode": recompute}
    if rule == "SGD":
        del common["optimizer.beta2"]

    def run(name, more):
        flat = common | more | {"job.dump_folder": tmp_path / name}
        millrace("train", empty_config(tmp_path), *arguments(flat))
        return tmp_path / name

    during, afterwards = run("during", IN_BACKWARD), run("afterwards", AFTERWARDS)
    # The same sums, divided by the number of trained tokens at another time.
    assert losses(during) == pytest.approx(losses(afterwards), rel=2e-6)
    ours, theirs = weights(millrace, during), weights(millrace, afterwards)
    assert ours.keys() == theirs.keys()
    for name in ours:
        # A moment that lies between two codes of 8 bits may get the other one.
        near = 1e-3 if rule == "AdamW8bit" else 2e-5
        assert (ours[name] - theirs[name]).abs().max() <= near * theirs[name].abs().max(), name


def test_a_tied_model_gets_the_same_weights(millrace, tmp_path):
    """One matrix at both ends; the first and the last use of it in a backward pass add to the same gradient."""
    options = ONE | {"checkpoint.initial_load_path": tied_base(tmp_path / "tied")}
    train(millrace, tmp_path / "during", options | IN_BACKWARD)
    train(millrace, tmp_path / "afterwards", options | AFTERWARDS)
    assert losses(tmp_path / "during") == pytest.approx(losses(tmp_path / "afterwards"), rel=2e-6)


def test_a_flux_gets_the_same_bits(millrace, emoji_set, tmp_path):
    """Samples all weigh the same, so that nothing is divided differently."""

    def run(name, options):
        flat = {"job.dump_folder": tmp_path / name, "training.dataset_path": emoji_set(40), "training.steps": 3} | options
        millrace("train", TINY, *arguments(flat))
        return logged(tmp_path / name, "grad_norm")

    during, afterwards = run("during", IN_BACKWARD), run("afterwards", AFTERWARDS)
    assert [step["loss"] for step in during] == [step["loss"] for step in afterwards]
    norms = [[step["grad_norm"] for step in steps] for steps in (during, afterwards)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)


def test_a_run_resumes_with_the_same_bits(millrace, tmp_path):
    options = ONE | IN_BACKWARD | {"checkpoint.interval": 2}
    train(millrace, tmp_path / "whole", options)
    train(millrace, tmp_path / "parts", options | {"training.steps": 2})
    train(millrace, tmp_path / "parts", options)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    ours, theirs = weights(millrace, tmp_path / "parts"), weights(millrace, tmp_path / "whole")
    assert all(ours[name].equal(theirs[name]) for name in theirs)


@pytest.mark.parametrize("options, words", [
    (ONE, "[optimizer.in_backward] expected training.max_norm = 1e30 with it"),
    (SHORT | AFTERWARDS, "[optimizer.in_backward] expected one microbatch a step with it"),
    (ONE | AFTERWARDS | LORA, "[optimizer.in_backward] expected false with adapters"),
    (ONE | AFTERWARDS | {"optimizer.name": "Adafactor"}, "[optimizer.in_backward] expected an option that Adafactor has"),
], ids=["norm", "microbatches", "adapters", "rule"])
def test_what_needs_all_gradients_is_refused(millrace, tmp_path, options, words):
    done = train(millrace, tmp_path / "run", options | {"optimizer.in_backward": "true"}, status=2)
    assert words in done.stderr


def test_several_ranks_are_refused(program, tmp_path):
    flat = COMMON | ONE | IN_BACKWARD | {"training.global_batch_size": -1}
    ranks = Ranks(program, 2, tmp_path / "run", *arguments(flat), config=empty_config(tmp_path))
    ranks.finish(status=2)
    assert "[optimizer.in_backward] expected false with several ranks, got true and 2" in ranks.output(0)


def test_torchtunes_key_is_taken_where_it_can_be(millrace, tmp_path):
    recipe = recorded_run(tmp_path, "full", optimizer_in_bwd=True, clip_grad_norm=None, gradient_accumulation_steps=1)
    done = millrace("tune", "run", "full_finetune_single_device", "--config", recipe, "--show-config", cwd=tmp_path)
    assert "in_backward = true" in done.stdout


def test_the_plan_counts_one_unit_of_gradients(millrace, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    config = empty_config(tmp_path)

    def memory(*options):
        done = millrace(
            "plan", config, "--job.task=llama_finetune", f"--checkpoint.initial_load_path={tmp_path}", "--gpu=h100-80gb",
            "--finetune.max_seq_len=512", "--json", "--training.mixed_precision_param=bfloat16", "--training.dtype=bfloat16", *options)
        return json.loads(done.stdout)["memory"]

    afterwards = memory("--training.max_norm=1e30")
    during = memory("--training.max_norm=1e30", "--optimizer.in_backward=true")
    embedding = 2 * 128256 * 4096
    assert afterwards["parts"]["gradients"] == pytest.approx(2 * 8.03e9, rel=0.01)
    assert during["parts"]["gradients"] <= 1.01 * embedding
    assert afterwards["peak_bytes"] - during["peak_bytes"] > 14e9
