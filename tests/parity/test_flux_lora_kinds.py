"""DoRA, LoHa and LoKr of FLUX through `millrace export`: PEFT and diffusers load what it writes and compute what we do."""

import json
import math

import pytest
import torch
from flux_peer import DOUBLE, HIDDEN, LAYERS, fresh_peer, our_forward, peer_forward, peer_output
from helpers import load, random_tensors, relative_error, save

FUSED = ("attn_qkv", "linear1")
TOLERANCE = 2e-6  # of two forward passes in fp32; they are 2e-7 apart


def divide(dimension, factor):
    """As LyCORIS divides a dimension: the smaller part first."""
    if factor and dimension % factor == 0:
        return sorted((factor, dimension // factor))
    smaller = max(d for d in range(1, math.isqrt(dimension) + 1) if dimension % d == 0)
    return [smaller, dimension // smaller]


def lora_shapes(rows, columns, rank):
    return {"lora_down.weight": (rank, columns), "lora_up.weight": (rows, rank)}


def loha_shapes(rows, columns, rank):
    return {f"hada_w{i}_{side}": shape for i in "12" for side, shape in {"a": (rows, rank), "b": (rank, columns)}.items()}


def lokr_shapes(rows, columns, rank, factor=None, both=False):
    (rows_1, rows_2), (columns_1, columns_2) = divide(rows, factor), divide(columns, factor)
    shapes = {}
    for name, size, may_be_thin in (("lokr_w1", (rows_1, columns_1), both), ("lokr_w2", (rows_2, columns_2), True)):
        if may_be_thin and 2 * rank < max(size):
            shapes |= {f"{name}_a": (size[0], rank), f"{name}_b": (rank, size[1])}
        else:
            shapes[name] = size
    return shapes


def file_of(shapes_of, layers=LAYERS, alpha=3.0, scale=0.3, seed=0, lengths=False):
    """A file in kohya's words with an adapter of one kind on each layer."""
    tensors = {}
    for i, (layer, (rows, columns)) in enumerate(layers.items()):
        name = f"lora_unet_{layer}"
        random = random_tensors(shapes_of(rows, columns), seed=seed + i, scale=scale)
        tensors |= {f"{name}.{role}": tensor for role, tensor in random.items()} | {f"{name}.alpha": torch.tensor(alpha)}
        if lengths:
            tensors[f"{name}.dora_scale"] = 0.2 + torch.rand(rows, 1, generator=torch.Generator().manual_seed(seed + i))
    return tensors


UNFUSED = {name: shape for name, shape in LAYERS.items() if not name.endswith(FUSED)}
FILES = {
    "dora": lambda: file_of(lambda n, k: lora_shapes(n, k, 4), scale=0.2, lengths=True),
    "loha": lambda: file_of(lambda n, k: loha_shapes(n, k, 3)),
    "lokr": lambda: file_of(lambda n, k: lokr_shapes(n, k, 2), UNFUSED),
    "lokr of both": lambda: file_of(lambda n, k: lokr_shapes(n, k, 2, both=True), UNFUSED),
    "lokr of a factor": lambda: file_of(lambda n, k: lokr_shapes(n, k, 3, factor=4), UNFUSED),
    "lokr of whole matrices": lambda: file_of(lambda n, k: lokr_shapes(n, k, 1000), UNFUSED, scale=0.2),
    "lokr of factor 1": lambda: file_of(lambda n, k: lokr_shapes(n, k, 3, factor=1), scale=0.2),
    "lokr of fused layers": lambda: file_of(lambda n, k: lokr_shapes(n, k, 2)),
}
PEFT_TYPES = {"dora": "LORA", "loha": "LOHA", "lokr of fused layers": "LORA"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "transformer"
    fresh_peer().save_pretrained(folder)
    return folder


@pytest.fixture
def forward(millrace, base, tmp_path):
    return lambda lora=None, **more: our_forward(millrace, base, tmp_path, lora, **more)


def in_peft(folder):
    """The transformer with the folder's adapters: PEFT found every tensor a place, and every place a tensor."""
    from peft import PeftModel, load_peft_weights
    from peft.utils import set_peft_model_state_dict

    model = PeftModel.from_pretrained(fresh_peer(), folder).eval()
    result = set_peft_model_state_dict(model, load_peft_weights(folder, device="cpu"))
    assert not result.unexpected_keys
    placed = sum(".default" in name for name, _ in model.named_parameters())
    assert placed == len(load(folder / "adapter_model.safetensors"))
    return model


@pytest.mark.parametrize("kind", FILES)
def test_peft_computes_what_the_file_says(millrace, forward, tmp_path, kind):
    path = save(tmp_path / "lora.safetensors", FILES[kind]())
    expected = forward(path)["output"]
    assert relative_error(expected, forward()["output"]) > 1e-2
    millrace("export", path, tmp_path / "peft", "--naming", "peft")
    config = json.loads((tmp_path / "peft/adapter_config.json").read_text())
    assert config["peft_type"] == PEFT_TYPES.get(kind, "LOKR")
    assert config.get("use_dora", False) == (kind == "dora")
    assert relative_error(peer_forward(in_peft(tmp_path / "peft")), expected) <= TOLERANCE
    assert relative_error(forward(tmp_path / "peft")["output"], expected) <= TOLERANCE
    millrace("export", tmp_path / "peft", tmp_path / "back.safetensors", "--naming", "kohya")
    assert relative_error(forward(tmp_path / "back.safetensors")["output"], expected) <= TOLERANCE


@pytest.mark.parametrize("kind", [kind for kind in FILES if "fused" not in kind])
def test_there_and_back_through_peft_changes_nothing(millrace, tmp_path, kind):
    file = FILES[kind]()
    millrace("export", save(tmp_path / "lora.safetensors", file), tmp_path / "there", "--naming", "peft")
    millrace("export", tmp_path / "there", tmp_path / "back.safetensors", "--naming", "kohya")
    back = load(tmp_path / "back.safetensors")
    assert set(back) == set(file)
    for name, tensor in file.items():
        if name.endswith(".alpha"):  # of whole matrices it means nothing
            assert "whole" in kind or f"{name.removesuffix('.alpha')}.lokr_w2" in file or back[name].item() == pytest.approx(3.0)
        else:
            assert torch.equal(back[name], tensor), name


@pytest.mark.parametrize("kind", FILES)
def test_diffusers_loads_dora_and_what_equals_loha_and_lokr(millrace, forward, tmp_path, kind):
    from diffusers import FluxPipeline

    path = save(tmp_path / "lora.safetensors", FILES[kind]())
    if kind == "lokr of whole matrices":
        error = millrace("export", path, tmp_path / "no.safetensors", "--naming", "diffusers", status=4).stderr
        assert "expected LoHa or LoKr of a rank that LoRA can hold" in error and "double_blocks.0.img_attn.proj" in error
        return
    log = millrace("export", path, tmp_path / "diffusers.safetensors", "--naming", "diffusers").stderr
    assert ("of LoHa or LoKr, as LoRA that computes the same" in log) == (kind != "dora")
    module = fresh_peer()
    FluxPipeline(None, None, None, None, None, None, module).load_lora_weights(tmp_path / "diffusers.safetensors")
    assert relative_error(peer_forward(module), forward(path)["output"]) <= TOLERANCE


def test_a_flux_pipeline_takes_no_other_kinds():
    """Which is why they become LoRA there. With a version that takes them the naming may keep them."""
    from diffusers import FluxPipeline

    pipeline = FluxPipeline(None, None, None, None, None, None, fresh_peer())
    for shapes in (lokr_shapes(HIDDEN, HIDDEN, 2), loha_shapes(HIDDEN, HIDDEN, 2)):
        tensors = {f"transformer.transformer_blocks.0.attn.to_out.0.{role}": tensor for role, tensor in random_tensors(shapes).items()}
        with pytest.raises(ValueError, match="Invalid LoRA checkpoint"):
            pipeline.load_lora_weights(tensors)


TARGETS = ["to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0", "proj_mlp", "norm_out.linear"]


def peft_trained(kind, folder):
    """Adapters as PEFT makes and saves them: each of q, k and v has its own."""
    from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model

    torch.manual_seed(7)
    patterns = {"rank_pattern": {"to_k": 3}, "alpha_pattern": {"to_v": 5}}
    config = {
        "dora": LoraConfig(r=2, lora_alpha=3, use_dora=True, target_modules=TARGETS, init_lora_weights=False, **patterns),
        "loha": LoHaConfig(r=2, alpha=3, target_modules=TARGETS, init_weights=False, **patterns),
        "lokr": LoKrConfig(r=2, alpha=3, target_modules=TARGETS, init_weights=False, **patterns),
        "lokr of whole matrices": LoKrConfig(r=20, alpha=30, target_modules=TARGETS, init_weights=False),
    }[kind]
    model = get_peft_model(fresh_peer(), config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "magnitude" in name:
                parameter.mul_(0.5 + torch.rand(parameter.shape))
            elif "hada" in name:
                parameter.mul_(2)  # of four matrices, which start small
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", ["dora", "loha", "lokr", "lokr of whole matrices"])
def test_adapters_that_peft_trained_are_read(millrace, forward, tmp_path, kind):
    model = peft_trained(kind, tmp_path / "peft")
    expected = peer_output(model)
    grad_output = random_tensors({"g": tuple(expected.shape)}, seed=1)["g"]
    expected.backward(grad_output)
    got = forward(tmp_path / "peft", grad_output=grad_output)
    assert relative_error(got.pop("output"), expected.detach()) <= TOLERANCE
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own = name.replace(".default", "").replace("magnitude_vector.weight", "magnitude_vector")
            assert relative_error(got.pop(f"grad.{own}"), parameter.grad) <= 2e-5, name
    assert not got


@pytest.mark.parametrize("kind", ["dora", "loha", "lokr"])
def test_adapters_that_peft_trained_become_kohyas(millrace, forward, tmp_path, kind):
    """Of q, k and v there are three products: one of all of their ranks; Kronecker products become LoRA."""
    expected = peer_forward(peft_trained(kind, tmp_path / "peft"))
    millrace("export", tmp_path / "peft", tmp_path / "kohya.safetensors", "--naming", "kohya")
    roles = {name.split(".", 1)[1] for name in load(tmp_path / "kohya.safetensors") if "img_attn_qkv" in name}
    assert roles == {
        "dora": {"alpha", "dora_scale", "lora_down.weight", "lora_up.weight"}, "lokr": {"alpha", "lora_down.weight", "lora_up.weight"},
        "loha": {"alpha", "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"},
    }[kind]  # fmt: skip
    assert relative_error(forward(tmp_path / "kohya.safetensors")["output"], expected) <= TOLERANCE


def test_the_scale_of_whole_kronecker_factors_is_kept(millrace, forward, tmp_path):
    """PEFT scales these, too; kohya's files do not."""
    layer = "transformer_blocks.0.ff.net.2"
    shapes = {f"base_model.model.{layer}.lokr_w1": (6, 12), f"base_model.model.{layer}.lokr_w2": (8, 16)}
    save(tmp_path / "peft/adapter_model.safetensors", random_tensors(shapes, scale=0.3))
    settings = {"peft_type": "LOKR", "r": 10, "alpha": 15, "target_modules": [layer]}
    (tmp_path / "peft/adapter_config.json").write_text(json.dumps(settings))
    expected = peer_forward(in_peft(tmp_path / "peft"))
    assert relative_error(forward(tmp_path / "peft")["output"], expected) <= TOLERANCE
    millrace("export", tmp_path / "peft", tmp_path / "kohya.safetensors", "--naming", "kohya")
    assert relative_error(forward(tmp_path / "kohya.safetensors")["output"], expected) <= TOLERANCE


def test_what_has_no_equal_is_refused(millrace, tmp_path):
    def error(tensors, naming="peft"):
        return millrace("export", save(tmp_path / "in.safetensors", tensors), tmp_path / "no", "--naming", naming, status=4).stderr

    whole = file_of(lambda n, k: lokr_shapes(n, k, 1000))
    refused = error(whole)
    assert "expected LoHa or LoKr of a rank that LoRA can hold" in refused
    assert "[double_blocks.0.img_attn.proj, double_blocks.0.img_attn.qkv, " in refused and " more]" in refused
    some = {"double_blocks_0_img_attn_proj": (HIDDEN, HIDDEN)}
    other = file_of(lambda n, k: lora_shapes(n, k, 2), {"double_blocks_1_img_attn_proj": (HIDDEN, HIDDEN)})
    dora = file_of(lambda n, k: lora_shapes(n, k, 2), some, lengths=True)
    for naming in ["peft", "diffusers"]:
        assert "double_blocks.0.img_attn.proj] expected no DoRA, since " in error(dora | other, naming)
    # Magnitudes of inputs have no place in PEFT.
    name = "lora_unet_double_blocks_0_img_attn_proj.dora_scale"
    assert "expected a magnitude for each of 48 outputs" in error(dora | {name: torch.ones(1, HIDDEN)})
    # The lengths of k and v are those of the base's weights.
    prefix = "transformer.transformer_blocks.0.attn.to_q"
    shapes = {"lora_A.weight": (2, HIDDEN), "lora_B.weight": (HIDDEN, 2), "lora_magnitude_vector": (HIDDEN,)}
    shapes = {f"{prefix}.{role}": shape for role, shape in shapes.items()}
    assert f"expected DoRA of all {3 * HIDDEN} outputs of double_blocks.0.img_attn.qkv" in error(random_tensors(shapes), "kohya")


def test_clip_has_lora_alone_in_diffusers_naming(millrace, tmp_path):
    layer = "lora_te1_text_model_encoder_layers_0_mlp_fc1"

    def export(shapes_of, status=0, **options):
        own = file_of(shapes_of, {"double_blocks_0_img_attn_proj": (HIDDEN, HIDDEN), "clip": (32, 8)}, **options)
        path = save(tmp_path / "lora.safetensors", {name.replace("lora_unet_clip", layer): tensor for name, tensor in own.items()})
        return millrace("export", path, tmp_path / "out.safetensors", "--naming", "diffusers", status=status).stderr, own

    _, file = export(lambda n, k: loha_shapes(n, k, 2))
    got = load(tmp_path / "out.safetensors")
    stem = "text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_linear_layer"
    w1, w2 = (file[f"lora_unet_clip.hada_w{i}_a"] @ file[f"lora_unet_clip.hada_w{i}_b"] for i in "12")
    assert relative_error(got[f"{stem}.up.weight"] @ got[f"{stem}.down.weight"], w1 * w2 * 3.0 / 2) <= TOLERANCE
    refused, _ = export(lambda n, k: lora_shapes(n, k, 2), status=4, lengths=True)
    assert f"{layer}] expected no DoRA, since diffusers takes only LoRA of CLIP" in refused


def test_several_kinds_become_one_where_they_can(millrace, forward, tmp_path):
    layers = list(LAYERS.items())
    loha = file_of(lambda n, k: loha_shapes(n, k, 2), dict(layers[::2]))
    lora = file_of(lambda n, k: lora_shapes(n, k, 3), dict(layers[1::2]), seed=50)
    path = save(tmp_path / "lora.safetensors", loha | lora)
    log = millrace("export", path, tmp_path / "peft", "--naming", "peft").stderr
    assert f"writes {len(layers[::2])} adapters, of LoHa or LoKr, as LoRA that computes the same, of rank 4" in log
    assert relative_error(peer_forward(in_peft(tmp_path / "peft")), forward(path)["output"]) <= TOLERANCE


def test_halves_of_the_final_modulation_are_in_the_other_order(millrace, forward, tmp_path):
    """And of the second matrix of a Kronecker product where the first has one row."""
    layer = {"final_layer_adaLN_modulation_1": (2 * HIDDEN, HIDDEN)}
    some = {"double_blocks_0_img_mlp_0": (4 * HIDDEN, HIDDEN), f"double_blocks_{DOUBLE - 1}_img_mlp_0": (4 * HIDDEN, HIDDEN)}
    for kind, shapes in {
        "dora": lambda n, k: lora_shapes(n, k, 2), "loha": lambda n, k: loha_shapes(n, k, 2),
        "even": lambda n, k: lokr_shapes(n, k, 2, factor=4), "one": lambda n, k: lokr_shapes(n, k, 2, factor=1),
    }.items():  # fmt: skip
        path = save(tmp_path / f"{kind}.safetensors", file_of(shapes, some | layer, lengths=kind == "dora"))
        expected = forward(path)["output"]
        millrace("export", path, tmp_path / kind, "--naming", "peft")
        assert relative_error(peer_forward(in_peft(tmp_path / kind)), expected) <= TOLERANCE, kind
        millrace("export", tmp_path / kind, tmp_path / "back.safetensors", "--naming", "kohya")
        assert relative_error(forward(tmp_path / "back.safetensors")["output"], expected) <= TOLERANCE, kind
