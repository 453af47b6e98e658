"""Fine-tuning that is killed at random moments, on two ranks, ends with the bits of a run that was not."""

import pytest
from llama_runs import COMMON, LORA, RECIPES, SHORT, arguments, empty_config, logged
from train_ranks import NUM_KILLS, Ranks, kill_at_random_moments

STEPS = 40 + 20 * NUM_KILLS

# Everything that has a state of its own: rounding, dropout, packs, the best weights, saves beside training.
OPTIONS = COMMON | SHORT | {
    "training.steps": STEPS, "finetune.packing": "best_fit", "training.local_batch_size": 1, "training.global_batch_size": 4,
    "checkpoint.interval": 5, "checkpoint.keep_latest_k": 2, "checkpoint.async_mode": "async", "checkpoint.keep_best": None,
    "finetune.validation_data": RECIPES / "chat.json", "validation.enable": None, "validation.freq": 10,
    "comm.init_timeout_seconds": 10, "metrics.no_enable_tensorboard": None, "finetune.no_save_model": None,
}  # fmt: skip
KINDS = {
    "full": {"training.dtype": "bfloat16", "training.mixed_precision_param": "bfloat16", "optimizer.stochastic_rounding": None},
    "lora": LORA | {"lora.dropout": 0.2, "finetune.result_folders": "steps"},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_kills_at_random_moments_change_nothing(program, tmp_path, kind):
    """In rendezvous, loading, steps, validations and saves."""
    options = OPTIONS | KINDS[kind]
    if kind == "lora":
        del options["finetune.no_save_model"]

    def start(run):
        return Ranks(program, 2, tmp_path / run, *arguments(options), config=empty_config(tmp_path))

    start("undisturbed").finish()
    kill_at_random_moments(lambda: start("killed"), tmp_path / "killed")
    start("killed").finish()

    def tensors(run):
        return {file.name: file.read_bytes() for file in (tmp_path / run / "checkpoint" / f"step-{STEPS:08d}").glob("*.safetensors")}

    assert len(tensors("killed")) == 2 and tensors("killed") == tensors("undisturbed")
    for key in ["loss", "sample_digest", "validation_loss"]:
        ours, theirs = ([line[key] for line in logged(tmp_path / run, key)] for run in ["killed", "undisturbed"])
        assert len(theirs) >= STEPS // 10 and ours == theirs, key
    if kind == "lora":
        folders = [f"step_{step}" for step in (STEPS - 5, STEPS)]
        for run in ("killed", "undisturbed"):
            assert sorted(path.name for path in (tmp_path / run).glob("*step_*")) == sorted(folders)
        for name in folders:
            ours, theirs = ((tmp_path / run / name / "adapter_model.safetensors").read_bytes() for run in ("killed", "undisturbed"))
            assert ours == theirs
