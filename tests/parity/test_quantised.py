"""`millrace forward flux --base-storage ...`: against the same model with its weights rounded by torch, and from GGUF files."""

import ctypes
import json
import re
from pathlib import Path

import pytest
import torch
import xllamacpp
from gguf_files import flux_in_blocks, q8_0, write_gguf
from helpers import assert_agree, load, random_tensors, relative_error, save

ROOT = Path(__file__).resolve().parents[2]
HIDDEN, HEAD, CONTEXT, POOLED, CHANNELS = 256, 128, 64, 32, 16


def linear(shapes, name, outputs, inputs):
    shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)


def weights(seed=3):
    """A FLUX of one double and one single block, in Black Forest's naming."""
    shapes = {}
    linear(shapes, "img_in", HIDDEN, CHANNELS)
    linear(shapes, "txt_in", HIDDEN, CONTEXT)
    for name, inputs in [("time_in", 256), ("vector_in", POOLED)]:
        linear(shapes, f"{name}.in_layer", HIDDEN, inputs)
        linear(shapes, f"{name}.out_layer", HIDDEN, HIDDEN)
    for stream in ["img", "txt"]:
        block = f"double_blocks.0.{stream}"
        linear(shapes, f"{block}_mod.lin", 6 * HIDDEN, HIDDEN)
        linear(shapes, f"{block}_attn.qkv", 3 * HIDDEN, HIDDEN)
        linear(shapes, f"{block}_attn.proj", HIDDEN, HIDDEN)
        linear(shapes, f"{block}_mlp.0", 4 * HIDDEN, HIDDEN)
        linear(shapes, f"{block}_mlp.2", HIDDEN, 4 * HIDDEN)
        for norm in ["query_norm", "key_norm"]:
            shapes[f"{block}_attn.norm.{norm}.scale"] = (HEAD,)
    linear(shapes, "single_blocks.0.linear1", 7 * HIDDEN, HIDDEN)
    linear(shapes, "single_blocks.0.linear2", HIDDEN, 5 * HIDDEN)
    linear(shapes, "single_blocks.0.modulation.lin", 3 * HIDDEN, HIDDEN)
    for norm in ["query_norm", "key_norm"]:
        shapes[f"single_blocks.0.norm.{norm}.scale"] = (HEAD,)
    linear(shapes, "final_layer.linear", CHANNELS, HIDDEN)
    linear(shapes, "final_layer.adaLN_modulation.1", 2 * HIDDEN, HIDDEN)
    tensors = random_tensors(shapes, seed, scale=1 / 16)
    for name in tensors:
        if name.endswith(".scale"):
            tensors[name] += 1
    return tensors


def inputs():
    made = random_tensors({"img": (2, 6, CHANNELS), "txt": (2, 5, CONTEXT), "y": (2, POOLED), "grad_output": (2, 6, CHANNELS)}, 5)
    made["img_ids"] = torch.randint(0, 4, (2, 6, 3), generator=torch.Generator().manual_seed(1)).float()
    made["txt_ids"] = torch.zeros(2, 5, 3)
    made["timesteps"] = torch.tensor([0.25, 0.75])
    return made


@pytest.fixture
def forward(millrace, tmp_path):
    save(tmp_path / "inputs.safetensors", inputs())

    def run(path, *options):
        millrace("forward", "flux", "--weights", path, "--inputs", tmp_path / "inputs.safetensors",
                 "--outputs", tmp_path / "outputs.safetensors", "--gradients", *options)  # fmt: skip
        return load(tmp_path / "outputs.safetensors")

    return run


def is_stored(name):
    return "_blocks." in name and name.endswith(".weight")


def per_row(tensor, largest, encode):
    scale = tensor.abs().amax(1, keepdim=True) / largest
    return encode(tensor / scale) * scale


def e4m3(tensor):
    return tensor.to(torch.float8_e4m3fn).float()


ROUNDED = {
    "fp8": lambda name, x: per_row(x, 448, e4m3) if is_stored(name) else x,
    "int8": lambda name, x: per_row(x, 127, torch.round) if is_stored(name) else x,
    # As sd-scripts has it: every parameter, biases and norms too.
    "fp8_unscaled": lambda name, x: e4m3(x),
}


@pytest.mark.parametrize("storage", ROUNDED)
def test_outputs_and_gradients_are_those_of_the_rounded_model(storage, forward, tmp_path):
    dense = weights()
    rounded = {name: ROUNDED[storage](name, tensor) for name, tensor in dense.items()}
    got = forward(save(tmp_path / "dense.safetensors", dense), "--base-storage", storage)
    expected = forward(save(tmp_path / "rounded.safetensors", rounded))
    assert not any(is_stored(name.removeprefix("grad.")) for name in got)
    assert_agree(got, {name: tensor for name, tensor in expected.items() if name in got}, 1e-5)
    assert {"output", "grad.img", "grad.y", "grad.img_in.weight"} <= set(got)


@pytest.mark.parametrize("storage", ["nf4", "nf4_torchao"])
def test_four_bits_stay_near_the_model(storage, forward, tmp_path):
    path = save(tmp_path / "dense.safetensors", weights())
    got, dense = forward(path, "--base-storage", storage)["output"], forward(path)["output"]
    error = relative_error(got, dense)
    assert 0.01 < error < 0.5
    # bf16 rounds less than four bits do: it adds less than there is.
    in_bf16 = forward(path, "--base-storage", storage, "--dtype", "bf16")["output"]
    assert relative_error(in_bf16, dense) < 2 * error


def test_the_error_of_the_output_is_as_documented(forward, tmp_path):
    rows = re.findall(r"^\| `([a-z]\w+)` \|.*\| ([\d.]+) \|$", (ROOT / "docs/quantised.md").read_text(), re.MULTILINE)
    documented = {kind: float(error) for kind, error in rows}
    assert set(documented) == {*ROUNDED, "dense", "nf4", "nf4_torchao"}
    path = save(tmp_path / "dense.safetensors", weights())
    dense = forward(path)["output"]
    for kind, error in documented.items():
        assert relative_error(forward(path, "--base-storage", kind)["output"], dense) == pytest.approx(error, rel=0.1), kind


# ggml's numbers of the types.
GGUF_TYPES = {"Q8_0": 8, "Q6_K": 14, "Q5_K": 13, "Q5_1": 7, "Q5_0": 6, "Q4_K": 12, "Q4_1": 3, "Q4_0": 2, "F16": 1, "BF16": 30}
GGML = ctypes.CDLL(str(Path(xllamacpp.__file__).with_name("xllamacpp.abi3.so")))
GGML.ggml_quantize_chunk.restype = ctypes.c_size_t
GGML.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]


def made_by_llama_cpp(tensor, kind):
    """The bytes that it makes of a matrix, without an importance matrix."""
    content = ctypes.create_string_buffer(4 * tensor.numel())
    size = GGML.ggml_quantize_chunk(GGUF_TYPES[kind], tensor.data_ptr(), content, 0, *tensor.shape, None)
    return content.raw[:size]


@pytest.mark.parametrize("kind", GGUF_TYPES)
def test_bits_and_errors_of_gguf_types_are_as_documented(forward, millrace, tmp_path, kind):
    row = re.search(rf"^\| `{kind}` \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", (ROOT / "docs/quantised.md").read_text(), re.MULTILINE)
    bits, of_weights, of_output = map(float, row.groups())
    dense, name = weights(), "single_blocks.0.linear1.weight"
    stored = {other: (tensor.shape, 0, tensor.numpy().tobytes()) for other, tensor in dense.items()}
    for other in filter(is_stored, dense):
        stored[other] = (dense[other].shape, GGUF_TYPES[kind], made_by_llama_cpp(dense[other], kind))
    path = write_gguf(tmp_path / "flux.gguf", stored)
    assert 8 * len(stored[name][2]) / dense[name].numel() == pytest.approx(bits, abs=0.005)
    millrace("export", path, tmp_path / "unpacked.safetensors", "--dtype", "fp32", "--naming", "bfl")
    assert relative_error(load(tmp_path / "unpacked.safetensors")[name], dense[name]) == pytest.approx(of_weights, rel=0.1)
    expected = forward(save(tmp_path / "dense.safetensors", dense))["output"]
    assert relative_error(forward(path, "--base-storage", "gguf")["output"], expected) == pytest.approx(of_output, rel=0.1)


def test_gguf_files_are_read_dense_or_kept_in_blocks(forward, millrace, tmp_path):
    path, values = flux_in_blocks(tmp_path / "flux.gguf", weights())
    expected = forward(save(tmp_path / "values.safetensors", values))
    assert_agree(forward(path), expected, 1e-6)
    in_blocks = forward(path, "--base-storage", "gguf")
    assert_agree(in_blocks, {name: expected[name] for name in in_blocks}, 1e-5)
    report = json.loads(millrace("inspect", path, "--json").stdout)
    assert report["parameters_by_dtype"]["Q8_0"] == sum(tensor.numel() for name, tensor in values.items() if is_stored(name))


def test_adapters_are_merged_into_files_of_fewer_bits(millrace, tmp_path):
    """fp8 stays fp8; blocks of a GGUF file become fp32."""
    dense, layer, stem = weights(), "single_blocks.0.linear2", "lora_unet_single_blocks_0_linear2"
    adapter = random_tensors({f"{stem}.lora_down.weight": (4, 5 * HIDDEN), f"{stem}.lora_up.weight": (HIDDEN, 4)}, 7)
    lora = save(tmp_path / "lora.safetensors", adapter | {f"{stem}.alpha": torch.tensor(2.0)})
    change = 0.25 * (adapter[f"{stem}.lora_up.weight"] @ adapter[f"{stem}.lora_down.weight"])  # half of alpha / rank

    def merged(path, strength=0.5):
        millrace("export", path, tmp_path / "merged.safetensors", "--merge", lora, "--strength", strength)
        return load(tmp_path / "merged.safetensors")

    fp8 = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in dense.items()}
    got = merged(save(tmp_path / "fp8.safetensors", fp8))
    assert all(tensor.dtype == torch.float8_e4m3fn for tensor in got.values()) and got.keys() == fp8.keys()
    expected = fp8[f"{layer}.weight"].float() + change
    assert (got[f"{layer}.weight"].float() - expected).abs().max() <= expected.abs().max() / 16
    assert (got[f"{layer}.weight"].float() - expected).norm() <= 0.04 * expected.norm()
    assert got["single_blocks.0.linear1.weight"].float().equal(fp8["single_blocks.0.linear1.weight"].float())

    beyond = merged(tmp_path / "fp8.safetensors", strength=1e6)[f"{layer}.weight"].float()
    assert beyond.isfinite().all() and beyond.abs().max() == 448  # the largest number, where torch has none

    content, values = q8_0(dense[f"{layer}.weight"])
    stored = {name: (tensor.shape, 0, tensor.numpy().tobytes()) for name, tensor in dense.items()}
    path = write_gguf(tmp_path / "flux.gguf", stored | {f"{layer}.weight": (values.shape, 8, content)})
    got = merged(path)
    assert torch.allclose(got[f"{layer}.weight"], values + change, atol=1e-6) and got["img_in.weight"].equal(dense["img_in.weight"])
    refused = millrace("export", path, tmp_path / "merged.gguf", "--merge", lora, status=2).stderr
    assert "for flux, got GGUF, which is only written for language models" in refused


def test_what_cannot_be_is_refused(millrace, tmp_path):
    path = save(tmp_path / "dense.safetensors", weights())
    save(tmp_path / "inputs.safetensors", inputs())
    command = ["forward", "flux", "--weights", path, "--inputs", tmp_path / "inputs.safetensors", "--outputs", tmp_path / "o.safetensors"]
    assert "(try nf4)" in millrace(*command, "--base-storage", "nf44", status=2).stderr
    assert "expected a GGUF file" in millrace(*command, "--base-storage", "gguf", status=2).stderr
