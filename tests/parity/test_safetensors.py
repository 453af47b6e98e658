"""Files of the safetensors library are read, ours are read by it, and damage is refused by both."""

import json
import os
import random
import struct
import subprocess
from pathlib import Path

import numpy
import pytest
import safetensors
import safetensors.torch
import torch

BUILD = Path(os.environ.get("MILLRACE", Path(__file__).parents[2] / "build" / "millrace")).parent
TOOL = BUILD / "tests" / "fuzz" / "millrace_formats_tool"

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


@pytest.fixture
def tool():
    def run(*arguments, input=None):
        result = subprocess.run([TOOL, *map(str, arguments)], input=input, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def random_bits(dtype: torch.dtype, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    size = torch.empty(0, dtype=dtype).element_size()
    high = 2 if dtype == torch.bool else 256
    bits = torch.randint(0, high, (*shape, size), dtype=torch.uint8, generator=generator)
    return bits.view(dtype).reshape(shape)


def every_dtype() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for name, dtype in DTYPES.items():
        for shape in [(), (1,), (3, 5), (0, 4), (2, 0), (7, 1, 3)]:
            tensors[f"{name}.{'x'.join(map(str, shape))}"] = random_bits(dtype, shape, generator)
    tensors['odd "name"\n\t\\ / é 😀 \x01\x7f'] = torch.arange(3)
    return tensors


def bits_of(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def test_files_of_the_library_are_read_and_written_back_byte_for_byte(tmp_path, tool):
    for metadata in [None, {"format": "pt"}]:
        safetensors.torch.save_file(every_dtype(), tmp_path / "theirs.safetensors", metadata)
        tool("copy-safetensors", tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors")
        assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    loaded = safetensors.torch.load_file(tmp_path / "ours.safetensors")
    for name, tensor in every_dtype().items():
        assert loaded[name].dtype == tensor.dtype and loaded[name].shape == tensor.shape
        assert bits_of(loaded[name]) == bits_of(tensor), name


def test_metadata_survives_and_is_sorted(tmp_path, tool):
    metadata = {"z": "last", "a": 'quotes " and \n newlines', "é": "😀"}
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "theirs.safetensors", metadata)
    tool("copy-safetensors", tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors")
    with safetensors.safe_open(tmp_path / "ours.safetensors", "pt") as file:
        assert file.metadata() == metadata
    content = (tmp_path / "ours.safetensors").read_bytes()
    header = content[8 : 8 + struct.unpack("<Q", content[:8])[0]]
    assert list(json.loads(header)["__metadata__"]) == sorted(metadata)


def test_inspect_lists_every_tensor(tmp_path, millrace):
    tensors = every_dtype()
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors", {"format": "pt"})
    report = json.loads(millrace("inspect", tmp_path / "a.safetensors", "--json").stdout)
    names = {dtype: name for name, dtype in DTYPES.items()}
    assert {entry["name"]: (entry["dtype"], entry["shape"], entry["bytes"]) for entry in report["tensors"]} == {
        name: (names[tensor.dtype], list(tensor.shape), tensor.nbytes) for name, tensor in tensors.items()
    }
    assert report["metadata"] == {"format": "pt"}
    assert report["parameter_count"] == sum(tensor.numel() for tensor in tensors.values())
    assert report["bytes"] == sum(tensor.nbytes for tensor in tensors.values())


@pytest.mark.parametrize("name", list(DTYPES))
def test_statistics_agree_with_torch(name, tmp_path, millrace):
    """Over every value of the 8- and 16-bit types, so that their decoding is checked completely."""
    dtype = DTYPES[name]
    size = torch.empty(0, dtype=dtype).element_size()
    if size <= 2 and dtype != torch.bool:
        tensors = {"x": torch.arange(256**size).to(torch.uint8 if size == 1 else torch.uint16).view(dtype)}
    else:
        tensors = {"x": random_bits(dtype, (1001, 3), torch.Generator().manual_seed(2))}
    if name in ("F32", "F64"):
        tensors["x"] = torch.cat([torch.randn(3000, dtype=dtype) + 100, torch.tensor([torch.nan, torch.inf], dtype=dtype)])
    # Also one element per tensor: a sum may hide two errors.
    for i, value in enumerate(tensors["x"].reshape(-1)[:256]):
        tensors[f"one.{i}"] = value.clone().reshape(1)
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    report = json.loads(millrace("inspect", tmp_path / "a.safetensors", "--json", "--stats").stdout)
    for entry in report["tensors"]:
        values = torch.tensor(tensors[entry["name"]].reshape(-1).to(torch.float64).numpy())
        finite = values[values.isfinite()]
        stats = entry["stats"]
        assert stats["nan"] == values.isnan().sum().item()
        assert stats["infinite"] == values.isinf().sum().item()
        if len(finite) == 0:
            assert stats["min"] is None and stats["std"] is None
            continue
        assert stats["min"] == finite.min().item() and stats["max"] == finite.max().item()
        assert stats["mean"] == pytest.approx(finite.mean().item(), rel=1e-12, abs=1e-12 * finite.abs().max().item())
        assert stats["std"] == pytest.approx(finite.std(correction=0).item(), rel=1e-9, abs=1e-12)


def test_sharded_folders_are_read_through_their_index(tmp_path, millrace):
    for i in range(2):
        safetensors.torch.save_file({f"t{i}": torch.full((3,), float(i))}, tmp_path / f"model-0000{i + 1}-of-00002.safetensors")
    index = {"weight_map": {f"t{i}": f"model-0000{i + 1}-of-00002.safetensors" for i in range(2)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    for path in [tmp_path, tmp_path / "model.safetensors.index.json"]:
        report = json.loads(millrace("inspect", path, "--json", "--stats").stdout)
        assert [entry["stats"]["mean"] for entry in report["tensors"]] == [0, 1]
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors" in millrace("inspect", tmp_path, status=4).stderr


def test_a_pickle_is_refused_with_a_way_out(tmp_path, millrace):
    for name, legacy in [("w.pt", False), ("w.safetensors", False), ("old.safetensors", True)]:
        torch.save({"x": torch.zeros(3)}, tmp_path / name, _use_new_zipfile_serialization=not legacy)
        message = millrace("inspect", tmp_path / name, status=4).stderr
        assert "pickle" in message and "weights_only=True" in message


# What we refuse and the library accepts: documented in docs/formats.md.
STRICTER = ["names that differ", "metadata keys that differ", "at most 64 dimensions", "this program knows", "nested so deep",
            "below 2^63", "fields that differ"]  # fmt: skip


def mutations(count: int):
    generator = random.Random(7)
    samples = [
        safetensors.torch.save({"a": torch.arange(6.0).reshape(2, 3), "b.c": torch.ones(5, dtype=torch.bfloat16)}, {"k": "v"}),
        safetensors.torch.save({"x": torch.zeros(0, 3), "y": torch.zeros((), dtype=torch.uint8)}),
        safetensors.torch.save({}),
    ]
    numbers = [b"0", b"1", b"4", b"8", b"24", b"-1", b"1.0", b"1e1", b"9223372036854775808", b"18446744073709551616", b"null"]
    tokens = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"F32", b"U8", b"F12", b" ", b"\0", b"\xff", b"\\u0000", b'"dtype":"F32",']
    for _ in range(count):
        text = bytearray(generator.choice(samples))
        for _ in range(generator.randint(1, 3)):
            at = generator.randrange(len(text))
            kind = generator.randrange(7)
            if kind == 0:
                text[at] ^= 1 << generator.randrange(8)
            elif kind == 1:
                del text[at:]
            elif kind == 2:
                del text[at : at + generator.randint(1, 8)]
            elif kind == 3:
                text[at:at] = generator.choice(tokens)
            elif kind == 4:
                text += bytes(generator.randint(1, 9))
            elif kind == 5:
                digits = [i for i in range(8, len(text)) if 48 <= text[i] <= 57]
                if digits:
                    at = generator.choice(digits)
                    text[at : at + 1] = generator.choice(numbers)
            if kind == 6 or generator.random() < 0.7:  # the header's length made right again, so that its text is what counts
                end = text.rfind(b"}")
                if end > 8:
                    text[:8] = struct.pack("<Q", end + 1 - 8)
                    text[end + 1 :] = bytes(generator.choice([0, 6, 24, 34, len(text) - end - 1]))
            if len(text) == 0:
                break
        yield bytes(text)


def test_damage_is_refused_as_the_library_refuses_it(tmp_path, tool):
    contents = list(mutations(4000))
    paths = []
    for i, content in enumerate(contents):
        paths.append(tmp_path / f"{i}.safetensors")
        paths[-1].write_bytes(content)
    answers = tool("check-safetensors", input="".join(f"{path}\n" for path in paths)).splitlines()
    assert len(answers) == len(contents)
    accepted = 0
    for content, answer in zip(contents, answers):
        try:
            safetensors.deserialize(content)
            theirs = "ok"
            accepted += 1
        except (safetensors.SafetensorError, OSError) as error:
            theirs = str(error)
        if theirs == "ok" and answer != "ok":
            assert any(reason in answer for reason in STRICTER), (content, answer)
        if theirs != "ok":
            assert answer != "ok", (content, theirs)
    assert 100 < accepted < 3900


def test_npy_files_go_through_byte_for_byte(tmp_path, tool):
    generator = numpy.random.default_rng(3)
    for dtype in ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]:
        for shape in [(), (1,), (3, 5), (0, 4), (2, 1, 7), (1,) * 20]:
            array = generator.integers(0, 2, shape).astype(dtype)
            numpy.save(tmp_path / "a.npy", array)
            tool("copy-npy", tmp_path / "a.npy", tmp_path / "b.npy")
            assert (tmp_path / "b.npy").read_bytes() == (tmp_path / "a.npy").read_bytes(), (dtype, shape)
    bits = numpy.asarray([0x3FC0, 0xC000], numpy.uint16)  # bfloat16, which ml_dtypes saves as two-byte voids
    numpy.save(tmp_path / "a.npy", bits.view("V2"))
    tool("copy-npy", tmp_path / "a.npy", tmp_path / "b.npy")
    assert (numpy.load(tmp_path / "b.npy") == bits).all()
