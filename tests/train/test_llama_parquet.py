"""Rows of Parquet files: what is trained is the same as of JSON lines, and memory does not grow with the files."""

import json
import os
import re
import subprocess

import pyarrow as pa
import pyarrow.parquet
import pytest
from llama_runs import COMMON, RECIPES, SHORT, arguments, empty_config, steps, train
from train_ranks import Ranks

ROWS = [row for row in json.loads((RECIPES / "chat.json").read_text()) if len(row["messages"]) == 2]
RUN = SHORT | {"finetune.no_save_model": None, "training.max_bad_samples": 0.2}
UNPACKED = re.compile(r"^unpacked \d+ rows of ", re.MULTILINE)


def write(path, rows, row_group_size=5):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pa.parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=row_group_size, use_dictionary=False)
    return path


def seen(folder):
    return [(step["loss"], step["trained_tokens"], step["sample_digest"]) for step in steps(folder)]


@pytest.mark.parametrize("cache", ["none", "disk"])
@pytest.mark.parametrize("packing", ["none", "best_fit"])
def test_rows_are_those_of_json_lines(millrace, tmp_path, cache, packing):
    """A row without an answer is skipped, and validation rows are the others of the same file."""
    rows = [*ROWS[:7], {"messages": None}, *ROWS[7:]]
    options = RUN | {
        "finetune.cache_tokens": cache, "finetune.packing": packing, "finetune.split": "train[:10]", "finetune.validation_split": "train[10:]",
        "training.local_batch_size": 1, "training.global_batch_size": 10, "validation.enable": None, "validation.freq": 2,
    }  # fmt: skip
    said = {}
    for ending in ("jsonl", "parquet"):
        data = write(tmp_path / f"rows.{ending}", rows)
        said[ending] = train(millrace, tmp_path / ending, options | {"finetune.data": data}).stderr
    assert seen(tmp_path / "jsonl") == seen(tmp_path / "parquet")
    losses = [[line["validation_loss"] for line in map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
               if "validation_loss" in line] for name in ("jsonl", "parquet")]  # fmt: skip
    assert losses[0] == losses[1] != []
    assert "rows.jsonl:8" in said["jsonl"] and "rows.parquet, row 7" in said["parquet"]
    unpacked = tmp_path / "parquet" / "rows"
    assert unpacked.exists() == bool(UNPACKED.search(said["parquet"])) == (cache == "none")
    assert not (tmp_path / "jsonl" / "rows").exists()


def test_later_starts_find_the_unpacked_rows(millrace, tmp_path):
    data = write(tmp_path / "rows.parquet", ROWS)
    options = RUN | {"finetune.data": data}
    assert len(UNPACKED.findall(train(millrace, tmp_path / "run", options).stderr)) == 1
    (file,) = (tmp_path / "run" / "rows").iterdir()
    assert [json.loads(line) for line in file.read_text().splitlines()] == pa.Table.from_pylist(ROWS).to_pylist()
    first = seen(tmp_path / "run")
    assert not UNPACKED.search(train(millrace, tmp_path / "run", options | {"training.steps": 5}).stderr)
    # What was cut is made again.
    content = file.read_bytes()
    file.write_bytes(content[:-20])
    said = train(millrace, tmp_path / "run", options | {"training.steps": 6}).stderr
    assert "they are unpacked again" in said and file.read_bytes() == content
    assert seen(tmp_path / "run")[: len(first)] == first
    # The folder has the newest rows alone.
    write(data, [*ROWS[1:], ROWS[0]])
    assert len(UNPACKED.findall(train(millrace, tmp_path / "run", options | {"training.steps": 7}).stderr)) == 1
    assert len(list(file.parent.iterdir())) == 1 and not file.exists()


def test_where_nothing_can_be_unpacked(millrace, tmp_path):
    options = RUN | {"finetune.data": write(tmp_path / "rows.parquet", ROWS)}
    train(millrace, tmp_path / "plain", options)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "rows").write_text("a file")
    said = train(millrace, tmp_path / "run", options).stderr
    assert "whenever they are needed" in said and not UNPACKED.search(said)
    assert seen(tmp_path / "run") == seen(tmp_path / "plain")


def test_cells_that_are_no_text_are_named(millrace, tmp_path):
    texts = pa.array([b"one", b"\xff", b"three", b"four", b"five", b"six"]).cast(pa.string(), safe=False)
    pa.parquet.write_table(pa.table({"text": texts}), tmp_path / "rows.parquet", row_group_size=4)
    options = RUN | {"finetune.data": tmp_path / "rows.parquet", "finetune.rows": "text", "training.global_batch_size": 6}
    said = train(millrace, tmp_path / "run", options).stderr
    assert said.count(f'skipped a row: [{tmp_path}/rows.parquet, row 1, column "text"] expected a valid cell') == 1


def peak_bytes(program, *words):
    """The largest resident set of a command."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    process = subprocess.Popen([program, *map(str, words)], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return usage.ru_maxrss * 1024


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """200 MB of rows, most of them text that is read but not trained, as Parquet in row groups of 40 MB, and a hundredth."""
    folder = tmp_path_factory.mktemp("large")
    for name, count in (("large", 10_000), ("small", 100)):
        schema = pa.schema({"text": pa.string(), "notes": pa.string()})
        with pa.parquet.ParquetWriter(folder / f"{name}.parquet", schema, use_dictionary=False) as writer:
            for begin in range(0, count, 2000):
                numbers = range(begin, min(begin + 2000, count))
                rows = {"text": [f"row {i}" for i in numbers], "notes": [os.urandom(10_000).hex() for _ in numbers]}
                writer.write_table(pa.table(rows, schema))
    assert (folder / "large.parquet").stat().st_size > 100e6
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("how", ["inspect", "none", "disk"])
def test_memory_does_not_grow_with_the_rows(program, large, tmp_path, how):
    def peak(name):
        options = COMMON | RUN | {
            "finetune.data": large / f"{name}.parquet", "finetune.rows": "text", "training.steps": 2, "training.num_workers": 2,
            "job.dump_folder": tmp_path / name,
        }  # fmt: skip
        if how == "inspect":
            return peak_bytes(program, "inspect", empty_config(tmp_path), *arguments(options))
        return peak_bytes(program, "train", empty_config(tmp_path), *arguments(options | {"finetune.cache_tokens": how}))

    small, whole = peak("small"), peak("large")
    assert whole - small < 64 * 2**20, f"{small / 2**20:.0f} MiB, {whole / 2**20:.0f} MiB"


@pytest.mark.slow
def test_ranks_share_what_is_unpacked(millrace, program, tmp_path):
    options = COMMON | RUN | {"finetune.data": write(tmp_path / "rows.parquet", ROWS), "training.local_batch_size": 2}
    train(millrace, tmp_path / "one", options)
    Ranks(program, 3, tmp_path / "many", *arguments(options), config=empty_config(tmp_path)).finish()
    assert len(list((tmp_path / "many" / "rows").iterdir())) == 1
    assert [step["sample_digest"] for step in steps(tmp_path / "many")] == [step["sample_digest"] for step in steps(tmp_path / "one")]
