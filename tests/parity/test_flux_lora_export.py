"""LoRA files of FLUX through `millrace export`: between conventions, merged, extracted, resized; diffusers and PEFT read them."""

import hashlib
import json
import types

import pytest
import safetensors.torch
import torch
from diffusers.loaders import lora_conversion_utils
from flux_peer import DOUBLE, HIDDEN, LAYERS, fresh_peer, our_forward, peer_forward
from helpers import load, random_tensors, relative_error, save
from safetensors import safe_open

CLIP = {
    f"text_model_encoder_layers_{i}_{name}": shape
    for i in range(2)
    for name, shape in {"self_attn_q_proj": (8, 8), "self_attn_out_proj": (8, 8), "mlp_fc1": (32, 8), "mlp_fc2": (8, 32)}.items()
}


def kohya_lora(rank=4, alpha=2.0, clip=False, split=False, seed=0):
    names = {f"lora_unet_{name}": shape for name, shape in LAYERS.items()}
    if clip:
        names |= {f"lora_te1_{name}": shape for name, shape in CLIP.items()}
    tensors = {}
    for i, (name, (rows, columns)) in enumerate(names.items()):
        fused = split and name.endswith(("qkv", "linear1"))
        parts = ([HIDDEN] * 3 + ([4 * HIDDEN] if name.endswith("linear1") else [])) if fused else [rows]
        r = rank * len(parts)
        pair = random_tensors({"down": (r, columns), "up": (rows, r)}, seed=seed + i, scale=0.2)
        if fused:
            blocks = [torch.ones(size, rank) for size in parts]
            pair["up"] = pair["up"] * torch.block_diag(*blocks)
        tensors |= {f"{name}.lora_down.weight": pair["down"], f"{name}.lora_up.weight": pair["up"], f"{name}.alpha": torch.tensor(alpha)}
    return tensors


def changes(kohya):
    """What each layer's weight is changed by."""
    result = {}
    for name, down in kohya.items():
        stem, is_down, _ = name.partition(".lora_down.weight")
        if is_down:
            result[stem] = kohya[f"{stem}.lora_up.weight"].float() @ down.float() * (kohya[f"{stem}.alpha"].item() / down.shape[0])
    return result


def assert_same_changes(got, expected, tolerance=1e-6):
    got, expected = changes(got), changes(expected)
    assert set(got) == set(expected)
    for name in expected:
        assert relative_error(got[name], expected[name]) <= tolerance, name


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    module = fresh_peer()
    module.save_pretrained(folder / "transformer")
    return folder / "transformer", module


@pytest.fixture
def forward(millrace, base, tmp_path):
    def forward(lora=None, weights=None):
        more = [] if weights is None else ["--config", base[0] / "config.json"]
        return our_forward(millrace, weights or base[0], tmp_path, lora, more)["output"]

    return forward


@pytest.mark.parametrize("kind", ["plain", "split", "clip"])
def test_diffusers_naming_is_diffusers_own_conversion(millrace, tmp_path, kind):
    lora = kohya_lora(clip=kind == "clip", split=kind == "split")
    millrace("export", save(tmp_path / "lora.safetensors", lora), tmp_path / "out.safetensors", "--naming", "diffusers")
    got = load(tmp_path / "out.safetensors")
    expected = convert_in_diffusers(lora)
    assert {n: t.shape for n, t in got.items()} == {n: t.shape for n, t in expected.items()}
    for name, tensor in expected.items():
        assert relative_error(got[name], tensor) <= 1e-6, name


def convert_in_diffusers(lora):
    """diffusers' converter passes over blocks that are not there, but holds the sizes of the published model: put in ours."""
    theirs = lora_conversion_utils._convert_kohya_flux_lora_to_diffusers
    converter = types.FunctionType(with_our_sizes(theirs.__code__), theirs.__globals__, closure=theirs.__closure__)
    return converter({name: tensor.clone() for name, tensor in lora.items()})


def with_our_sizes(code):
    sizes = {3072: HIDDEN, 12288: 4 * HIDDEN}

    def replaced(constant):
        if isinstance(constant, tuple):
            return tuple(replaced(each) for each in constant)
        if isinstance(constant, types.CodeType):
            return with_our_sizes(constant)
        return sizes.get(constant, constant) if type(constant) is int else constant

    return code.replace(co_consts=tuple(replaced(constant) for constant in code.co_consts))


@pytest.mark.parametrize("split", [False, True], ids=["plain", "split"])
def test_diffusers_and_peft_compute_what_the_file_says(millrace, base, forward, tmp_path, split):
    from peft import PeftModel

    path = save(tmp_path / "lora.safetensors", kohya_lora(split=split, alpha=3.0))
    expected = forward(path)
    assert relative_error(expected, forward()) > 1e-2

    millrace("export", path, tmp_path / "diffusers", "--naming", "diffusers")
    module = fresh_peer()
    module.load_lora_adapter(load(tmp_path / "diffusers" / "pytorch_lora_weights.safetensors"), prefix="transformer")
    assert relative_error(peer_forward(module), expected) <= 1e-5

    millrace("export", path, tmp_path / "peft", "--naming", "peft")
    assert relative_error(peer_forward(PeftModel.from_pretrained(fresh_peer(), tmp_path / "peft")), expected) <= 1e-5
    for converted in [tmp_path / "diffusers", tmp_path / "peft"]:
        assert relative_error(forward(converted), expected) <= 1e-5


def test_load_lora_weights_takes_our_file(millrace, base, forward, tmp_path):
    """The pipeline's own loader, from kohya's keys as we write them."""
    from diffusers import FluxPipeline

    path = save(tmp_path / "lora.safetensors", kohya_lora())
    millrace("export", path, tmp_path / "ours.safetensors", "--naming", "diffusers")
    module = fresh_peer()
    pipeline = FluxPipeline(None, None, None, None, None, None, module)
    pipeline.load_lora_weights(tmp_path / "ours.safetensors")
    assert relative_error(peer_forward(module), forward(path)) <= 1e-5


@pytest.mark.parametrize("naming", ["diffusers", "peft"])
@pytest.mark.parametrize("kind", ["plain", "split", "clip"])
def test_there_and_back_changes_nothing(millrace, tmp_path, naming, kind):
    lora = kohya_lora(clip=kind == "clip" and naming == "diffusers", split=kind == "split")
    millrace("export", save(tmp_path / "lora.safetensors", lora), tmp_path / "there", "--naming", naming)
    millrace("export", tmp_path / "there", tmp_path / "back.safetensors", "--naming", "kohya")
    back = load(tmp_path / "back.safetensors")
    assert {n: t.shape for n, t in back.items()} == {n: t.shape for n, t in lora.items()}
    assert_same_changes(back, lora)


def test_written_files_say_what_they_are(millrace, tmp_path):
    metadata = {"ss_training_comment": "a comment", "modelspec.title": "t", "sshs_model_hash": "of another file"}
    path = save(tmp_path / "lora.safetensors", kohya_lora(), metadata)
    millrace("export", path, tmp_path / "out.safetensors", "--dtype", "bf16")
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        written = file.metadata()
        assert all(file.get_tensor(name).dtype == torch.bfloat16 for name in file.keys())
    assert {key: written[key] for key in ["ss_network_dim", "ss_network_alpha", "ss_network_module", "ss_base_model_version"]} == {
        "ss_network_dim": "4", "ss_network_alpha": "2.0", "ss_network_module": "networks.lora_flux", "ss_base_model_version": "flux1",
    }  # fmt: skip
    assert written["ss_training_comment"] == "a comment" and written["modelspec.title"] == "t"
    assert len(written["sshs_model_hash"]) == 64 and len(written["sshs_legacy_hash"]) == 8


def test_hashes_are_those_of_the_bytes_with_ss_keys_alone(millrace, tmp_path):
    """As sd-scripts computes them: sshs_legacy_hash is of a window from 1 MiB on, which moves with the header."""
    metadata = {"ss_training_comment": 'ünïcode "quoted"\n\t\\', "modelspec.title": "not hashed"}
    millrace("export", save(tmp_path / "lora.safetensors", kohya_lora(rank=64), metadata), tmp_path / "out.safetensors")
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        written = file.metadata()
    hashed = {key: value for key, value in written.items() if key.startswith("ss_")}
    data = safetensors.torch.save(load(tmp_path / "out.safetensors"), hashed)
    assert len(data) > 0x110000 and hashed["ss_training_comment"] == metadata["ss_training_comment"]
    start = 8 + int.from_bytes(data[:8], "little")
    assert written["sshs_model_hash"] == hashlib.sha256(data[start:]).hexdigest()
    assert written["sshs_legacy_hash"] == hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8]


@pytest.mark.parametrize("naming", ["bfl", "diffusers"])
def test_merged_weights_compute_what_the_adapters_do(millrace, base, forward, tmp_path, naming):
    path = save(tmp_path / "lora.safetensors", kohya_lora())
    source = base[0]
    if naming == "bfl":
        source = tmp_path / "bfl.safetensors"
        millrace("export", base[0], source, "--naming", "bfl")
    config = ["--config", base[0] / "config.json"]
    millrace("export", source, tmp_path / "merged.safetensors", "--merge", path, *config)
    merged = load(tmp_path / "merged.safetensors")
    assert ("img_in.weight" in merged) == (naming == "bfl")  # the naming stays
    assert relative_error(forward(weights=tmp_path / "merged.safetensors"), forward(path)) <= 1e-5
    # Half the alpha is half the strength.
    weak = save(tmp_path / "weak.safetensors", kohya_lora(alpha=1.0))
    millrace("export", source, tmp_path / "half.safetensors", "--merge", path, "--strength", "0.5", *config)
    assert relative_error(forward(weights=tmp_path / "half.safetensors"), forward(weak)) <= 1e-5
    # Shards of a folder hold the same.
    millrace("export", source, tmp_path / "shards", "--merge", path, "--max-shard-gb", "0.0005", *config)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert torch.equal(forward(weights=tmp_path / "shards"), forward(weights=tmp_path / "merged.safetensors"))


def test_extracting_finds_the_lora_that_was_merged(millrace, base, tmp_path):
    lora = kohya_lora()
    path = save(tmp_path / "lora.safetensors", lora)
    millrace("export", base[0], tmp_path / "tuned.safetensors", "--merge", path, "--config", base[0] / "config.json")
    options = ["--extract-from", base[0], "--config", base[0] / "config.json"]
    millrace("export", tmp_path / "tuned.safetensors", tmp_path / "out.safetensors", *options, "--rank", "4")
    assert_same_changes(load(tmp_path / "out.safetensors"), lora, 1e-4)
    # A lower rank gives the nearest of that rank.
    millrace("export", tmp_path / "tuned.safetensors", tmp_path / "low.safetensors", *options, "--rank", "2")
    for name, change in changes(lora).items():
        beyond = torch.linalg.svdvals(change)[2:].norm()
        distance = (changes(load(tmp_path / "low.safetensors"))[name] - change).norm()
        assert distance <= beyond * (1 + 1e-3), name
    assert "got the same" in millrace("export", base[0], tmp_path / "x.safetensors", *options, "--rank", "4", status=4).stderr


def test_another_rank_is_the_nearest_lora_of_that_rank(millrace, tmp_path):
    lora = kohya_lora(rank=6, alpha=3.0)
    path = save(tmp_path / "lora.safetensors", lora)
    millrace("export", path, tmp_path / "two.safetensors", "--rank", "2")
    two = load(tmp_path / "two.safetensors")
    assert all(tensor.shape[0] == 2 for name, tensor in two.items() if name.endswith("lora_down.weight"))
    for name, change in changes(lora).items():
        beyond = torch.linalg.svdvals(change)[2:].norm()
        assert (changes(two)[name] - change).norm() <= beyond * (1 + 1e-4), name
    millrace("export", path, tmp_path / "same.safetensors", "--rank", "9")
    assert_same_changes(load(tmp_path / "same.safetensors"), lora, 1e-5)


def test_options_that_do_not_go_together_are_refused(millrace, base, tmp_path):
    path = save(tmp_path / "lora.safetensors", kohya_lora())

    def error(*arguments, status=2):
        return millrace("export", *arguments, status=status).stderr

    out = tmp_path / "out.safetensors"
    assert "expected a model's weights for --merge" in error(path, out, "--merge", path)
    assert "[--naming] expected kohya, peft or diffusers" in error(path, out, "--naming", "bfl")
    assert "expected a folder for PEFT's two files" in error(path, out, "--naming", "peft")
    assert "[--rank] expected a LoRA file" in error(base[0], out, "--rank", "3")
    assert "[--rank] expected the rank of the LoRA to extract" in error(base[0], out, "--extract-from", base[0])
    assert "[--strength] expected --merge" in error(base[0], out, "--strength", "2")
    other = save(tmp_path / "other.safetensors", {n.replace("single_blocks_0", "single_blocks_9"): t for n, t in kohya_lora().items()})
    assert "modules that it does not have: lora_unet_single_blocks_9" in error(base[0], out, "--merge", other, status=4)
    assert not out.exists()
    assert json.loads((base[0] / "config.json").read_text())["num_layers"] == DOUBLE
