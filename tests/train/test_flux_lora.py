"""LoRA on FLUX as a user sees it: what is trained, saved, resumed, sharded, drawn and exported, and what is refused."""

import json
import re
import tomllib

import pytest
import torch
from flux_lora_runs import BLOCK_LAYERS, LAPTOP, ROOT, TINY, adapters, base, checkpoint, curve, emoji, start_ranks, train  # noqa: F401  (fixtures)
from helpers import assert_agree, load, save
from PIL import Image
from tensorboard_tags import scalars


def merged(base, matrices, scale, path):
    """The base with the adapters added to its matrices."""
    tensors = load(base)
    for name, up in matrices.items():
        if name.endswith(".up"):
            layer = name.removesuffix(".up")
            tensors[f"{layer}.weight"] += scale * (up @ matrices[f"{layer}.down"])
    return save(path, tensors)


def test_only_adapters_are_trained_and_saved(train):
    folder = train()
    saved = checkpoint(folder)
    assert len(adapters(folder)) == 2 * BLOCK_LAYERS
    assert {name.split(".")[0] for name in saved} == {"model", "optimizer"}
    assert all(re.search(r"\.(down|up)(\.exp_avg|\.exp_avg_sq)?$", name) for name in saved)
    down, up = adapters(folder)["single_blocks.0.linear1.down"], adapters(folder)["single_blocks.0.linear1.up"]
    assert down.shape == (4, 32) and up.shape[1] == 4
    assert up.abs().max() > 0
    log = (folder / "log.txt").read_text()
    assert f"on {BLOCK_LAYERS} layers, rank 4, scale 1" in log
    assert tomllib.loads((folder / "config.toml").read_text())["job"]["task"] == "flux_lora"


def test_down_starts_as_kaiming_and_up_as_zero(train):
    start = adapters(train("--training.steps=1", "--optimizer.lr=0"), 1)
    assert all(tensor.abs().max() == 0 for name, tensor in start.items() if name.endswith(".up"))
    for name, tensor in start.items():
        if name.endswith(".down"):
            bound = tensor.shape[1] ** -0.5
            assert 0.8 * bound < tensor.abs().max() <= bound, name


def test_a_run_that_learns_nothing_says_so(train):
    folder = train("--optimizer.lr=0")
    assert "[lora] expected up matrices that have learnt something, got zeros alone after step 4" in (folder / "log.txt").read_text()
    assert "expected up matrices" not in (train(run="other") / "log.txt").read_text()
    dora = (train("--optimizer.lr=0", "--lora.kind=dora", run="dora") / "log.txt").read_text()
    assert "got zeros alone after step 4: the adapters change no direction" in dora


def test_a_run_that_changes_nothing_of_its_first_file_says_so(train):
    first = train(run="first") / "lora.safetensors"
    said = "[lora] expected adapters that have learnt something, got those of lora.initial_adapter after step "
    still = ["--optimizer.lr=0", f"--lora.initial_adapter={first}"]
    assert said + "8" in (train(*still, run="still") / "log.txt").read_text()
    assert said not in (train(still[1], run="more") / "log.txt").read_text()
    # A resumed run may end with steps of a rate of 0.
    train(still[1], "--training.steps=4", run="parts")
    assert said not in (train(*still, run="parts") / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["0", "1e-3"])
def test_ranks_compare_the_whole_adapters_with_their_first_file(train, program, base, emoji, tmp_path, rate):
    options = ["--training.steps=2", "--training.local_batch_size=2", f"--optimizer.lr={rate}",
               f"--lora.initial_adapter={train(run='first') / 'lora.safetensors'}"]  # fmt: skip
    start_ranks(program, 2, tmp_path / "two", base, emoji, *options).finish()
    said = "got those of lora.initial_adapter after step 2"
    assert (said in (tmp_path / "two" / "log.txt").read_text()) == (rate == "0")


def test_a_run_with_merged_weights_has_the_same_loss(train, millrace, base, emoji, tmp_path):
    """What is evaluated is base + scale * up down: the merged weights, evaluated by themselves, give the same."""
    data = [f"--validation.dataset_path={emoji}", "--validation.steps=2"]
    folder = train("--lora.alpha=2")
    of_run = json.loads(millrace("evaluate", folder, "--json", *data).stdout)
    path = merged(base, adapters(folder), 0.5, tmp_path / "merged.safetensors")
    sizes = [f"--training.dataset_path={emoji}", "--model.guidance_embed", "--training.mixed_precision_param=float32"]
    of_merged = json.loads(millrace("evaluate", "--weights", path, "--config", TINY, "--json", *data, *sizes, "--training.seed=1").stdout)
    of_base = json.loads(millrace("evaluate", "--weights", base, "--config", TINY, "--json", *data, *sizes, "--training.seed=1").stdout)
    assert of_run["step"] == 8
    assert of_run["loss"] == pytest.approx(of_merged["loss"], rel=1e-5)
    assert abs(of_base["loss"] - of_merged["loss"]) > 1e-4 * of_base["loss"]


def test_the_loss_falls(train, millrace, emoji):
    def validation_loss(steps, run):
        folder = train(f"--training.steps={steps}", "--checkpoint.interval=300", run=run)
        return json.loads(millrace("evaluate", folder, "--json", f"--validation.dataset_path={emoji}", "--validation.steps=8").stdout)["loss"]

    assert validation_loss(300, "long") < 0.985 * validation_loss(1, "short")


def test_recompute_modes_and_accumulation_give_the_same_adapters(train):
    full = adapters(train(run="full"))
    for mode in ("none", "selective"):
        other = adapters(train(f"--activation_checkpoint.mode={mode}", run=mode))
        assert all(full[name].equal(other[name]) for name in full), mode
    parts = adapters(train("--training.local_batch_size=1", "--training.global_batch_size=4", run="parts"))
    assert_agree(parts, full, 1e-3)


def test_targets_choose_layers(train, tmp_path):
    def layers(*targets, run):
        folder = train(f"--lora.targets={json.dumps(targets)}", "--training.steps=1", run=run)
        return {name.rsplit(".", 1)[0] for name in adapters(folder, 1)}

    attention = {f"double_blocks.0.{s}_attn.{layer}" for s in ("img", "txt") for layer in ("qkv", "proj")}
    assert layers("attention", run="attention") == attention | {"single_blocks.0.linear1", "single_blocks.0.linear2"}
    assert layers("*.img_mlp.*", "img_in", run="patterns") == {"double_blocks.0.img_mlp.0", "double_blocks.0.img_mlp.2", "img_in"}
    # diffusers misses the embedders of kohya's naming: it has a file of its own.
    folder = tmp_path / "patterns"
    assert "transformer.x_embedder.lora_A.weight" in load(folder / "lora_diffusers.safetensors")
    assert "for diffusers there is lora_diffusers.safetensors, with the names that it needs" in (folder / "log.txt").read_text()
    assert "[lora.targets] expected" in train('--lora.targets=["double_blocks.7.*"]', status=2, run="none").stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--objective.timestep_sampling=uniform"],
        ["--objective.timestep_sampling=sigmoid", "--objective.sigmoid_scale=2"],
        ["--objective.timestep_sampling=shift", "--objective.discrete_flow_shift=3.1582"],
        ["--objective.timestep_sampling=sigma", "--objective.weighting_scheme=logit_normal", "--objective.logit_mean=0.5"],
        ["--objective.guidance_scale=3.5"],
    ],
    ids=lambda options: options[0].split("=")[1],
)
def test_every_option_of_the_objective_changes_the_loss(train, options):
    short = ["--training.steps=1", "--checkpoint.no_enable"]
    assert curve(train(*short, *options, run="other")) != curve(train(*short))


def test_what_has_no_effect_is_refused(train, millrace, emoji):
    assert "[objective.discrete_flow_shift] expected shift or sigma with it" in train(
        "--objective.discrete_flow_shift=3", status=2).stderr  # fmt: skip
    for name, value in {"noise_offset": "0.1", "min_snr_gamma": "5", "zero_terminal_snr": "true"}.items():
        refused = train(f"--objective.{name}={value}", status=2).stderr
        assert f"[--objective.{name}] expected None, got " in refused and "(sd-scripts, too, " in refused
    for options, words in {
        ("--lora.kohya_name=a",): "[lora.kohya_name] expected kohya_files with it",
        ("--lora.kohya_files", "--lora.kohya_name=a/b"): "[lora.kohya_name] expected a name without a folder",
        ("--lora.kohya_files", "--lora.kohya_last_steps=4"): "[lora.kohya_last_steps] expected kohya_every_steps with it",
        ("--lora.kohya_files", "--lora.kohya_every_epochs=1"): '[lora.kohya_every_epochs] expected training.dataset = "pictures"',
        ("--sample.every_epochs=1",): '[sample.every_epochs] expected training.dataset = "pictures"',
    }.items():
        assert words in train(*options, status=2).stderr
    assert "[checkpoint.initial_load_path] expected the weights of FLUX" in train("--checkpoint.initial_load_path=", status=2).stderr
    assert "[parallelism.tensor_parallel_degree] expected 1 with LoRA" in train("--parallelism.tensor_parallel_degree=2", status=2).stderr
    assert "belongs to the task flux_pretrain" in train("--mlperf.benchmark=x", status=2).stderr
    assert "belongs to the task flux_lora" in millrace("train", TINY, "--job.task=flux_pretrain", "--lora.rank=4", status=2).stderr


def test_the_file_is_what_other_programs_read(train, millrace, tmp_path):
    folder = train("--lora.alpha=2")
    written = load(folder / "lora.safetensors")
    ours = adapters(folder)
    assert len(written) == 3 * BLOCK_LAYERS
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    assert written[f"{stem}.lora_down.weight"].equal(ours["double_blocks.0.img_attn.qkv.down"])
    assert written[f"{stem}.lora_up.weight"].equal(ours["double_blocks.0.img_attn.qkv.up"])
    assert written[f"{stem}.alpha"].shape == () and written[f"{stem}.alpha"] == 2
    millrace("export", folder, tmp_path / "exported.safetensors")
    exported = load(tmp_path / "exported.safetensors")
    assert exported.keys() == written.keys()
    assert all(exported[name].equal(written[name]) for name in written)
    half = load_exported(millrace, folder, tmp_path / "half.safetensors", "--dtype", "bf16")
    assert half[f"{stem}.lora_up.weight"].dtype == torch.bfloat16


def load_exported(millrace, folder, path, *options):
    millrace("export", folder, path, *options)
    return load(path)


def test_the_best_file_has_a_name_that_stays(train, millrace, emoji, tmp_path):
    options = ["--validation.enable", "--validation.freq=2", f"--validation.dataset_path={emoji}", "--validation.steps=1", "--optimizer.lr=1",
               "--checkpoint.keep_best", "--lora.save_dtype=fp32", "--training.steps=8", "--sample.every_steps=0", "--training.max_norm=1e9"]  # fmt: skip
    folder = train(*options)
    best = load(folder / "best" / "lora.safetensors")
    millrace("export", folder, tmp_path / "best.safetensors", "--step", "best", "--dtype", "fp32")
    exported = load(tmp_path / "best.safetensors")
    assert best.keys() == exported.keys() and all(torch.equal(best[name], exported[name]) for name in best)


def test_strength_0_draws_the_base_and_a_grid_shows_all(train, millrace, base, tmp_path):
    folder = train("--training.steps=40", "--checkpoint.interval=40", "--optimizer.lr=3e-2")
    prompts = ["--prompt", "red heart", "--prompt", "banana", "--steps", 3]
    millrace("sample", folder, *prompts, "--lora-strength", "0,0.5,1", "--output", tmp_path / "grid")
    millrace("sample", folder, *prompts, "--output", tmp_path / "one")
    millrace("sample", "--weights", base, "--config", LAPTOP, *prompts, "--output", tmp_path / "base")

    def pixels(path):
        with Image.open(path) as picture:
            return picture.convert("RGB").tobytes()

    for number, name in enumerate(("red-heart", "banana")):
        drawn = [pixels(tmp_path / "grid" / f"{number}-{name}-lora-{strength}.png") for strength in ("0", "0.5", "1")]
        assert drawn[0] == pixels(tmp_path / "base" / f"{number}-{name}.png")
        assert drawn[2] == pixels(tmp_path / "one" / f"{number}-{name}.png")
        assert len(set(drawn)) == 3
    assert (tmp_path / "grid" / "grid.png").exists()
    assert "[--lora-strength] expected" in millrace("sample", folder, *prompts, "--lora-strength", "much", status=2).stderr


def test_the_plan_has_the_frozen_weights_and_small_states(millrace):
    plan = json.loads(millrace("plan", ROOT / "configs" / "flux_dev_lora.toml", "--gpu=h100-80gb", "--json").stdout)
    assert plan["parameters"] == 4_786_176 * 16  # what rank 16 on all 304 layers has
    parts = plan["memory"]["parts"]
    assert 2 * 11.8e9 < parts["frozen weights"] < 2 * 12.1e9  # bf16
    assert parts["optimizer"] == pytest.approx(8 * plan["parameters"], rel=0.001)


# Many ranks, and runs that are interrupted


def test_tensorboard_has_the_mean_norm_of_what_gradients_do_to_a_layer(train):
    """At step 1 up is zero, and all that happens is lr times its gradient times down: what SGD leaves there."""
    options = ["--optimizer.name=SGD", "--optimizer.lr=1", "--optimizer.weight_decay=0", "--lr_scheduler.decay_ratio=0",
               "--lr_scheduler.warmup_steps=0", "--training.steps=1", "--training.max_norm=1e-3", "--sample.every_steps=0"]  # fmt: skip
    folder = train(*options)
    matrices = adapters(folder, 1)
    layers = {name.rsplit(".", 1)[0] for name in matrices}
    norms = [(matrices[f"{layer}.up"] @ matrices[f"{layer}.down"]).norm(dim=1).mean().item() for layer in layers]
    assert scalars(folder)["norm/avg_grad_norm"] == {1: pytest.approx(sum(norms) / len(norms), rel=1e-4)}
    other = train(*options, "--lora.kind=loha", run="loha")
    assert "norm/avg_grad_norm" not in scalars(other)


@pytest.mark.slow
def test_any_number_of_ranks_gives_the_same_curve(program, base, emoji, tmp_path):
    common = ["--training.steps=12", "--training.global_batch_size=6", "--checkpoint.no_enable"]
    for size, batch in ((1, 6), (2, 3), (3, 2), (2, 1)):
        start_ranks(program, size, tmp_path / f"{size}-{batch}", base, emoji, *common, f"--training.local_batch_size={batch}").finish()
    replicated = ["--training.local_batch_size=3", "--parallelism.data_parallel_replicate_degree=2"]
    start_ranks(program, 2, tmp_path / "replicated", base, emoji, *common, *replicated).finish()
    expected = curve(tmp_path / "1-6")
    for name in ("2-3", "3-2", "2-1", "replicated"):
        assert curve(tmp_path / name, "sample_digest") == curve(tmp_path / "1-6", "sample_digest")
        assert curve(tmp_path / name) == pytest.approx(expected, rel=1e-5), name
        norms = scalars(tmp_path / name)["norm/avg_grad_norm"]
        assert norms == pytest.approx(scalars(tmp_path / "1-6")["norm/avg_grad_norm"], rel=1e-3), name


@pytest.mark.slow
def test_killed_ranks_end_bit_for_bit_as_if_nothing_had_happened(program, base, emoji, tmp_path):
    options = ["--training.steps=60", "--training.local_batch_size=2", "--checkpoint.interval=3", "--comm.init_timeout_seconds=10",
               "--validation.enable", "--validation.freq=5", "--validation.steps=1", "--checkpoint.keep_best",
               f"--validation.dataset_path={emoji}"]  # fmt: skip
    start_ranks(program, 2, tmp_path / "undisturbed", base, emoji, *options).finish()
    for step, victim in ((7, 0), (31, 1)):
        ranks = start_ranks(program, 2, tmp_path / "killed", base, emoji, *options)
        ranks.wait_for_step(step)
        ranks.processes[victim].kill()
        ranks.finish_lost(victim)
    start_ranks(program, 2, tmp_path / "killed", base, emoji, *options).finish()

    def contents(run):
        folder = tmp_path / run / "checkpoint"
        paths = [*(folder / "step-00000060").glob("*.safetensors"), *(folder / "best").glob("*.safetensors")]
        assert len(paths) == 4
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    assert contents("killed") == contents("undisturbed")
    assert curve(tmp_path / "killed") == curve(tmp_path / "undisturbed")
    written = [load(tmp_path / run / "lora.safetensors") for run in ("killed", "undisturbed")]
    assert all(written[0][name].equal(written[1][name]) for name in written[1])


@pytest.mark.slow
def test_two_shards_resume_on_one_rank(program, base, emoji, tmp_path):
    options = ["--training.steps=12", "--training.global_batch_size=4", "--checkpoint.interval=6", "--checkpoint.keep_latest_k=0"]
    start_ranks(program, 2, tmp_path / "two", base, emoji, *options, "--training.local_batch_size=2").finish()
    expected = curve(tmp_path / "two")
    again = [*options, "--checkpoint.load_step=6"]
    ranks = start_ranks(program, 1, tmp_path / "two", base, emoji, *again).finish()
    assert "resuming from step 6" in ranks.output(0)
    assert curve(tmp_path / "two") == pytest.approx(expected, rel=1e-5)
