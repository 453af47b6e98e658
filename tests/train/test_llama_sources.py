"""Where the rows of a language model come from: every kind of file, folders, data sets of the hub, weights."""

import json

import pyarrow as pa
import pyarrow.parquet
import pytest
from llama_runs import COMMON, RECIPES, SHORT, logged, train

ROWS = [row for row in json.loads((RECIPES / "chat.json").read_text()) if len(row["messages"]) == 2][:12]
ONE_STEP = SHORT | {"training.local_batch_size": 12, "training.global_batch_size": 12, "training.steps": 1}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=5)
    else:
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
    return path


def outcome(millrace, folder, options):
    options = COMMON | ONE_STEP | {"finetune.no_save_model": None} | options
    train(millrace, folder, options)
    (step,) = logged(folder, "loss")
    return step["loss"], step["tokens"]


def test_every_kind_of_file_holds_the_same_rows(millrace, tmp_path):
    outcomes = {
        ending: outcome(millrace, tmp_path / ending, {"finetune.data": write(tmp_path / f"rows.{ending}", ROWS)})
        for ending in ("jsonl", "parquet", "arrow")
    }
    assert len(set(outcomes.values())) == 1, outcomes


def test_a_data_set_of_the_hub_is_found_where_it_was_fetched(millrace, tmp_path):
    name = {"finetune.data": "someone/talk", "finetune.split": "train[:6]"}
    missing = train(millrace, tmp_path / "none", ONE_STEP | name, status=3, env={"HF_HOME": tmp_path / "hf"}).stderr
    assert "millrace download hf:datasets/someone/talk" in missing
    cached = tmp_path / "hf" / "hub" / "datasets--someone--talk"
    write(cached / "snapshots" / "0123abcd" / "data" / "train-00000-of-00001.parquet", ROWS)
    write(cached / "snapshots" / "0123abcd" / "data" / "test-00000-of-00001.parquet", ROWS[:1])
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0123abcd")
    (cached / "snapshots" / "0123abcd" / "dataset_infos.json").write_text("{}")
    done = train(millrace, tmp_path / "cached", ONE_STEP | name, env={"HF_HOME": tmp_path / "hf"})
    assert "6 rows" in done.stdout + done.stderr
    write(tmp_path / "talk" / "train.jsonl", ROWS[:9])  # as millrace download leaves it
    done = train(millrace, tmp_path / "fetched", ONE_STEP | name | {"finetune.split": ""}, env={"HF_HOME": tmp_path / "hf"})
    assert "9 rows" in done.stdout + done.stderr


def test_weights_say_how_often_rows_occur(millrace, tmp_path):
    first, second = write(tmp_path / "a.jsonl", ROWS[:8]), write(tmp_path / "b.jsonl", ROWS[8:])
    both = {"finetune.data": f"{first},{second}", "training.global_batch_size": 12}
    done = train(millrace, tmp_path / "run", ONE_STEP | both | {"finetune.data_weights": "0.5,2"})
    assert "12 rows" in done.stdout + done.stderr  # half of eight, and four twice
    for wrong in ("1", "1,x", "1,0"):
        refusal = train(millrace, tmp_path / "wrong", ONE_STEP | both | {"finetune.data_weights": wrong}, status=2).stderr
        assert "finetune.data_weights" in refusal


@pytest.mark.parametrize("damage", [b"PAR1 and nothing else", b"nothing"])
def test_damaged_tables_are_named(millrace, tmp_path, damage):
    path = tmp_path / "rows.parquet"
    path.write_bytes(damage)
    assert "rows.parquet" in train(millrace, tmp_path / "run", ONE_STEP | {"finetune.data": path}, status=3).stderr
