"""LoRA of FLUX whose text encoders are trained too: what is trained, saved, resumed and drawn, and on many ranks."""

import json
import re
import shutil
from pathlib import Path

import numpy
import pytest
import torch
from flux_lora_runs import BLOCK_LAYERS, adapters, base, checkpoint, curve, emoji, start_ranks, train  # noqa: F401  (fixtures)
from helpers import load, random_tensors, save
from tensorboard_tags import scalars
from tiny_encoders import make_clip, make_t5

QUICK = ["--sample.every_steps=0", "--report.no_enable", "--encoder.cache_encodings=auto"]
CLIP_LAYERS, T5_LAYERS = 2 * 6, 2 * 7
COMFYUI = Path(__file__).resolve().parents[1] / "golden" / "flux_lora" / "consumers" / "comfyui.json"


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Paths of a CLIP and a T5 that fit the tiny FLUX, as options."""
    folder = tmp_path_factory.mktemp("encoders")
    make_clip(folder / "clip")
    make_t5(folder / "t5", d_model=16, num_layers=2)
    return {"clip": f"--encoder.clip_encoder={folder / 'clip'}", "t5": f"--encoder.t5_encoder={folder / 't5'}"}


def of(prefix, tensors):
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def tagged(folder):
    """What TensorBoard has of a run, by tag."""
    return {tag: list(values.values()) for tag, values in scalars(folder).items()}


def test_tensorboard_has_the_step_sizes_of_prodigy_and_limited_norms(train, encoders):  # noqa: F811
    both = [encoders["clip"], encoders["t5"], *QUICK]
    prodigy = tagged(folder := train(*both, "--optimizer.name=Prodigy", "--optimizer.lr=1", "--optimizer.d0=1e-4", run="prodigy"))
    sizes = curve(folder, "effective_lr")
    assert sizes[-1] > 1e-4 and len(sizes) == len(curve(folder))
    assert prodigy["lr/d*lr/unet"] == prodigy["lr/d*lr/textencoder 1 "] == pytest.approx(sizes, rel=1e-6)
    assert "max_norm/keys_scaled" not in prodigy

    limited = train(*both, "--optimizer.lr=0.1", "--lora.alpha=8", "--lora.scale_weight_norms=0.25", run="limited")
    norms, written = tagged(limited), load(limited / "lora.safetensors")
    stems = [name.removesuffix(".alpha") for name in written if name.endswith(".alpha")]
    products = [(2 * written[f"{stem}.lora_up.weight"] @ written[f"{stem}.lora_down.weight"]).norm().item() for stem in stems]
    assert norms["max_norm/max_key_norm"][-1] == pytest.approx(max(products), rel=1e-3)
    assert max(products) == pytest.approx(0.25, rel=1e-3)
    assert norms["norm/avg_key_norm"][-1] == pytest.approx(sum(products) / len(products), rel=1e-3)
    assert 0 < max(norms["max_norm/keys_scaled"]) <= len(products)
    assert not any("d*lr" in tag or "plus" in tag or tag == "norm/avg_grad_norm" for tag in norms)

    plus = tagged(train(*both, "--lora.loraplus_ratio=4", "--lora.text_encoder_loraplus_ratio=2", "--lora.text_encoder_lr=1e-4",
                        run="plus"))  # fmt: skip
    for name, ratio in {"unet": 4, "textencoder 1 ": 2}.items():
        assert plus[f"lr/{name} plus"] == pytest.approx([ratio * rate for rate in plus[f"lr/{name}"]], rel=1e-6)


def check_other_programs(millrace, with_clip, with_t5, tmp_path):
    """ComfyUI's map has every key of a run's file, and diffusers, which takes none of T5, gets a file of its own."""
    stems = json.loads(COMFYUI.read_text())["stems"]
    for name in load(with_t5 / "lora.safetensors"):
        stem, _, ending = name.partition(".")
        before, number, after = re.fullmatch(r"(.*?_(?:blocks|block|layers)_)(\d+)(_.*)", stem).groups()
        assert ending in ("lora_down.weight", "lora_up.weight", "alpha") and int(number) < stems[before + "{}" + after], name

    line = f"{BLOCK_LAYERS} of the transformer, {CLIP_LAYERS} of CLIP and {T5_LAYERS} of T5: ComfyUI and Forge read all of them"
    assert line in (with_t5 / "log.txt").read_text()
    assert "for diffusers there is lora_diffusers.safetensors, without those of T5" in (with_t5 / "log.txt").read_text()
    theirs = load(with_t5 / "lora_diffusers.safetensors")
    assert not of("text_encoder_2.", theirs) and {name.split(".")[0] for name in theirs} == {"transformer", "text_encoder"}
    millrace("export", with_t5 / "lora.safetensors", tmp_path / "exported.safetensors", "--naming", "diffusers")
    exported = load(tmp_path / "exported.safetensors")
    assert theirs.keys() == exported.keys() and all(torch.equal(theirs[name], exported[name]) for name in theirs)
    assert not (with_clip / "lora_diffusers.safetensors").exists()
    assert "and so does diffusers" in (with_clip / "log.txt").read_text()


def test_clip_is_trained_by_default_and_t5_when_asked(train, millrace, encoders, tmp_path):  # noqa: F811
    folder = train(encoders["clip"], encoders["t5"], "--lora.text_encoder_lr=1e-2", *QUICK)
    trained = adapters(folder)
    assert len(trained) == 2 * (BLOCK_LAYERS + CLIP_LAYERS) and not of("t5xxl.", trained)
    written = load(folder / "lora.safetensors")
    ups = [tensor for name, tensor in of("lora_te1_text_model_encoder_layers_", written).items() if name.endswith("lora_up.weight")]
    assert len(ups) == CLIP_LAYERS and all(up.abs().max() > 0 for up in ups)
    name = "lora_te1_text_model_encoder_layers_1_self_attn_q_proj"
    assert written[f"{name}.lora_down.weight"].equal(trained["clip_l.text_model.encoder.layers.1.self_attn.q_proj.down"])
    assert written[f"{name}.alpha"] == 4

    numbers = tagged(folder)
    assert numbers["loss/current"] == pytest.approx(curve(folder), rel=1e-6)
    means = [sum(curve(folder)[: i + 1]) / (i + 1) for i in range(len(curve(folder)))]
    assert numbers["loss/average"] == pytest.approx(means, rel=1e-6)
    assert numbers["lr/unet"] == numbers["lr"] == pytest.approx(numbers["lr/textencoder 1 "], rel=1e-6)  # both 1e-2

    both = train(encoders["clip"], encoders["t5"], "--lora.train_t5xxl", *QUICK, run="both")
    assert len(adapters(both)) == 2 * (BLOCK_LAYERS + CLIP_LAYERS + T5_LAYERS)
    ups = [t for n, t in of("lora_te3_encoder_block_", load(both / "lora.safetensors")).items() if n.endswith("lora_up.weight")]
    assert len(ups) == T5_LAYERS and all(up.abs().max() > 0 for up in ups)
    check_other_programs(millrace, folder, both, tmp_path)
    alone = train(encoders["clip"], encoders["t5"], "--lora.train_clip_l=false", *QUICK, run="alone")
    assert len(adapters(alone)) == 2 * BLOCK_LAYERS
    for other in (folder, both):  # adapters start without effect
        assert curve(other)[0] == pytest.approx(curve(alone)[0], rel=1e-5)
    assert curve(alone)[-1] != curve(folder)[-1]


def test_t5_attends_to_no_padding_with_its_mask(train, encoders):  # noqa: F811
    """With T5 as it is, and with adapters on it: numbers do not depend on how much padding there is."""
    for name, trained in {"frozen": "--lora.train_clip_l=false", "trained": "--lora.train_t5xxl"}.items():
        options = [encoders["clip"], encoders["t5"], trained, "--training.steps=4", *QUICK]
        short, long, plain = (
            numpy.array(curve(train(*options, f"--encoder.max_t5_encoding_len={tokens}", *mask, run=f"{name}{tokens}{len(mask)}")))
            for tokens, mask in ((72, ["--encoder.apply_t5_attn_mask"]), (80, ["--encoder.apply_t5_attn_mask"]), (80, []))
        )
        assert abs(short - long).max() < 1e-5 < 1e-4 < abs(plain - long).max(), name


@pytest.mark.slow
def test_every_kind_and_option_resumes_exactly(train, encoders):  # noqa: F811
    many = ["--lora.dropout=0.2", "--lora.rank_dropout=0.1", "--optimizer.ema_decay=0.9"]
    for name, options in {"dropout": many, "dora": ["--lora.kind=dora"]}.items():
        options = [encoders["clip"], encoders["t5"], "--lora.train_t5xxl", *options, *QUICK]
        whole = train(*options, run=f"{name}-whole")
        train(*options, "--training.steps=4", "--lr_scheduler.total_steps=8", run=f"{name}-parts")
        parts = train(*options, run=f"{name}-parts")
        for tensor_name, tensor in checkpoint(whole).items():
            assert checkpoint(parts)[tensor_name].equal(tensor), tensor_name
        written = load(whole / "lora.safetensors")
        assert all(written[key].equal(tensor) for key, tensor in load(parts / "lora.safetensors").items())


def test_rates_and_start(train, encoders, tmp_path):  # noqa: F811
    with_clip = [encoders["clip"], encoders["t5"], "--training.steps=1", "--lr_scheduler.warmup_steps=0", "--training.max_norm=1e9", *QUICK]
    one = [*with_clip, "--lora.train_t5xxl"]
    plain = adapters(train(*one, run="plain"), 1)
    folder = train(*one, "--lora.text_encoder_lr=5e-3", "--lora.t5xxl_lr=0", "--lora.text_encoder_loraplus_ratio=4", run="rated")
    rated = adapters(folder, 1)
    assert "zeros alone after step 1: the adapters of T5 change nothing" in (folder / "log.txt").read_text()
    for name, tensor in plain.items():
        if name.endswith(".up"):  # from zero, a step of AdamW is in proportion to its rate
            factor = 0.5 * 4 if name.startswith("clip_l.") else 0 if name.startswith("t5xxl.") else 1
            assert torch.allclose(rated[name], factor * tensor, rtol=1e-4, atol=1e-9), name

    shapes = {}
    for layer in ("lora_te1_text_model_encoder_layers_0_mlp_fc1", "lora_te3_encoder_block_1_layer_0_SelfAttention_o"):
        down, up = ((4, 16), (40, 4)) if "fc1" in layer else ((4, 18), (16, 4))
        shapes |= {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}
    shapes |= {"lora_unet_single_blocks_0_linear2.lora_down.weight": (4, 160), "lora_unet_single_blocks_0_linear2.lora_up.weight": (32, 4)}
    start = random_tensors(shapes)
    start |= {name.replace("lora_up.weight", "alpha"): torch.tensor(4.0) for name in shapes if "up" in name}
    file = save(tmp_path / "start.safetensors", start)
    begun = adapters(train(*one, f"--lora.initial_adapter={file}", "--optimizer.lr=0", run="begun"), 1)
    assert begun["clip_l.text_model.encoder.layers.0.mlp.fc1.up"].equal(start["lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"])
    name = "lora_te3_encoder_block_1_layer_0_SelfAttention_o.lora_down.weight"
    assert begun["t5xxl.encoder.block.1.layer.0.SelfAttention.o.down"].equal(start[name])
    others = train(*with_clip, f"--lora.initial_adapter={file}", run="others")
    assert "leaves out 1 adapters of text encoders that are not trained" in (others / "log.txt").read_text()


def test_pictures_and_validation_use_the_trained_encoder(train, millrace, base, emoji, encoders, tmp_path):  # noqa: F811
    options = [encoders["clip"], encoders["t5"], "--validation.enable", f"--validation.dataset_path={emoji}", "--validation.freq=8",
               "--lora.text_encoder_lr=1", "--lora.rank_patterns=['double_blocks.*=0', 'single_blocks.*=0']", *QUICK]  # fmt: skip
    folder = train(*options)
    assert {name.split(".")[0] for name in adapters(folder)} == {"clip_l"}
    draw = ["sample", folder, "--prompt", "red heart", "--steps", "2", "--size", "16", "--no-grid", "--lora-strength", "0,1"]
    millrace(*draw, "--output", tmp_path / "drawn")
    plain, trained = (path.read_bytes() for path in sorted((tmp_path / "drawn").glob("*.png")))
    assert plain != trained
    measured = [line["validation_loss"] for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()) if "validation_loss" in line]
    again = json.loads(millrace("evaluate", folder, "--json").stdout)
    assert again["loss"] == pytest.approx(measured[-1], rel=1e-5)


@pytest.mark.parametrize("split", [False, True])
def test_a_run_is_exported_with_its_adapters_merged(train, millrace, base, encoders, tmp_path, split):  # noqa: F811
    """FLUX's, which is what the file holds; those of text encoders are left out."""
    folder = train(encoders["clip"], encoders["t5"], "--optimizer.lr=0.05", f"--lora.split_qkv={str(split).lower()}", *QUICK)
    said = millrace("export", folder, tmp_path / "run.safetensors", "--merged").stderr
    assert f"leaves out {CLIP_LAYERS} adapters of text encoders" in said
    millrace("export", base, tmp_path / "file.safetensors", "--merge", folder / "lora.safetensors")
    of_run, of_file, before = load(tmp_path / "run.safetensors"), load(tmp_path / "file.safetensors"), load(base)
    assert of_run.keys() == of_file.keys() == before.keys()
    changed = [name for name in before if not torch.equal(of_run[name], before[name])]
    assert len(changed) > 4
    for name in of_run:
        torch.testing.assert_close(of_run[name], of_file[name], rtol=1e-5, atol=1e-6)


def test_base_weights_are_merged_into_the_text_encoders(train, encoders, tmp_path):  # noqa: F811
    first = train(encoders["clip"], encoders["t5"], "--lora.train_t5xxl", "--optimizer.lr=0.05", *QUICK, run="first") / "lora.safetensors"
    written = load(first)

    def merged(kind, prefix):
        source = Path(encoders[kind].split("=")[1])
        folder = shutil.copytree(source, tmp_path / kind)
        tensors, done = load(folder / "model.safetensors"), 0
        for name in tensors:
            stem = prefix + name.removesuffix(".weight").replace(".", "_")
            if f"{stem}.alpha" in written:
                down, up = (written[f"{stem}.lora_{part}.weight"] for part in ("down", "up"))
                tensors[name] += 0.5 * up @ down * written[f"{stem}.alpha"] / down.shape[0]
                done += 1
        assert done == (CLIP_LAYERS if kind == "clip" else T5_LAYERS)
        save(folder / "model.safetensors", tensors)
        return folder

    by_hand = [f"--encoder.clip_encoder={merged('clip', 'lora_te1_text_model_')}", f"--encoder.t5_encoder={merged('t5', 'lora_te3_')}"]
    of_transformer = save(tmp_path / "transformer.safetensors", of("lora_unet_", written))
    half, short = "--lora.base_weights_multiplier=['0.5']", ["--training.steps=2", "--lora.train_clip_l=false", *QUICK]
    expected = curve(train(*by_hand, f"--lora.base_weights={of_transformer}", half, *short, run="by_hand"))
    plain = [encoders["clip"], encoders["t5"], half, *short]
    assert curve(train(*plain, f"--lora.base_weights={first}", run="merged")) == pytest.approx(expected, rel=1e-5)
    assert curve(train(*plain, f"--lora.base_weights={of_transformer}", run="without")) != pytest.approx(expected, rel=1e-4)
    # Text encoders alone, with a layer that CLIP does not have.
    strange = {name.replace("layers_0", "layers_9"): tensor for name, tensor in of("lora_te1_", written).items()}
    refused = train(*plain, f"--lora.base_weights={save(tmp_path / 'strange.safetensors', strange)}", run="strange", status=4).stderr
    assert "[lora.base_weights: lora_te1_text_model_encoder_layers_9_" in refused


def test_the_file_on_one_model_at_a_time(train, millrace, base, encoders, tmp_path):  # noqa: F811
    folder = train(encoders["clip"], encoders["t5"], *QUICK)
    ids = save(tmp_path / "ids.safetensors", {"input_ids": torch.tensor([[5, 7, 9, 49407]])})
    clip = encoders["clip"].split("=")[1]
    run = ["forward", "clip", "--weights", clip, "--inputs", ids, "--outputs", tmp_path / "out.safetensors"]
    millrace(*run)
    plain = load(tmp_path / "out.safetensors")["pooled"]
    said = millrace(*run, "--lora", folder / "lora.safetensors").stderr
    assert f"leaves out {BLOCK_LAYERS} adapters of other models than CLIP" in said
    assert not torch.allclose(load(tmp_path / "out.safetensors")["pooled"], plain, rtol=1e-3)
    for name in ("kohya.safetensors", "diffusers.safetensors"):
        millrace("export", folder, tmp_path / name, "--naming", name.split(".")[0])
        assert len(load(tmp_path / name)) > 2 * (BLOCK_LAYERS + CLIP_LAYERS)


def test_split_layers_are_trained_apart(train):  # noqa: F811
    folder = train("--lora.split_qkv", *QUICK)
    trained = adapters(folder)
    assert {name.split(".")[-2] for name in of("single_blocks.0.linear1.", trained)} == {"q", "k", "v", "mlp"}
    written = load(folder / "lora.safetensors")
    qkv = "lora_unet_double_blocks_0_img_attn_qkv"
    assert written[f"{qkv}.lora_down.weight"].shape == (12, 32) and written[f"{qkv}.alpha"] == 12
    assert written[f"{qkv}.lora_up.weight"][32:64, :4].abs().max() == 0
    assert written["lora_unet_single_blocks_0_linear1.alpha"] == 16
    theirs = load(train("--lora.split_qkv", "--lora.split_qkv_alpha=sd-scripts", *QUICK, run="theirs") / "lora.safetensors")
    for name, tensor in written.items():
        fused = name.endswith("qkv.alpha") or name.endswith("linear1.alpha")
        assert theirs[name] == 4 if fused else theirs[name].equal(tensor), name
    again = train("--lora.split_qkv", f"--lora.initial_adapter={folder / 'lora.safetensors'}", "--optimizer.lr=0", *QUICK, run="again")
    for name, tensor in trained.items():
        assert torch.allclose(adapters(again)[name], tensor), name


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--lora.train_clip_l"], "[encoder.clip_encoder] expected the path of an encoder"),
        (["--lora.train_t5xxl"], "[encoder.t5_encoder] expected the path of an encoder"),
        (["--lora.text_encoder_lr=1e-4"], "[lora.text_encoder_lr] expected train_clip_l or train_t5xxl with it"),
        (["--lora.t5xxl_lr=1e-4"], "[lora.t5xxl_lr] expected train_t5xxl with it"),
        (["--lora.split_qkv", "--lora.kind=loha"], "[lora.split_qkv] expected kind lora with it"),
        (["--lora.split_qkv_alpha=sd-scripts"], "[lora.split_qkv_alpha] expected split_qkv with it"),
    ],
)
def test_refusals_name_the_option(train, options, expected):  # noqa: F811
    assert expected in train(*options, status=2).stderr


def test_encoded_data_and_caches_are_refused(train, encoders):  # noqa: F811
    both = [encoders["clip"], encoders["t5"], "--lora.train_clip_l", "--lora.train_t5xxl"]
    assert "[encoder.cache_encodings] expected auto or none" in train(*both, status=2).stderr
    said = train(*both, "--training.dataset=cc12m_preprocessed", status=2).stderr
    assert "expected training.dataset to have captions" in said


@pytest.mark.slow
def test_any_number_of_ranks_gives_the_same_curve(program, base, emoji, encoders, tmp_path):  # noqa: F811
    common = [encoders["clip"], encoders["t5"], "--lora.train_t5xxl", "--training.steps=6", "--training.global_batch_size=6",
              "--checkpoint.no_enable", "--encoder.cache_encodings=auto"]  # fmt: skip
    runs = {"one": (1, 6, []), "two": (2, 3, []), "sharded": (3, 2, ["--encoder.shard=true"])}
    for name, (size, batch, more) in runs.items():
        start_ranks(program, size, tmp_path / name, base, emoji, *common, *more, f"--training.local_batch_size={batch}").finish()
    for name in ("two", "sharded"):
        assert curve(tmp_path / name) == pytest.approx(curve(tmp_path / "one"), rel=1e-5), name
