"""lora.ranks_from_initial_adapter: a run whose kind, layers, ranks and alphas are those of the file that it starts from."""

import json
import tomllib

import pytest
import torch
from flux_lora_runs import LAPTOP, adapters, base, curve, emoji, train  # noqa: F401  (fixtures)
from helpers import load, save
from tiny_encoders import make_clip, make_t5

QUICK = ["--sample.every_steps=0", "--report.no_enable"]
STILL = ["--training.steps=1", "--optimizer.lr=0", *QUICK]
LIKE = "--lora.ranks_from_initial_adapter"


def start(file):
    return [LIKE, f"--lora.initial_adapter={file}"]


def settled(folder):
    return tomllib.loads((folder / "config.toml").read_text())["lora"]


PATTERNS = ["--lora.targets=double_blocks.*,single_blocks.{0}.linear*,img_in",
            "--lora.rank_patterns=['*.img_mlp.*=2', '*.txt_mod.*=0', 'img_in=3']", "--lora.alpha_patterns=['*.linear2=1']"]  # fmt: skip
KINDS = {
    "lora": ["--lora.kind=lora", *PATTERNS, "--lora.alpha=8"],
    "alphas that are the ranks": ["--lora.kind=lora", "--lora.alpha=None", "--lora.rank_patterns=['*.img_mlp.*=2']"],
    "dora": ["--lora.kind=dora", *PATTERNS],
    "loha": ["--lora.kind=loha", *PATTERNS],
    "lokr": ["--lora.kind=lokr", "--lora.rank=2"],
    "lokr, its factor": ["--lora.kind=lokr", "--lora.rank=2", "--lora.lokr_factor=4", "--lora.rank_patterns=['*.linear1=64']"],
    "lokr, both": ["--lora.kind=lokr", "--lora.rank=1", "--lora.lokr_decompose_both"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_are_as_in_the_file(train, kind):  # noqa: F811
    first = train(*KINDS[kind], "--training.steps=2", "--optimizer.lr=1e-2", *QUICK, run="first")
    again = train(*start(first / "lora.safetensors"), *STILL, run="again")
    ours, theirs = adapters(again, 1), adapters(first, 2)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.allclose(ours[name], tensor, rtol=1e-6, atol=0), name
    # What it writes has the same ranks and alphas, and says so to the commands that read the run.
    written, read = load(again / "lora.safetensors"), load(first / "lora.safetensors")
    assert {name: tensor.shape for name, tensor in written.items()} == {name: tensor.shape for name, tensor in read.items()}
    assert all(written[name] == tensor for name, tensor in read.items() if name.endswith(".alpha"))
    assert settled(again)["ranks_from_initial_adapter"] is False and f"--lora.kind={settled(again)['kind']}" == KINDS[kind][0]


def test_files_of_other_programs_and_plans(train, millrace, tmp_path):  # noqa: F811
    first = train("--lora.rank=3", "--lora.alpha=6", "--training.steps=2", "--optimizer.lr=1e-2", *QUICK, run="first")
    millrace("export", first, tmp_path / "peft", "--naming", "peft")
    again = train(*start(tmp_path / "peft" / "adapter_model.safetensors"), *STILL, run="peft")
    assert settled(again)["rank"] == 3 and settled(again)["alpha"] == 6
    layer = "double_blocks.0.img_attn.proj"
    assert torch.allclose(adapters(again, 1)[f"{layer}.up"], adapters(first, 2)[f"{layer}.up"])

    def parameters(*options):
        return json.loads(millrace("plan", LAPTOP, "--json", *options).stdout)["parameters"]

    assert parameters(*start(first / "lora.safetensors")) == parameters("--lora.rank=3") != parameters()


THROUGH_PEFT = {
    "dora": KINDS["dora"],
    "loha": KINDS["loha"],
    "lokr": ["--lora.kind=lokr", "--lora.rank=2", "--lora.targets=*_attn.proj,*_mlp.*,*.linear2"],
    "lokr, its factor": ["--lora.kind=lokr", "--lora.rank=2", "--lora.targets=*_mlp.*,*.linear2", "--lora.lokr_factor=4"],
}


@pytest.mark.parametrize("kind", THROUGH_PEFT)
def test_adapters_of_every_kind_are_as_they_were_before_peft(train, millrace, tmp_path, kind):  # noqa: F811
    first = train(*THROUGH_PEFT[kind], "--training.steps=2", "--optimizer.lr=1e-2", *QUICK, run="first")
    millrace("export", first, tmp_path / "peft", "--naming", "peft")
    again = train(*start(tmp_path / "peft"), *STILL, run="again")
    ours, theirs = adapters(again, 1), adapters(first, 2)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.allclose(ours[name], tensor, rtol=1e-6, atol=0), name


def test_a_resumed_run_needs_the_file_no_more(train, tmp_path):  # noqa: F811
    first = train("--lora.rank=3", "--training.steps=2", *QUICK, run="first")
    file = tmp_path / "start.safetensors"
    file.write_bytes((first / "lora.safetensors").read_bytes())
    train(*start(file), "--training.steps=4", *QUICK, run="moved")
    file.unlink()
    folder = train(*start(file), *QUICK, run="moved")
    assert len(curve(folder)) == 8 and settled(folder)["rank"] == 3
    assert "start.safetensors" in train(*start(file), *STILL, run="absent", status=4).stderr


@pytest.fixture
def file(train, tmp_path):  # noqa: F811
    """file(changed): a LoRA file whose tensors changed() has made into others."""
    tensors = load(train("--training.steps=1", *QUICK, run="first") / "lora.safetensors")

    def write(changed):
        return save(tmp_path / "start.safetensors", changed(dict(tensors)))

    return write


def test_layers_that_the_model_does_not_have_are_named(train, file):  # noqa: F811
    foreign = {name.replace("blocks_0", "blocks_7"): tensor for name, tensor in load(file(dict)).items()}
    path = file(lambda tensors: tensors | foreign)
    for options in ([f"--lora.initial_adapter={path}"], start(path)):
        error = train(*options, *STILL, run="refused", status=4).stderr
        assert "of modules that it does not have: lora_unet_double_blocks_7_" in error
        folder = train(*options, "--lora.no_initial_adapter_strict", *STILL, run=f"taken{len(options)}")
        log = (folder / "log.txt").read_text()
        assert "passes over 13 adapters of layers that are not trained here, lora_unet_double_blocks_7_img_attn_proj" in log
    chosen = train(f"--lora.initial_adapter={path}", "--lora.targets=single_blocks.*", "--lora.no_initial_adapter_strict", *STILL, run="chosen")
    assert "passes over 23 adapters" in (chosen / "log.txt").read_text()
    nothing = train(f"--lora.initial_adapter={file(lambda _: foreign)}", "--lora.no_initial_adapter_strict", *STILL, run="none", status=4)
    assert "expected adapters of layers that are trained, got none" in nothing.stderr


def test_what_the_file_cannot_say_is_refused(train, file):  # noqa: F811
    path = file(dict)
    for options, expected in [
        ([LIKE], "[lora.initial_adapter] expected a file with ranks_from_initial_adapter, got none"),
        (["--lora.no_initial_adapter_strict"], "[lora.initial_adapter] expected a file with initial_adapter_strict = false, got none"),
        ([*start(path), "--lora.rank_patterns=['*=2']"], "[lora.rank_patterns] expected none with ranks_from_initial_adapter"),
        ([*start(path), "--lora.split_qkv"], "[lora.split_qkv] expected false with ranks_from_initial_adapter"),
    ]:
        assert expected in train(*options, *STILL, status=2).stderr
    stem = "lora_unet_single_blocks_0_linear2"

    def with_lengths(tensors):
        return tensors | {f"{stem}.dora_scale": torch.ones(32, 1)}

    error = train(*start(file(with_lengths)), *STILL, status=4).stderr
    assert f"{stem}." in error and "expected adapters of one kind, lora as lora_unet_double_blocks_0_" in error and "got dora" in error
    error = train(*start(file(lambda tensors: tensors | {f"{stem}.alpha": torch.tensor(0.0)})), *STILL, status=4).stderr
    assert f"{stem}." in error and "expected an alpha above 0 to train with, got 0" in error


def test_text_encoders_are_those_of_the_file(train, tmp_path):  # noqa: F811
    make_clip(tmp_path / "clip")
    make_t5(tmp_path / "t5", d_model=16, num_layers=2)
    both = [f"--encoder.clip_encoder={tmp_path / 'clip'}", f"--encoder.t5_encoder={tmp_path / 't5'}", "--encoder.cache_encodings=auto"]
    first = train(*both, "--lora.train_t5xxl", "--lora.rank_patterns=['clip_l.*=2', 't5xxl.*.wo=3']", "--training.steps=1", *QUICK, run="first")
    file = first / "lora.safetensors"  # noqa: F811
    again = train(*both, "--lora.train_t5xxl", *start(file), *STILL, run="again")
    assert {name: tensor.shape for name, tensor in adapters(again, 1).items()} == {name: tensor.shape for name, tensor in adapters(first, 1).items()}

    error = train(*both, *start(file), *STILL, status=2).stderr
    assert "[lora.train_t5xxl] expected true, since" in error and "lora_te3_encoder_block_0_" in error and "(try lora.train_t5xxl = true)" in error
    tensors = load(file)
    without_t5 = save(tmp_path / "clip.safetensors", {name: tensor for name, tensor in tensors.items() if "_te3_" not in name})
    error = train(*both, "--lora.train_t5xxl", *start(without_t5), *STILL, status=2).stderr
    assert "[lora.train_t5xxl] expected false, since" in error
    alone = train(*both, "--lora.no_train_clip_l", *start(without_t5), *STILL, run="alone")
    assert not any(name.startswith("clip_l.") for name in adapters(alone, 1))
    error = train(*start(without_t5), *STILL, status=2).stderr
    assert "[lora.train_clip_l] expected captions and the path of encoder.clip_encoder" in error and "(try lora.train_clip_l = false" in error

    without = save(tmp_path / "flux.safetensors", {name: tensor for name, tensor in tensors.items() if "_unet_" in name})
    assert not any(name.startswith("clip_l.") for name in adapters(train(*both, *start(without), *STILL, run="flux"), 1))
    assert "[lora.train_clip_l] expected false, since" in train(*both, "--lora.train_clip_l", *start(without), *STILL, status=2).stderr
    deeper = save(tmp_path / "deeper.safetensors", {name.replace("te1_text_model_encoder_layers_1", "te1_text_model_encoder_layers_9"): tensor
                                                    for name, tensor in load(without_t5).items()})  # fmt: skip
    error = train(*both, *start(deeper), *STILL, status=4).stderr
    assert "lora_te1_text_model_encoder_layers_9_" in error and "expected adapters of layers that the text encoders have" in error
