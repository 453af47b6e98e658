"""Fine-tuning that is killed at random moments, on two ranks, ends with the bits of a run that was not."""

import os
import random
import time

import pytest
from llama_runs import COMMON, LORA, RECIPES, SHORT, arguments, empty_config, logged
from train_ranks import Ranks

NUM_KILLS = int(os.environ.get("MILLRACE_KILLS", 3))  # more for long tests
KILL_SEED = int(os.environ.get("MILLRACE_KILL_SEED", 1))
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
    "lora": LORA | {"lora.dropout": 0.2},
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
    generator, latest = random.Random(KILL_SEED), 0
    for kill in range(NUM_KILLS):
        ranks = start("killed")
        if kill % 3 > 0:  # every third dies in its first second, whatever it does then
            ranks.wait_for_start()
        time.sleep(generator.uniform(0, 1.0 if kill % 3 == 0 else 0.3))
        victim = generator.randrange(2)
        ranks.processes[victim].kill()
        ranks.finish_lost(victim)
        steps = [int(path.name.removeprefix("step-")) for path in (tmp_path / "killed" / "checkpoint").glob("step-*[0-9]")]
        assert max(steps, default=0) >= latest, "a checkpoint was lost"
        latest = max(steps, default=0)
    start("killed").finish()

    def tensors(run):
        return {file.name: file.read_bytes() for file in (tmp_path / run / "checkpoint" / f"step-{STEPS:08d}").glob("*.safetensors")}

    assert len(tensors("killed")) == 2 and tensors("killed") == tensors("undisturbed")
    for key in ["loss", "sample_digest", "validation_loss"]:
        ours, theirs = ([line[key] for line in logged(tmp_path / run, key)] for run in ["killed", "undisturbed"])
        assert len(theirs) >= STEPS // 10 and ours == theirs, key
