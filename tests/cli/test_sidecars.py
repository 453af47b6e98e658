"""The json beside foreign pictures: what Python and `datasets` read is read, what is not needed stops nothing, and
what is needed and broken makes one bad sample. The same in training, validation, encode, clean and find-problematic."""

import io
import json
import tarfile

import datasets
import pyarrow
import pytest
import raw_sets
from datasets.arrow_writer import ArrowWriter
from tiny_flux import TINY_MODEL

datasets.disable_progress_bars()

SIZE = 16
CONFIG = f"""{TINY_MODEL}axes_dim = [4, 6, 6]
[encoder]
max_t5_encoding_len = 4
t5_encoder = "random"
clip_encoder = "random"
autoencoder_path = "random"
[training]
img_size = 16
steps = 1
local_batch_size = 4
shuffle_buffer_size = 0
mixed_precision_param = "float32"
max_bad_samples = 1
device = "cpu"
[validation]
freq = 1
[report]
enable = false
"""
SOUND = {"caption": "a caption", "i": 1, "f": 0.5, "s": "x", "b": True, "l": [1, 2], "n": None, "o": {"k": 1}}


def text_of(**changes):
    return json.dumps(SOUND | changes).encode()


def with_value(value):
    """A document with that text in place of the value of a field that no column has."""
    return text_of(surplus=0).replace(b'"surplus": 0', b'"surplus": ' + value)


# Documents by name. Python reads them all; which of them fit the columns that SOUND makes, `datasets` is asked.
READABLE = {
    "sound": text_of(),
    "NaN": text_of(f=float("nan")),
    "Infinity": text_of(f=float("inf")),
    "-Infinity": text_of(f=float("-inf")),
    "overflow": text_of(f=777).replace(b"777", b"1e999"),
    "NaN for a whole number": text_of(i=float("nan")),
    "Infinity for a whole number": text_of(i=float("inf")),
    "NaN for a flag": text_of(b=float("nan")),
    "repeated key": text_of()[:-1] + b', "i": 7}',
    "repeated key of another type": text_of()[:-1] + b', "i": "x"}',
    "whole number of 63 bits": text_of(i=2**63 - 1),
    "whole number of 64 bits": text_of(i=2**63),
    "whole number of 70 bits": text_of(i=2**70),
    "large whole number for a fraction": text_of(f=2**70),
    "large whole number for a text": text_of(s=2**70),
    "whole number of 4300 digits that no column has": with_value(b"1" * 4300),
    "half a pair": text_of(s="\ud800"),
    "half a pair that no column has": text_of(surplus="\ud800"),
    "half a pair as a key": text_of(**{"\udc00": 1}),
    "half a pair in bytes": text_of(s="QQ").replace(b"QQ", b"\xed\xa0\x80"),
    "whole pair": text_of(s="😀"),
    "zero character": text_of(s="\0"),
    "byte order mark": b"\xef\xbb\xbf" + text_of(),
    "UTF-16": text_of().decode().encode("utf-16"),
    "UTF-16, big-endian, no mark": text_of().decode().encode("utf-16-be"),
    "UTF-32": text_of().decode().encode("utf-32"),
    "50 levels": with_value(b"[" * 50 + b"]" * 50),
    "900 levels": with_value(b'{"a":' * 450 + b"[" * 450 + b"]" * 450 + b"}" * 450),
    "3 MB": text_of(surplus="A" * 3_000_000),
    "whole number with a fraction": text_of(i=3.5),
    "flag for a number": text_of(i=True, f=False),
    "number for a flag": text_of(b=0.0),
    "number for a text": text_of(s=1e22),
    "text for a number": text_of(i=" 12 ", f="nan"),
    "words for a number": text_of(i="twelve"),
    "list of fractions": text_of(l=[1.0, 2.5]),
    "list of whole fractions": text_of(l=[1.0, 2.0]),
    "list of texts": text_of(l=["a"]),
    "object for a list": text_of(l={"a": 1}),
    "value where there was none": text_of(n=1),
    "no fields": b"{}",
    "null": b"null",
    "list": b"[1]",
    "number": b"NaN",
    "list for an object": text_of(o=[1]),
    "null for an object": text_of(o=None),
}
UNREADABLE = {
    "empty": b"",
    "cut": text_of()[:-9],
    "trailing comma": text_of()[:-1] + b",}",
    "latin-1": text_of(s="é").replace(b"\\u00e9", b"\xe9"),
    "tab in a text": text_of(s="QQ").replace(b"QQ", b"\t"),
    "two documents": text_of() + text_of(),
    "zero byte behind": text_of() + b"\0",
    "single quotes": text_of().replace(b'"', b"'"),
    "2000 levels": with_value(b"[" * 2000 + b"]" * 2000),
    "4301 digits": with_value(b"1" * 4301),
}


def picture(i=0, side=SIZE):
    return raw_sets.encode(raw_sets.photo(side, side, i), "PNG")


def write_shard(path, samples):
    """samples: a dictionary of extension to content for each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for i, sample in enumerate(samples):
            for extension, content in sample.items():
                raw_sets.add(tar, f"{i:06}.{extension}", content)
    return path.parent


def columns_of(content):
    table = pyarrow.Table.from_pylist([{"json": json.loads(content)}])
    return datasets.Features.from_arrow_schema(table.schema)


def fits_datasets(features, content):
    """Whether `datasets` writes the document into these columns, as load_dataset("webdataset") does."""
    try:
        with ArrowWriter(features=features, stream=pyarrow.BufferOutputStream()) as writer:
            writer.write(features.encode_example({"json": json.loads(content)}))
            writer.finalize()
        return True
    except Exception:
        return False


def test_find_problematic_and_clean_take_what_datasets_takes(millrace, tmp_path):
    documents = READABLE | UNREADABLE
    samples = [text_of()] * 5 + list(documents.values())
    write_shard(tmp_path / "raw" / "a.tar", [{"png": picture(), "json": content} for content in samples])
    features = columns_of(text_of())
    fits = {name: fits_datasets(features, content) for name, content in documents.items()}
    assert not any(fits[name] for name in UNREADABLE) and 20 < sum(fits.values()) < len(READABLE) - 9

    millrace("prepare", "find-problematic", "--input", "raw", "--output", "list.txt", "--reasons", "why.tsv")
    listed = {int(line) for line in (tmp_path / "list.txt").read_text().split()}
    why = (tmp_path / "why.tsv").read_text()
    assert {name for i, name in enumerate(documents, 5) if i in listed} == {name for name in fits if not fits[name]}, why
    assert not listed & set(range(5))

    millrace("prepare", "clean", "--input", "raw", "--output", "out", "--output-size", SIZE, "--max-bad-samples", 1)
    rows = datasets.load_from_disk(tmp_path / "out")
    assert rows.features["json"] == features["json"]
    kept = [name for i, name in enumerate(documents, 5) if i not in listed]
    for name, row in zip(kept, rows["json"][5:], strict=True):
        encoded = features.encode_example({"json": json.loads(documents[name])})["json"]
        expected = encoded and {key: encoded[key] for key in SOUND}
        assert repr(row) == repr(expected) or name == "list of whole fractions", name  # repr: NaN is not NaN


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_one_that_cannot_be_read_among_the_first_is_one_bad_sample(millrace, tmp_path, name, place):
    contents = [text_of(i=i) for i in range(8)]
    contents[place] = UNREADABLE[name]
    write_shard(tmp_path / "raw" / "a.tar", [{"png": picture(), "json": content} for content in contents])
    millrace("prepare", "find-problematic", "--input", "raw", "--output", "list.txt")
    assert (tmp_path / "list.txt").read_text() == f"{place}\n"
    result = millrace("prepare", "clean", "--input", "raw", "--output", "out", "--output-size", SIZE, "--max-bad-samples", 0.2)
    assert f"00000{place}.json" in result.stderr
    rows = datasets.load_from_disk(tmp_path / "out")
    assert [row["i"] for row in rows["json"]] == [i for i in range(8) if i != place]
    assert "got 1 of 8" in millrace("prepare", "clean", "--input", "raw", "--output", "strict", "--output-size", SIZE, status=3).stderr


@pytest.mark.parametrize(
    "first",
    [[b""] * 6, [b"{"] * 5, [text_of(i="x"), text_of()], [text_of(), text_of(i=2**70)], [text_of(s="\ud800")], [with_value(b"[" * 99 + b"]" * 99)]],
    ids=["six empty", "five cut", "another type first", "a large number", "half a pair", "deep"],
)
def test_the_first_samples_never_stop_the_command(millrace, tmp_path, first):
    contents = first + [text_of()] * 6
    write_shard(tmp_path / "raw" / "a.tar", [{"png": picture(), "json": content} for content in contents])
    millrace("prepare", "find-problematic", "--input", "raw", "--output", "list.txt")
    millrace("prepare", "clean", "--input", "raw", "--output", "out", "--output-size", SIZE, "--max-bad-samples", 1)
    listed = (tmp_path / "list.txt").read_text().split()
    assert len(datasets.load_from_disk(tmp_path / "out")) == len(contents) - len(listed) > 0
    assert len(listed) <= 6


def test_other_kinds_of_files_among_the_first_are_columns_too(millrace, tmp_path):
    samples = [{"png": picture(), "json": text_of()} for _ in range(6)]
    samples[0] = {"png": picture()}
    samples[2]["txt"] = b"a caption"
    write_shard(tmp_path / "raw" / "a.tar", samples)
    millrace("prepare", "clean", "--input", "raw", "--output", "out", "--output-size", SIZE)
    rows = datasets.load_from_disk(tmp_path / "out")
    assert rows["txt"][:] == [None, None, "a caption", None, None, None]
    assert [row and row["i"] for row in rows["json"]] == [None, 1, 1, 1, 1, 1]


# Training, validation and encode: how many samples they take.


def counts(millrace, tmp_path, folder, kind="webdataset"):
    """Samples that validation and encode take of the set; encode asks of a sample what training asks."""
    (tmp_path / "config.toml").write_text(CONFIG)
    plain = write_shard(tmp_path / "plain" / "a.tar", [{"png": picture(), "txt": b"a caption"}] * 4)
    millrace("train", "config.toml", f"--training.dataset_path={plain}", "--validation.enable", f"--validation.dataset={kind}",
             f"--validation.dataset_path={folder}", "--job.dump_folder=v")  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "v" / "metrics.jsonl").read_text().splitlines()]
    (validated,) = [line["validation_samples"] for line in lines if "validation_samples" in line]
    millrace("prepare", "encode", "config.toml", f"--training.dataset_path={folder}", f"--training.dataset={kind}", "--output", "e")
    return validated, len(datasets.load_from_disk(tmp_path / "e"))


NOT_NEEDED = UNREADABLE | {
    "40 levels": with_value(b"[" * 40 + b"]" * 40),
    "68 MB": text_of(surplus="A" * 68_000_000),
    "timestep of another kind": text_of(timestep="two"),
    "timestep out of range": text_of(timestep=999),
    "large timestep": text_of(timestep=2**70),
}


def test_a_json_that_is_not_needed_is_as_none(millrace, tmp_path):
    samples = [{"png": picture(i), "txt": b"a caption", "json": content} for i, content in enumerate(NOT_NEEDED.values())]
    folder = write_shard(tmp_path / "set" / "a.tar", samples)
    assert counts(millrace, tmp_path, folder) == (len(samples), len(samples))


def test_a_caption_comes_from_every_json_that_python_reads(millrace, tmp_path):
    """Without a txt the json is needed: those without a caption or that cannot be read are bad samples, counted and named."""
    documents = READABLE | UNREADABLE
    folder = write_shard(tmp_path / "set" / "a.tar", [{"png": picture(), "json": content} for content in documents.values()])
    good = [name for name, content in READABLE.items() if isinstance(json.loads(content), dict) and "caption" in json.loads(content)]
    assert len(good) > len(READABLE) - 6
    assert counts(millrace, tmp_path, folder) == (len(good), len(good))
    found = json.loads((tmp_path / "e" / "millrace.json").read_text())["result"]
    assert found["bad"] == len(documents) - len(good)
    assert f"{list(documents).index('cut'):06}" in str(found["problems"])


def test_a_needed_timestep_that_cannot_be_read_makes_a_bad_sample(millrace, tmp_path):
    with_timestep = [text_of(timestep=i % 8) for i in range(9)]
    bad = [b"", b"{", text_of(timestep=9), text_of(timestep="x"), text_of(timestep=float("nan")), text_of(timestep=2**70)]
    good = [text_of(timestep=3, f=float("nan")), text_of(timestep=3, s="\ud800"), b"\xef\xbb\xbf" + text_of(timestep=3)]
    contents = with_timestep + bad + good
    for kind in ("coco", "webdataset"):
        samples = [{"png": picture(), "txt": b"a caption", "json": content} for content in contents]
        folder = write_shard(tmp_path / kind / "set" / "a.tar", samples)
        (tmp_path / "config.toml").write_text(CONFIG)
        millrace("train", "config.toml", "--training.dataset_path=" + str(folder), "--validation.enable", f"--validation.dataset={kind}",
                 f"--validation.dataset_path={folder}", f"--job.dump_folder={kind}/run")  # fmt: skip
        lines = [json.loads(line) for line in (tmp_path / kind / "run" / "metrics.jsonl").read_text().splitlines()]
        assert [line["validation_samples"] for line in lines if "validation_samples" in line] == [len(contents) - len(bad)]
    result = millrace("prepare", "encode", "config.toml", f"--training.dataset_path={folder}", "--training.dataset=coco", "--output", "e")
    assert f"left out {len(bad)} bad ones" in result.stdout
    assert datasets.load_from_disk(tmp_path / "e")["timestep"][-3:] == [3, 3, 3]
