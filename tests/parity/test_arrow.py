"""Arrow files against `datasets` and pyarrow: we read what they write in the same way, and they open what we write."""

import json
import random
import subprocess
from pathlib import Path

import datasets
import numpy
import pyarrow
import pytest

TOOL = Path(__file__).resolve().parents[2] / "build" / "tests" / "parity" / "millrace_arrow_tool"
datasets.disable_progress_bars()


def tool(*arguments, status=0, **options):
    result = subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True, **options)
    assert result.returncode == status, result.stderr
    return result.stderr if status else result.stdout


def read_rows(path):
    return json.loads(tool("rows", path))


def expected_cell(value):
    if isinstance(value, dict):
        value = value["bytes"]
        return "null bytes" if value is None else value.hex()
    if isinstance(value, str):
        return value.encode().hex()
    return value.hex() if isinstance(value, bytes) else value


def assert_reads_as(path, table):
    """The tool's cells are pyarrow's, types and nulls included."""
    got = read_rows(path)
    assert got["columns"] == [[field.name, str(field.type)] for field in table.schema]
    assert got["damage"] == ""
    assert got["rows"] == [[expected_cell(cell) for cell in row.values()] for row in table.to_pylist()]
    return got


def write_stream(path, table, max_rows=None, file_format=False, **options):
    make = pyarrow.ipc.new_file if file_format else pyarrow.ipc.new_stream
    with make(path, table.schema, **options) as writer:
        writer.write_table(table, max_chunksize=max_rows)


def random_table(rows, seed):
    generator = random.Random(seed)

    def column(make, kind):
        return pyarrow.array([None if generator.random() < 0.2 else make() for _ in range(rows)], kind)

    def blob():
        return generator.randbytes(generator.randrange(40))

    def text():
        return "".join(generator.choice("aé猫🐈\n\t ") for _ in range(generator.randrange(20)))

    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = {
        kind: column(text, kind) for kind in ("string", "large_string", "string_view")
    } | {kind: column(blob, kind) for kind in ("binary", "large_binary", "binary_view")}
    for kind in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"):
        limit = numpy.iinfo(kind)
        columns[kind] = column(lambda limit=limit: generator.randint(limit.min, limit.max), kind)
    columns["bool"] = column(lambda: generator.random() < 0.5, "bool")
    columns["null"] = pyarrow.nulls(rows)
    columns["image"] = column(lambda: {"bytes": blob() if generator.random() < 0.8 else None, "path": text()}, image)
    return pyarrow.table(columns)


@pytest.mark.parametrize("rows, max_rows", [(0, None), (1, 1), (257, 50), (1000, 999)])
@pytest.mark.parametrize("file_format", [False, True])
def test_reads_every_type(tmp_path, rows, max_rows, file_format):
    table = random_table(rows, seed=rows)
    write_stream(tmp_path / "x.arrow", table, max_rows, file_format)
    got = assert_reads_as(tmp_path / "x.arrow", table)
    assert got["batches"] == (0 if rows == 0 else -(-rows // max_rows))


def test_reads_slices_and_misaligned_messages(tmp_path):
    """Offsets that do not begin at zero, and Arrow's old framing, whose messages lie on multiples of four only."""
    table = random_table(300, seed=4).slice(113, 100)
    options = pyarrow.ipc.IpcWriteOptions(use_legacy_format=True, metadata_version=pyarrow.ipc.MetadataVersion.V4)
    plain = table.drop_columns(["string_view", "binary_view"])
    write_stream(tmp_path / "x.arrow", plain, 30, options=options)
    assert_reads_as(tmp_path / "x.arrow", plain)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A data set of several files with several record batches each, as `datasets` saves it."""
    folder = tmp_path_factory.mktemp("saved") / "set"
    picture = numpy.arange(8 * 8 * 3, dtype=numpy.uint8).reshape(8, 8, 3)
    data = datasets.Dataset.from_dict(
        {
            "__key__": [f"{i:04}" for i in range(2500)],
            "mean": [bytes([i % 256]) * (i % 7) for i in range(2500)],
            "timestep": [None if i % 3 == 0 else i % 8 for i in range(2500)],
            "png": [picture + i % 5 if i % 9 else None for i in range(2500)],
        },
        features=datasets.Features(
            {
                "__key__": datasets.Value("string"),
                "mean": datasets.Value("binary"),
                "timestep": datasets.Value("int32"),
                "png": datasets.Image(),
            }
        ),
    )
    data.save_to_disk(folder, num_shards=2)
    return folder


def test_reads_what_datasets_saves(saved):
    files = tool("list", saved).split()
    assert [Path(file).name for file in files] == ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    for file in files:
        got = assert_reads_as(file, pyarrow.ipc.open_stream(file).read_all())
        assert got["batches"] > 1
        assert json.loads(got["metadata"])["info"]["features"]["png"] == {"_type": "Image"}
    assert tool("list", f"{saved}/*").split() == files
    assert tool("list", files[1]).split() == files[1:]
    assert tool("list", str(saved)[:-2] + "*").split() == files, "a folder among a pattern's matches"


def test_lists_files_in_the_order_of_the_state(tmp_path, saved):
    for name in ("a.arrow", "b.arrow", "cache-1.arrow"):
        (tmp_path / name).write_bytes((saved / "data-00000-of-00002.arrow").read_bytes())
    state = {"_data_files": [{"filename": "b.arrow"}, {"filename": "a.arrow"}]}
    (tmp_path / "state.json").write_text(json.dumps(state))
    assert [Path(file).name for file in tool("list", tmp_path).split()] == ["b.arrow", "a.arrow"]
    (tmp_path / "state.json").unlink()
    assert len(tool("list", tmp_path).split()) == 3


@pytest.mark.parametrize(
    "state, message",
    [
        ('{"_data_files": [{"filename": "../x.arrow"}]}', "in this folder"),
        ('{"_data_files": [{"filename": "gone.arrow"}]}', "gone.arrow"),
        ('{"_data_files": [3]}', "filename"),
        ('{"_data_files": []}', "no .arrow file"),
        ("{}", "_data_files"),
        ("{", "state.json"),
    ],
)
def test_refuses_a_broken_folder(tmp_path, state, message):
    (tmp_path / "state.json").write_text(state)
    assert message in tool("list", tmp_path, status=3)


def test_refuses_what_is_no_single_data_set(tmp_path, saved):
    data = datasets.load_from_disk(saved)
    datasets.DatasetDict({"train": data.select(range(5)), "test": data.select(range(3))}).save_to_disk(tmp_path / "dict")
    message = tool("list", tmp_path / "dict", status=3)
    assert f"{tmp_path}/dict/train or {tmp_path}/dict/test" in message
    assert len(tool("list", tmp_path / "dict" / "test").split()) == 1
    (tmp_path / "empty").mkdir()
    for path in ("empty", "gone", "*.arrow"):
        assert str(tmp_path / path) in tool("list", tmp_path / path, status=3)


def test_a_file_cut_short_keeps_its_whole_batches(tmp_path):
    table = random_table(90, seed=9)
    for file_format in (False, True):
        write_stream(tmp_path / "x.arrow", table, 30, file_format)
        content = (tmp_path / "x.arrow").read_bytes()
        seen = set()
        for size in range(0, len(content), len(content) // 20):
            (tmp_path / "cut.arrow").write_bytes(content[:size])
            result = subprocess.run([TOOL, "rows", tmp_path / "cut.arrow"], capture_output=True, text=True)
            if result.returncode:
                assert result.returncode == 3 and "cut.arrow" in result.stderr
                continue
            got = json.loads(result.stdout)
            assert got["damage"] and len(got["rows"]) == 30 * got["batches"]
            seen.add(got["batches"])
        assert {0, 1, 2} <= seen


def test_says_what_it_cannot_read(tmp_path):
    table = pyarrow.table({"a": ["x", "y"] * 1000})
    write_stream(tmp_path / "packed.arrow", table, options=pyarrow.ipc.IpcWriteOptions(compression="zstd"))
    assert "compressed" in tool("rows", tmp_path / "packed.arrow", status=3)
    (tmp_path / "text.arrow").write_text("not an Arrow file at all\n" * 10)
    assert "text.arrow" in tool("rows", tmp_path / "text.arrow", status=3)

    table = pyarrow.table({"d": pyarrow.array(["x", "y"]).dictionary_encode(), "f": [0.5, 1.5], "s": ["x", "y"]})
    write_stream(tmp_path / "types.arrow", table)
    for row, text in zip(read_rows(tmp_path / "types.arrow")["rows"], ("78", "79"), strict=True):
        assert "dictionary" in row[0]["error"] and '"f"' in row[1]["error"] and "double" in row[1]["error"]
        assert row[2] == text


def test_datasets_opens_what_we_write(tmp_path):
    generator = random.Random(3)
    columns = [["key", "string"], ["blob", "binary"], ["i", "int32"], ["l", "int64"], ["x", "double"], ["b", "bool"], ["png", "image"]]

    def blob():
        return {"hex": generator.randbytes(generator.randrange(64)).hex()}

    def row(i):
        cells = [f"kéy {i}", blob(), i - 50, i << 40, i / 3, i % 2, blob()]
        return [None if generator.random() < 0.2 else cell for cell in cells]

    files = [[row(i) for i in range(count)] for count in (2300, 1, 999)]
    content = json.dumps({"columns": columns, "files": files, "split": "train"})
    for name in ("a", "b"):
        tool("write", tmp_path / name, input=content)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), "the same rows give the same bytes"

    data = datasets.load_from_disk(tmp_path / "a").cast_column("png", datasets.Image(decode=False))
    assert data.features["png"] == datasets.Image(decode=False)
    assert [data.features[name].dtype for name, _ in columns[:-1]] == ["string", "binary", "int32", "int64", "float64", "bool"]
    assert data.split == "train"

    def value(cell, kind):
        if kind == "image":
            return cell and {"bytes": bytes.fromhex(cell["hex"]), "path": None}
        return bytes.fromhex(cell["hex"]) if isinstance(cell, dict) else cell

    expected = [row for file in files for row in file]
    assert len(data) == len(expected)
    for got, row in zip(data, expected, strict=True):
        assert list(got.values()) == [value(cell, kind) for cell, (_, kind) in zip(row, columns, strict=True)]
    # And saved again by `datasets`, nothing changes.
    data.save_to_disk(tmp_path / "again", num_shards=1)
    again = read_rows(tmp_path / "again" / "data-00000-of-00001.arrow")
    ours = [row for file in tool("list", tmp_path / "a").split() for row in read_rows(file)["rows"]]
    assert [[cell for cell in row if not isinstance(cell, dict)] for row in again["rows"]] == [
        [cell for cell in row if not isinstance(cell, dict)] for row in ours
    ]
    first = pyarrow.ipc.open_stream(tmp_path / "a" / "data-00000-of-00003.arrow")
    assert [batch.num_rows for batch in first] == [1000, 1000, 300]
    assert first.schema.metadata == pyarrow.ipc.open_stream(tmp_path / "a" / "data-00001-of-00003.arrow").schema.metadata


@pytest.mark.parametrize(
    "kind, cell, message",
    [("int32", 1 << 31, "32 bits"), ("int64", "text", "column's type"), ("image", "text", "column's type"), ("bool", 0.5, "type")],
)
def test_a_cell_of_another_type_leaves_no_file(tmp_path, kind, cell, message):
    content = json.dumps({"columns": [["a", kind]], "files": [[[cell]]]})
    assert message in tool("write", tmp_path / "out", input=content, status=3)
    assert list((tmp_path / "out").iterdir()) == []
