"""Options of LoRA on FLUX beyond rank and targets: kinds, rates, dropout, where training starts from, and what a run leaves."""

import hashlib
import json
import struct

import pytest
import torch
from flux_lora_runs import BLOCK_LAYERS, LAPTOP, ROOT, adapters, checkpoint, curve, base, emoji, start_ranks, train  # noqa: F401  (fixtures)
from gguf_files import flux_in_blocks
from helpers import load, save

QUICK = ["--sample.every_steps=0", "--report.no_enable"]
ROLES = {"lora": ("down", "up"), "dora": ("down", "magnitude", "up"), "loha": ("w1_a", "w1_b", "w2_a", "w2_b")}


def metadata(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(size))["__metadata__"]


def change(tensors, stem):
    """What a file's adapter of a layer adds to its weight; of DoRA before the lengths."""

    def get(name):
        return tensors[f"{stem}.{name}"].float()

    if f"{stem}.hada_w1_a" in tensors:
        product = (get("hada_w1_a") @ get("hada_w1_b")) * (get("hada_w2_a") @ get("hada_w2_b"))
        return product * get("alpha") / get("hada_w1_b").shape[0]
    if f"{stem}.lokr_w1" in tensors:
        low_rank = f"{stem}.lokr_w2" not in tensors
        second = get("lokr_w2_a") @ get("lokr_w2_b") if low_rank else get("lokr_w2")
        return torch.kron(get("lokr_w1"), second) * (get("alpha") / get("lokr_w2_b").shape[0] if low_rank else 1)
    return get("lora_up.weight") @ get("lora_down.weight") * get("alpha") / get("lora_down.weight").shape[0]


@pytest.mark.parametrize("kind", ["dora", "loha", "lokr"])
def test_every_kind_trains_resumes_and_is_written(train, kind):  # noqa: F811
    options = [f"--lora.kind={kind}", "--lora.rank=2", "--lora.alpha=1", "--optimizer.lr=1e-2", *QUICK]
    whole = train(*options, run="whole")
    train(*options, "--training.steps=4", "--lr_scheduler.total_steps=8", run="parts")
    parts = train(*options, run="parts")
    for name, tensor in checkpoint(whole).items():
        assert checkpoint(parts)[name].equal(tensor), name

    ours, written = adapters(whole), load(whole / "lora.safetensors")
    layers = {name.rsplit(".", 1)[0] for name in ours}
    assert len(layers) == BLOCK_LAYERS
    layer, stem = "single_blocks.0.linear1", "lora_unet_single_blocks_0_linear1"
    roles = {name.rsplit(".", 1)[1] for name in ours if name.startswith(layer)}
    assert roles == set(ROLES[kind]) if kind in ROLES else roles >= {"w1"}
    assert change(written, stem).norm() > 0
    # LyCORIS reads an alpha of every module, also of whole factors, which have no rank.
    assert {name.split(".")[0] for name in written} == {name.split(".")[0] for name in written if name.endswith(".alpha")}
    if kind == "dora":
        assert written[f"{stem}.dora_scale"].flatten().equal(ours[f"{layer}.magnitude"])
    assert metadata(whole / "lora.safetensors")["ss_network_module"] == "lycoris.kohya"
    assert "zeros alone" not in (whole / "log.txt").read_text()


def test_dora_starts_with_the_lengths_of_the_rows(train, base):  # noqa: F811
    start = adapters(train("--lora.kind=dora", "--training.steps=1", "--optimizer.lr=0", *QUICK), 1)
    weights = load(base)
    for name, magnitude in start.items():
        if name.endswith(".magnitude"):
            norms = weights[name.replace(".magnitude", ".weight")].float().norm(dim=1)
            assert torch.allclose(magnitude, norms, rtol=1e-5), name


def test_loraplus_and_patterns_give_matrices_their_own_rates(train):  # noqa: F811
    one = ["--training.steps=1", "--lr_scheduler.warmup_steps=0", *QUICK]
    plain = adapters(train(*one, run="plain"), 1)
    faster = adapters(train(*one, "--lora.loraplus_ratio=4", run="plus"), 1)
    slower = adapters(train(*one, '--lora.lr_patterns=["double_blocks.*=0.5", "*.linear2=0"]', run="patterns"), 1)
    assert faster.keys() == plain.keys() == slower.keys()
    for name, tensor in plain.items():
        if name.endswith(".down"):
            assert faster[name].equal(tensor), name
            continue
        # From zero, a step of AdamW is in proportion to its rate.
        factor = 0.5 if name.startswith("double_blocks.") else 0 if "linear2" in name else 1
        assert torch.allclose(faster[name], 4 * tensor, rtol=1e-5), name
        assert torch.allclose(slower[name], factor * tensor, rtol=1e-5), name


@pytest.mark.parametrize("optimizer", ["AdamW", "Lion", "Adafactor", "AdamWScheduleFree"])
def test_groups_resume_exactly(train, optimizer):  # noqa: F811
    options = ["--lora.loraplus_ratio=16", '--lora.lr_patterns=["single_blocks.*=0.5"]', f"--optimizer.name={optimizer}", *QUICK]
    if optimizer == "Adafactor":
        options += ["--optimizer.no_relative_step"]
    whole = checkpoint(train(*options, run="whole"))
    train(*options, "--training.steps=4", "--lr_scheduler.total_steps=8", run="parts")
    parts = checkpoint(train(*options, run="parts"))
    assert whole.keys() == parts.keys()
    assert all(parts[name].equal(tensor) for name, tensor in whole.items())


def test_prodigy_has_one_rate(train):  # noqa: F811
    prodigy = ["--optimizer.name=Prodigy", "--optimizer.lr=1"]
    for option, given in (("lora.loraplus_ratio", "4"), ("lora.lr_patterns", '["single_blocks.*=0.5", "*=0"]')):
        for show in ([], ["--show-config"]):
            error = train(*prodigy, f"--{option}={given}", *show, *QUICK, status=2).stderr
            assert f"[{option}] expected 1 or 0 with Prodigy, which finds one step size for all parameters" in error
    train(*prodigy, '--lora.lr_patterns=["*=0"]', "--show-config", *QUICK)  # no rate but one


DROPOUT = ["--lora.dropout=0.2", "--lora.rank_dropout=0.2", "--lora.module_dropout=0.1"]


def test_dropout_belongs_to_samples_and_resumes_exactly(train):  # noqa: F811
    options = [*DROPOUT, "--training.global_batch_size=4", "--optimizer.lr=1e-2", *QUICK]
    whole = train(*options, "--training.local_batch_size=4", run="whole")
    split = train(*options, "--training.local_batch_size=1", run="split")
    without = train(*options[3:], "--training.local_batch_size=4", run="without")
    assert curve(whole) == pytest.approx(curve(split), rel=1e-4)
    assert curve(whole) != pytest.approx(curve(without), rel=1e-4)
    train(*options, "--training.local_batch_size=4", "--training.steps=4", "--lr_scheduler.total_steps=8", run="parts")
    parts = checkpoint(train(*options, "--training.local_batch_size=4", run="parts"))
    assert all(parts[name].equal(tensor) for name, tensor in checkpoint(whole).items())


def test_norms_stay_below_their_limit(train):  # noqa: F811
    options = ["--optimizer.lr=0.1", "--lora.alpha=8", *QUICK]

    def norms(folder):
        tensors = load(folder / "lora.safetensors")
        return [change(tensors, name.removesuffix(".alpha")).norm().item() for name in tensors if name.endswith(".alpha")]

    free, limited = norms(train(*options, run="free")), norms(train(*options, "--lora.scale_weight_norms=0.25", run="limited"))
    assert max(free) > 0.3
    assert 0.24 < max(limited) < 0.2501


def test_layers_may_have_their_own_ranks(train):  # noqa: F811
    patterns = '--lora.rank_patterns=["double_blocks.*.img_mlp.*=2", "single_blocks.*=0"]'
    start = adapters(train(patterns, "--training.steps=1", *QUICK), 1)
    ranks = {name.removesuffix(".down"): tensor.shape[0] for name, tensor in start.items() if name.endswith(".down")}
    assert ranks["double_blocks.0.img_mlp.0"] == 2 and ranks["double_blocks.0.txt_mlp.0"] == 4
    assert not any(name.startswith("single_blocks.") for name in ranks)
    error = train('--lora.rank_patterns=["triple_blocks.*=2"]', run="none", status=2).stderr
    assert "[lora.rank_patterns] expected the name of a linear layer" in error


def test_patterns_choose_layers_ranks_alphas_and_rates(train):  # noqa: F811
    options = ["--lora.targets=double_blocks.{0,3-5}.*,re:^single_blocks\\.\\d+\\.linear",
               "--lora.rank_patterns=['re:_(mlp|mod)\\.=2', 'single_blocks.{0}.linear1=3']",
               "--lora.lr_patterns=['re:^single=0']", "--training.steps=3", *QUICK]  # fmt: skip
    alphas = "--lora.alpha_patterns=['*.img_mod.*=8', 're:linear2$=1']"
    folder = train(*options, alphas)
    ours, file = adapters(folder, 3), load(folder / "lora.safetensors")
    ranks = {name.removesuffix(".down"): tensor.shape[0] for name, tensor in ours.items() if name.endswith(".down")}
    assert len(ranks) == 10 + 2 and "single_blocks.0.modulation.lin" not in ranks
    small = {f"double_blocks.0.{stream}_{layer}" for stream in ("img", "txt") for layer in ("mlp.0", "mlp.2", "mod.lin")}
    assert {name for name, rank in ranks.items() if rank == 2} == small and ranks["single_blocks.0.linear1"] == 3
    learnt = {name for name, tensor in ours.items() if name.endswith(".up") and tensor.any()}
    assert learnt == {f"{name}.up" for name in ranks if name.startswith("double_blocks.")}

    def alpha(name):
        return file[f"lora_unet_{name.replace('.', '_')}.alpha"].item()

    assert {name: alpha(name) for name in ranks if alpha(name) != 4} == {
        "double_blocks.0.img_mod.lin": 8, "single_blocks.0.linear2": 1,
    }  # fmt: skip
    assert curve(folder) != curve(train(*options, run="one_alpha"))  # the scale is trained with
    start = ["--training.steps=1", "--optimizer.lr=0", f"--lora.initial_adapter={folder / 'lora.safetensors'}"]
    again = adapters(train(*options, alphas, *start, run="again"), 1)
    assert again.keys() == ours.keys() and all(torch.allclose(again[name], ours[name], rtol=1e-6) for name in ours)


def test_a_run_starts_from_a_file_of_any_program(train, millrace, tmp_path):  # noqa: F811
    first = train("--optimizer.lr=1e-2", *QUICK, run="first")
    millrace("export", first, tmp_path / "peft", "--naming", "peft")
    millrace("export", first, tmp_path / "diffusers.safetensors", "--naming", "diffusers")
    still = ["--training.steps=1", "--optimizer.lr=0", *QUICK]
    expected = adapters(first)
    kohya = train(*still, f"--lora.initial_adapter={first / 'lora.safetensors'}", run="kohya")
    assert all(adapters(kohya, 1)[name].equal(tensor) for name, tensor in expected.items())
    assert len(expected) == 2 * BLOCK_LAYERS
    # Another alpha: the matrices make up for it.
    other = adapters(train(*still, "--lora.alpha=1", f"--lora.initial_adapter={first / 'lora.safetensors'}", run="alpha"), 1)
    for name, tensor in expected.items():
        assert torch.allclose(other[name], 4 * tensor if name.endswith(".up") else tensor, rtol=1e-6)
    # q, k and v have a pair each there, of the same down matrix: one pair again.
    for file in (tmp_path / "peft" / "adapter_model.safetensors", tmp_path / "diffusers.safetensors"):
        read = adapters(train(*still, f"--lora.initial_adapter={file}", run=file.stem), 1)
        for name in expected:
            if name.endswith(".up"):
                down = name.replace(".up", ".down")
                assert torch.allclose(read[name] @ read[down], tensor_product(expected, name), rtol=1e-4, atol=1e-7), name

    # A resumed run needs the file no more.
    start = tmp_path / "start.safetensors"
    start.write_bytes((first / "lora.safetensors").read_bytes())
    train("--training.steps=4", f"--lora.initial_adapter={start}", *QUICK, run="moved")
    start.unlink()
    assert len(curve(train(f"--lora.initial_adapter={start}", *QUICK, run="moved"))) == 8
    assert "start.safetensors" in train(*still, f"--lora.initial_adapter={start}", run="absent", status=4).stderr

    error = train(*still, "--lora.rank=8", f"--lora.initial_adapter={first / 'lora.safetensors'}", run="rank", status=4).stderr
    assert "that [lora] says" in error and "(try lora.rank=4)" in error
    tensors = load(first / "lora.safetensors")
    foreign = save(tmp_path / "foreign.safetensors", {name.replace("blocks_0", "blocks_7"): t for name, t in tensors.items()})
    assert "of modules that it does not have" in train(*still, f"--lora.initial_adapter={foreign}", run="foreign", status=4).stderr
    error = train(*still, "--lora.kind=loha", f"--lora.initial_adapter={first / 'lora.safetensors'}", run="kind", status=4).stderr
    assert "expected an adapter of kind loha" in error


def tensor_product(tensors, up):
    return tensors[up] @ tensors[up.replace(".up", ".down")]


def test_a_file_of_a_larger_model_is_refused_by_name(train, tmp_path):  # noqa: F811
    written = load(train("--training.steps=1", *QUICK, run="first") / "lora.safetensors")
    larger = {name: torch.ones(tensor.shape[0], 64) if "lora_down" in name else torch.ones(96, tensor.shape[1]) if "lora_up" in name else tensor
              for name, tensor in written.items()}  # fmt: skip
    path = save(tmp_path / "larger.safetensors", larger)
    for option in ("initial_adapter", "base_weights"):
        refused = train("--training.steps=1", f"--lora.{option}={path}", *QUICK, run=option, status=4).stderr
        assert f"[{path}: lora_unet_" in refused
        assert "expected an adapter of 32 inputs and 32 outputs for double_blocks.0.img_attn.proj, got 64 and 96" in refused


def test_files_are_merged_into_the_frozen_weights(train, millrace, base, tmp_path):  # noqa: F811
    first = train("--optimizer.lr=1e-2", *QUICK, run="first")
    millrace("export", base, tmp_path / "merged.safetensors", "--merge", first / "lora.safetensors", "--strength", "0.5")
    one = ["--training.steps=2", "--checkpoint.no_enable", *QUICK]
    merging = [f'--lora.base_weights=["{first / "lora.safetensors"}"]', '--lora.base_weights_multiplier=["0.5"]']
    expected = curve(train(*one, f"--checkpoint.initial_load_path={tmp_path / 'merged.safetensors'}", run="merged"))
    assert curve(train(*one, *merging, run="merging")) == expected
    assert curve(train(*one, run="plain")) != expected
    quantised = ["--lora.base_dtype=int8"]
    expected = curve(train(*one, *quantised, f"--checkpoint.initial_load_path={tmp_path / 'merged.safetensors'}", run="merged8"))
    assert curve(train(*one, *quantised, *merging, run="merging8")) == expected


def test_files_are_merged_into_the_blocks_of_a_gguf_file(train, millrace, base, tmp_path):  # noqa: F811
    """What they touch is exact, not quantised again; a plan counts it."""
    lora = train("--lora.targets=single_blocks.*.linear*", "--optimizer.lr=3e-2", *QUICK, run="first") / "lora.safetensors"
    blocks, values = flux_in_blocks(tmp_path / "base.gguf", load(base))
    millrace("export", save(tmp_path / "values.safetensors", values), tmp_path / "merged.safetensors", "--merge", lora)
    short = ["--training.steps=2", "--checkpoint.no_enable", *QUICK]
    in_blocks = ["--lora.base_dtype=gguf", f"--checkpoint.initial_load_path={blocks}"]
    expected = curve(train(*short, f"--checkpoint.initial_load_path={tmp_path / 'merged.safetensors'}", run="merged"))
    assert curve(train(*short, *in_blocks, f"--lora.base_weights={lora}", run="merging")) == pytest.approx(expected, rel=1e-5)
    assert curve(train(*short, *in_blocks, run="plain")) != pytest.approx(expected, rel=1e-4)

    def frozen(*options):
        plan = json.loads(millrace("plan", LAPTOP, "--json", *options).stdout)
        return plan["memory"]["parts"]["frozen weights"]

    touched = sum(values[f"single_blocks.0.linear{i}.weight"].numel() for i in (1, 2))
    assert frozen(*in_blocks, f"--lora.base_weights={lora}") - frozen(*in_blocks) == touched * 4 - touched * 34 // 32
    error = millrace("plan", LAPTOP, "--lora.base_dtype=gguf", f"--checkpoint.initial_load_path={tmp_path / 'none.gguf'}", status=2).stderr
    assert "a plan without the GGUF file" in error
    other = millrace("plan", LAPTOP, *in_blocks, "--model.depth=2", status=4).stderr
    assert "base.gguf] expected weights of the sizes that the configuration has, got others" in other


@pytest.mark.parametrize("dtype", ["fp8", "fp8_unscaled", "int8", "nf4", "nf4_torchao"])
def test_the_base_may_be_stored_in_fewer_bits(train, millrace, dtype):  # noqa: F811
    options = ["--optimizer.lr=1e-2", *QUICK]
    folder = train(*options, f"--lora.base_dtype={dtype}")
    dense = curve(train(*options, run="dense"))
    assert curve(folder) != dense and curve(folder) == pytest.approx(dense, rel=0.2)
    drawn = folder.parent / "drawn"
    millrace("sample", folder, "--prompt", "red heart", "--steps", 1, "--output", drawn)
    assert list(drawn.glob("*.png"))


def test_the_plan_counts_the_bytes_of_codes(millrace):
    def frozen(*options):
        plan = millrace("plan", ROOT / "configs" / "flux_dev_lora.toml", "--gpu=h100-80gb", "--json", *options)
        return json.loads(plan.stdout)["memory"]["parts"]["frozen weights"]

    dense, nf4, int8 = frozen(), frozen("--lora.base_dtype=nf4"), frozen("--lora.base_dtype=int8")
    in_blocks = sum(  # of one double block, twice over for both streams, and of one single block
        count * k * n for count, k, n in [(38, 3072, 9216), (38, 3072, 3072), (38, 3072, 12288), (38, 12288, 3072),
                                          (38, 3072, 18432), (38, 3072, 21504), (38, 15360, 3072), (38, 3072, 9216)]
    )  # fmt: skip
    rows = 38 * (9216 + 3072 + 12288 + 3072 + 18432 + 21504 + 3072 + 9216)
    assert dense - int8 == in_blocks - 4 * rows  # one byte of two, and a scale for each row
    assert dense - nf4 == pytest.approx((2 - 0.5 - 1 / 64) * in_blocks, rel=1e-3)


def test_the_file_says_what_trained_it(train, tmp_path):  # noqa: F811
    options = ["--lora.alpha=2", "--lora.save_dtype=bf16", "--lora.training_comment=süß", '--lora.metadata=["author=A. Name"]',
               "--objective.timestep_sampling=shift", "--objective.discrete_flow_shift=3.1582", *QUICK]  # fmt: skip
    folder = train(*options)
    path = folder / "lora.safetensors"
    facts = metadata(path)
    assert all(tensor.dtype == torch.bfloat16 for tensor in load(path).values())
    expected = {"ss_network_module": "networks.lora_flux", "ss_network_dim": "4", "ss_network_alpha": "2.0", "ss_steps": "8",
                "ss_base_model_version": "flux1", "ss_training_comment": "süß", "ss_timestep_sampling": "shift",
                "ss_discrete_flow_shift": "3.1582", "ss_loss_type": "l2", "ss_huber_schedule": "snr", "ss_v2": "False",
                "ss_unet_lr": "None", "ss_optimizer": "torch.optim.adamw.AdamW(betas=(0.9, 0.95))",
                "modelspec.architecture": "flux-1-dev/lora", "modelspec.author": "A. Name", "modelspec.title": "run"}  # fmt: skip
    assert {key: facts.get(key) for key in expected} == expected
    content = path.read_bytes()
    begin = 8 + struct.unpack("<Q", content[:8])[0]
    assert facts["sshs_model_hash"] == hashlib.sha256(content[begin:]).hexdigest()
    assert facts["sshs_legacy_hash"] == "e3b0c442"
    bare = metadata(train(*options[:2], "--lora.no_metadata", *QUICK, run="bare") / "lora.safetensors")
    assert {key for key in bare if key.startswith("ss_")} == {
        "ss_v2", "ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha"}  # fmt: skip


def test_numbers_that_the_file_cannot_hold_stop_the_run(train):  # noqa: F811
    error = train("--optimizer.lr=1e6", "--lr_scheduler.warmup_steps=0", "--lora.save_dtype=fp16", "--checkpoint.interval=1",
                  "--training.max_norm=1e30", *QUICK, status=5).stderr  # fmt: skip
    assert "expected the effect of the trained adapter" in error and "(try lora.save_dtype fp32)" in error


@pytest.mark.parametrize(
    "options",
    [
        ["--objective.loss_type=l1"],
        ["--objective.loss_type=huber", "--objective.huber_c=0.3"],
        ["--objective.loss_type=smooth_l1", "--objective.huber_schedule=exponential", "--objective.huber_scale=2"],
        ["--objective.model_prediction_type=additive"],
        ["--objective.model_prediction_type=sigma_scaled"],
        ["--objective.model_prediction_type=sigma_scaled", "--objective.weighting_scheme=cosmap"],
        ["--objective.ip_noise_gamma=0.1"],
        ["--objective.ip_noise_gamma=0.1", "--objective.ip_noise_gamma_random_strength"],
    ],
    ids=lambda options: options[-1].split(".")[1],
)
def test_every_option_of_the_loss_changes_it(train, options):  # noqa: F811
    short = ["--training.steps=1", "--checkpoint.no_enable", *QUICK]
    assert curve(train(*short, *options, run="other")) != curve(train(*short))


def test_a_base_without_guidance_is_not_taken_for_one_with_it(train, base, tmp_path):  # noqa: F811
    schnell = {name: tensor for name, tensor in load(base).items() if not name.startswith("guidance_in.")}
    path = save(tmp_path / "schnell.safetensors", schnell)
    error = train(f"--checkpoint.initial_load_path={path}", *QUICK, status=4).stderr
    assert f"[{path}] expected weights with guidance" in error and "(try model.guidance_embed=false)" in error
    none = ["--model.guidance_embed=false", "--objective.guidance_scale=None"]
    error = train(*none, *QUICK, status=4).stderr
    assert "expected weights without guidance" in error and "(try model.guidance_embed=true)" in error
    train(*none, f"--checkpoint.initial_load_path={path}", "--training.steps=1", *QUICK)


@pytest.mark.parametrize(
    "options, words",
    [
        (["--objective.huber_c=0.2"], "[objective.huber_c] expected huber or smooth_l1 with it"),
        (["--objective.weighting_scheme=cosmap"], 'expected model_prediction_type = "sigma_scaled" with cosmap'),
        (["--lora.kind=lokr", "--lora.dropout=0.1"], "[lora.dropout] expected kind lora with it"),
        (["--lora.lokr_factor=8"], "[lora.lokr_factor] expected kind lokr with it"),
        (["--lora.scale_weight_norms=1", "--optimizer.ema_decay=0.9"], "expected an optimizer without averaged weights"),
        (['--lora.rank_patterns=["x"]'], "[lora.rank_patterns] expected a pattern of layer names and a number"),
        (["--lora.rank_patterns=['re:(=4']"], "[lora.rank_patterns] expected a regular expression after re:"),
        (["--lora.targets=['double_blocks.{3-1}.*']"], "[lora.targets] expected whole numbers and ranges that rise in braces"),
        (["--lora.lr_patterns=['*=2', 'single_blocks.*=0.5']"], "have theirs from a pattern before it"),
        (["--lora.rank_patterns=['*.img_mod.*=0']", "--lora.alpha_patterns=['*.img_mod.*=4']"], "matches none with an adapter"),
        (["--lora.split_qkv", "--lora.alpha_patterns=['*=4']"], "[lora.alpha_patterns] expected none with split_qkv"),
        (["--model.guidance_embed=false"], "[objective.guidance_scale] expected None for a model that takes no guidance"),
        (['--lora.metadata=["auther=A"]'], "(try author)"),
        (["--lora.base_dtype=nf5"], '(try "nf4")'),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_options_without_effect_are_refused(train, options, words):  # noqa: F811
    assert words in train(*options, status=2).stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_any_number_of_ranks_trains_alike(program, base, emoji, tmp_path, kind):  # noqa: F811
    options = ["--training.steps=8", "--training.global_batch_size=4", "--checkpoint.interval=8", "--optimizer.lr=1e-2",
               f"--lora.kind={kind}", "--lora.loraplus_ratio=4", '--lora.lr_patterns=["single_blocks.*=0.5"]',
               "--sample.every_steps=0"]  # fmt: skip
    if kind == "lora":
        options += [*DROPOUT, "--lora.scale_weight_norms=0.2"]
    start_ranks(program, 1, tmp_path / "one", base, emoji, *options, "--training.local_batch_size=4").finish()
    expected = load(tmp_path / "one" / "lora.safetensors")
    for placement in ("shard", "replicate"):
        folder = tmp_path / placement
        start_ranks(program, 2, folder, base, emoji, *options, "--training.local_batch_size=2",
              f"--parallelism.data_parallel_{placement}_degree=2").finish()  # fmt: skip
        assert curve(folder) == pytest.approx(curve(tmp_path / "one"), rel=1e-4)
        assert load(folder / "lora.safetensors").keys() == expected.keys()
