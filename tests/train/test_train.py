"""Training as a user sees it: what a run leaves behind, what it refuses, and that options which must not matter do not."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
from helpers import assert_agree, load, relative_error
from PIL import Image

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "configs" / "tiny.toml"


@pytest.fixture(scope="session")
def emoji(emoji_set):
    return emoji_set(40)


@pytest.fixture
def train(millrace, emoji, tmp_path):
    """train("--section.key=value", ..., run="name"): a tiny run; returns its folder."""

    def run(*overrides, run="run", status=0, config=TINY):
        folder = tmp_path / run
        result = millrace(
            "train", config, f"--job.dump_folder={folder}", f"--training.dataset_path={emoji}", *overrides, status=status
        )
        return folder if status == 0 else result

    return run


def logged(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder):
    return [entry["loss"] for entry in logged(folder) if "loss" in entry]


def weights(folder, step=8):
    tensors = load(folder / "checkpoint" / f"step-{step:08d}" / "rank-00000.safetensors")
    return {name: tensor for name, tensor in tensors.items() if name.startswith("model.")}


def test_a_run_leaves_everything_behind(train, millrace):
    folder = train("--profiling.enable_profiling", "--profiling.wait_steps=1", "--profiling.warmup_steps=1",
                   "--profiling.active_steps=2", "--profiling.num_cycles=1")
    assert [entry["step"] for entry in logged(folder)] == list(range(1, 9))
    assert all(math.isfinite(entry["loss"]) and entry["grad_norm"] > 0 for entry in logged(folder))
    assert 1.0 < losses(folder)[0] < 3.0  # prediction 0: 1 + mean(x0^2)
    for step in (0, 4, 8):
        with Image.open(folder / "samples" / f"step-{step:08d}.png") as grid:
            assert grid.width > 96 and grid.height > 96
    assert "<html" in (folder / "report.html").read_text()
    assert not re.search(r"(src|href)=[\"']https?:", (folder / "report.html").read_text())
    trace = json.loads((folder / "profile_traces" / "iteration_4" / "rank0_trace.json").read_text())
    assert any("aten::mm" in event.get("name", "") for event in trace["traceEvents"])
    assert "step:  8" in (folder / "log.txt").read_text()
    millrace("train", folder / "config.toml", "--show-config")

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tb"))
    events.Reload()
    scalars = [event.value for event in events.Scalars("loss_metrics/global_avg_loss")]
    assert scalars == pytest.approx(losses(folder), rel=1e-6)


def test_recompute_modes_give_the_same_weights(train):
    kept = weights(train("--activation_checkpoint.mode=none", run="none"))
    for mode, *more in (["selective"], ["full"], ["full", "--activation_checkpoint.offload=true"]):
        other = weights(train(f"--activation_checkpoint.mode={mode}", *more, run=mode + "-".join(more)))
        assert all(kept[name].equal(other[name]) for name in kept), (mode, more)


def test_inputs_in_host_memory_change_no_loss(train):
    options = ["--activation_checkpoint.mode=full", "--training.local_batch_size=2", "--training.global_batch_size=4"]
    resident, offloaded = train(*options, run="resident"), train(*options, "--activation_checkpoint.offload=true", run="offloaded")
    assert losses(offloaded) == losses(resident)
    for mode in ("none", "selective"):
        result = train(f"--activation_checkpoint.mode={mode}", "--activation_checkpoint.offload=true", status=2)
        assert '[activation_checkpoint.offload] expected activation_checkpoint.mode = "full" with it' in result.stderr


def test_gradient_accumulation_is_the_same_step(train):
    whole = train("--training.local_batch_size=8", run="whole")
    parts = train("--training.local_batch_size=2", "--training.global_batch_size=8", run="parts")
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-5)
    assert_agree(weights(parts), weights(whole), 1e-4)


def test_gradients_summed_in_bfloat16_give_the_loss_curve_of_float32_sums(train):
    options = ["--training.mixed_precision_param=bfloat16", "--training.dtype=bfloat16", "--training.local_batch_size=1",
               "--training.global_batch_size=8", "--optimizer.lr=1e-2"]  # fmt: skip
    wide = train(*options, "--training.accumulate_dtype=float32", run="wide")
    narrow = train(*options, run="narrow")
    assert losses(narrow) == pytest.approx(losses(wide), rel=2**-7)
    assert losses(narrow) != losses(wide)
    refused = train("--training.mixed_precision_param=float32", "--training.accumulate_dtype=bfloat16", status=2)
    assert "[training.accumulate_dtype] expected auto or float32" in refused.stderr


def test_bfloat16_keeps_exact_masters_and_follows_fp32(train):
    narrow = train("--training.mixed_precision_param=bfloat16", run="bf16")
    wide = train(run="fp32")
    assert losses(narrow) == pytest.approx(losses(wide), rel=0.02)
    assert all(str(tensor.dtype) == "torch.float32" for tensor in weights(narrow).values())
    assert any(not tensor.bfloat16().float().equal(tensor) for tensor in weights(narrow).values())


def test_bfloat16_weights_alone_train_with_stochastic_rounding(train):
    narrow = train("--training.mixed_precision_param=bfloat16", "--training.dtype=bfloat16", "--optimizer.stochastic_rounding",
                   run="alone")
    wide = train(run="fp32")
    assert losses(narrow) == pytest.approx(losses(wide), rel=0.03)
    assert all(str(tensor.dtype) == "torch.bfloat16" for tensor in weights(narrow).values())
    assert "float32" in train("--training.mixed_precision_param=float32", "--training.dtype=bfloat16", status=2).stderr


def test_adam_and_adamw_differ_in_their_weight_decay_alone(train):
    short = ["--training.steps=4", "--checkpoint.interval=4", "--sample.every_steps=0"]
    plain = {name: weights(train(f"--optimizer.name={name}", "--optimizer.weight_decay=0", *short, run=f"{name}-0"), 4)
             for name in ("Adam", "AdamW")}  # fmt: skip
    assert all(plain["Adam"][name].equal(plain["AdamW"][name]) for name in plain["Adam"])
    decayed = {name: weights(train(f"--optimizer.name={name}", "--optimizer.weight_decay=0.5", *short, run=name), 4)
               for name in ("Adam", "AdamW")}  # fmt: skip
    assert not decayed["Adam"]["model.img_in.weight"].equal(decayed["AdamW"]["model.img_in.weight"])


def test_encodings_from_the_cache_change_nothing(train):
    plain = weights(train(run="plain"))
    for kind in ("memory", "disk"):
        cached = weights(train(f"--encoder.cache_encodings={kind}", run=kind))
        assert all(plain[name].equal(cached[name]) for name in plain), kind


def test_the_loss_falls(train):
    folder = train("--training.steps=120", "--lr_scheduler.warmup_steps=10", "--optimizer.lr=3e-3", "--sample.every_steps=0",
                   "--checkpoint.interval=120")
    curve = losses(folder)
    assert sum(curve[-20:]) / 20 < 0.75 * sum(curve[:5]) / 5


def test_export_and_import_move_every_weight(train, millrace, tmp_path):
    folder = train()
    averaged = {
        name.removeprefix("ema."): tensor
        for name, tensor in load(folder / "checkpoint" / "step-00000008" / "rank-00000.safetensors").items()
        if name.startswith("ema.")
    }
    millrace("export", folder, tmp_path / "theirs", "--naming", "diffusers")
    millrace("import", tmp_path / "theirs", tmp_path / "ours.safetensors")
    assert_agree(load(tmp_path / "ours.safetensors"), averaged, 0)

    from diffusers import FluxTransformer2DModel

    model = FluxTransformer2DModel.from_pretrained(tmp_path / "theirs")
    ours = averaged["single_blocks.0.linear2.weight"]
    assert relative_error(model.single_transformer_blocks[0].proj_out.weight.detach(), ours) == 0


def test_samples_belong_to_seed_and_number(train, millrace, tmp_path):
    folder = train()
    arguments = ("sample", folder, "--prompt", "red heart", "--prompt", "banana", "--steps", 3)
    millrace(*arguments, "--output", tmp_path / "a")
    millrace(*arguments, "--output", tmp_path / "b")
    millrace(*arguments, "--output", tmp_path / "c", "--seed", 5)
    read = lambda name: (tmp_path / name / "1-banana.png").read_bytes()
    assert read("a") == read("b") != read("c")
    with Image.open(tmp_path / "a" / "1-banana.png") as picture:
        assert picture.size == (16, 16) and picture.text["Description"] == "banana"


def test_validation_counts_each_sample_once(train, emoji, tmp_path):
    whole = train("--validation.enable", f"--validation.dataset_path={emoji}", "--validation.freq=8",
                  "--validation.local_batch_size=40", run="whole")
    odd = train("--validation.enable", f"--validation.dataset_path={emoji}", "--validation.freq=8",
                "--validation.local_batch_size=7", run="odd")
    values = [[e["validation_loss"] for e in logged(folder) if "validation_loss" in e] for folder in (whole, odd)]
    assert len(values[0]) == 1 and values[0] == pytest.approx(values[1], rel=1e-5)


@pytest.mark.parametrize(
    "override, status, says",
    [
        ("--training.stpes=3", 2, "training.steps"),
        ("--training.img_size=18", 2, "multiple of 4"),
        ("--model.num_heads=5", 2, "multiple of model.num_heads"),
        ("--training.global_batch_size=6", 2, "multiple of training.local_batch_size"),
        ("--encoder.t5_encoder=", 2, "encoder.t5_encoder"),
        ("--training.dataset_path=nowhere.tar", 3, "nowhere.tar"),
        ("--optimizer.lr=1e30", 6, "finite"),
        ("--checkpoint.initial_load_path=nowhere.safetensors", 4, "nowhere.safetensors"),
    ],
)
def test_bad_options_end_with_a_clear_message(train, override, status, says):
    result = train(override, status=status)
    assert says in result.stderr
    assert "[" in result.stderr


def test_a_run_that_diverges_saves_nothing_over(train, tmp_path):
    train("--training.steps=4", "--lr_scheduler.total_steps=8")
    before = (tmp_path / "run" / "checkpoint" / "step-00000004" / "index.json").read_bytes()
    result = train("--optimizer.lr=1e30", status=6)
    assert "step " in result.stderr
    assert (tmp_path / "run" / "checkpoint" / "step-00000004" / "index.json").read_bytes() == before
    assert not (tmp_path / "run" / "checkpoint" / "step-00000008").exists()


def test_pickles_are_refused_with_a_hint(train, tmp_path):
    import torch

    torch.save({"a": torch.zeros(2)}, tmp_path / "weights.pt")
    result = train(f"--checkpoint.initial_load_path={tmp_path / 'weights.pt'}", status=4)
    assert "safetensors" in result.stderr


def test_too_many_bad_samples_stop_the_run(train, emoji, tmp_path):
    import io
    import tarfile

    broken = tmp_path / "broken"
    shutil.copytree(emoji, broken)
    with tarfile.open(broken / "zz-broken.tar", "w") as archive:
        for number in range(20):
            for name, content in ((f"{number}.png", b"\x89PNG not really"), (f"{number}.txt", b"caption")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    result = train(f"--training.dataset_path={broken}", "--training.steps=60", status=3)
    assert "zz-broken.tar" in result.stderr
    train(f"--training.dataset_path={broken}", "--training.max_bad_samples=0.5", run="tolerant")
