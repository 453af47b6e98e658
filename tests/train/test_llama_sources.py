"""Where the rows of a language model come from: every kind of file, folders, data sets of the hub, weights."""

import json

import pyarrow as pa
import pyarrow.parquet
import pytest
from llama_runs import BASE, COMMON, RECIPES, SHORT, logged, train

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


def test_patterns_and_lines_of_text(millrace, tmp_path):
    for i in range(3):
        write(tmp_path / "rows" / f"part{i}.jsonl", ROWS[4 * i : 4 * i + 4])
    (tmp_path / "rows" / "notes.txt").write_text("One.\n\nTwo.\n")
    tokenizer = f"--finetune.tokenizer={BASE}"
    seen = json.loads(millrace("inspect", f"--finetune.data={tmp_path}/rows/part*.jsonl", tokenizer, "--json").stdout)
    assert seen["rows"] == 12 and seen["bad_rows"] == 0
    texts = ["inspect", f"--finetune.data={tmp_path}/rows/notes.txt", "--finetune.rows=text", tokenizer, "--json"]
    seen = json.loads(millrace(*texts).stdout)
    assert seen["rows"] == 3 and seen["longest_place"].endswith("notes.txt:3")
    assert "expected files of such names" in millrace("inspect", f"--finetune.data={tmp_path}/*.csv", tokenizer, status=3).stderr


def test_a_data_set_of_the_hub_is_found_where_it_was_fetched(millrace, tmp_path):
    name = {"finetune.data": "someone/talk", "finetune.split": "train[:6]"}
    missing = train(millrace, tmp_path / "none", ONE_STEP | name, status=3, env={"HF_HOME": tmp_path / "hf"}).stderr
    assert "millrace download dataset someone/talk" in missing
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


def sets(*members):
    return json.dumps([json.dumps(member) for member in members])


def test_data_sets_of_unlike_rows(millrace, tmp_path):
    tasks = [{"instruction": f"Name a stone {i}.", "output": "marble"} for i in range(10)]
    chat = {"data": str(write(tmp_path / "chat.jsonl", ROWS))}
    alpaca = {"data": [str(write(tmp_path / "tasks.jsonl", tasks))], "rows": "alpaca", "split": "train[:40%]", "weight": 2}
    held_back = sets(chat | {"split": "train[:2]"}, alpaca | {"split": "train[8:]", "weight": 1})
    options = {"finetune.data": "", "finetune.data_sets": sets(chat, alpaca), "finetune.validation_sets": held_back}
    more = {"training.global_batch_size": 12, "validation.enable": None, "validation.freq": 1, "finetune.max_seq_len": 200}
    done = train(millrace, tmp_path / "run", ONE_STEP | options | more)
    assert "20 rows (of 2 data sets)" in done.stdout + done.stderr  # and four of ten, twice
    assert logged(tmp_path / "run", "validation_loss")[0]["validation_samples"] == 4
    seen = json.loads(millrace("inspect", tmp_path / "run" / "config.toml", "--json").stdout)
    assert seen["rows"] == 20 and seen["bad_rows"] == 0
    seen = json.loads(millrace("inspect", tmp_path / "run" / "config.toml", "--json", "--validation").stdout)
    assert seen["rows"] == 4
    record = millrace("evaluate", tmp_path / "run", "--answers", "--json", "--sample.max_new_tokens=1").stdout
    asked = [answer["question"] for answer in json.loads(record)["answers"]]
    assert len(asked) == 4 and asked[0] == ROWS[0]["messages"][0]["content"] and "### Instruction:\nName a stone 8." in asked[2]


@pytest.mark.parametrize(
    "member, expected",
    [
        ({"rows": "alpaca"}, "data set 2, data] expected files of rows"),
        ({"data": "a", "rows": "alpacca"}, 'rows] expected one of openai, sharegpt, instruct, alpaca, text, got "alpacca"'),
        ({"data": "a", "colum": "x"}, "(try column)"),
        ({"data": "a", "weight": 0}, "weight] expected a number above 0"),
        ({"data": "a", "add_eos": "no"}, "add_eos] expected true or false"),
        ({"data": "a", "columns": ["x"]}, "expected pairs"),
        ({"data": "a", "rows": "text", "new_system_prompt": "Hi"}, "new_system_prompt] expected none"),
        ({"data": "a", "max_packs": 3}, 'finetune.order = "torchtune" and finetune.packing = "greedy"'),
        (["a"], "expected an object"),
    ],
)
def test_data_sets_are_refused_by_name(millrace, tmp_path, member, expected):
    options = {"finetune.data": "", "finetune.order": "millrace", "finetune.data_sets": sets({"data": "b"}, member)}
    assert expected in train(millrace, tmp_path / "run", ONE_STEP | options, status=2).stderr


def test_a_file_that_is_not_there_is_missing_data(millrace, tmp_path):
    refused = train(millrace, tmp_path / "run", ONE_STEP | {"finetune.data": tmp_path / "rows.jsonl"}, status=3).stderr
    assert f"[{tmp_path / 'rows.jsonl'}] expected a file or a folder of rows, got nothing of that name" in refused


@pytest.mark.parametrize("damage", [b"PAR1 and nothing else", b"nothing"])
def test_damaged_tables_are_named(millrace, tmp_path, damage):
    path = tmp_path / "rows.parquet"
    path.write_bytes(damage)
    assert "rows.parquet" in train(millrace, tmp_path / "run", ONE_STEP | {"finetune.data": path}, status=3).stderr
