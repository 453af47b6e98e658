"""Tokens of rows that are kept in a file: for the ranks of a run, for later starts and for other runs."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from llama_runs import COMMON, RECIPES, SHORT, arguments, empty_config, steps, train
from train_ranks import Ranks

ROWS = [row for row in json.loads((RECIPES / "chat.json").read_text()) if len(row["messages"]) == 2]
PACKED = SHORT | {
    "finetune.packing": "greedy", "training.local_batch_size": 1, "training.global_batch_size": 6, "finetune.no_save_model": None,
}  # fmt: skip
MADE, FOUND = " tokens, in ", "tokens of "


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def seen(folder):
    return [(step["loss"], step["trained_tokens"], step["sample_digest"]) for step in steps(folder)]


@pytest.mark.parametrize("packing", ["none", "greedy", "best_fit"])
def test_kept_tokens_change_nothing(millrace, tmp_path, packing):
    options = PACKED | {"finetune.packing": packing, "finetune.torchtune_version": "main", "finetune.chat_layout": "torchtune"}
    without = train(millrace, tmp_path / "without", options | {"finetune.cache_tokens": "none"}).stderr
    assert MADE not in without and not (tmp_path / "without" / "tokens").exists()
    shared = options | {"finetune.cache_tokens": "disk", "finetune.cache_folder": tmp_path / "shared"}
    for name, said in (("first", MADE), ("second", FOUND)):
        lines = train(millrace, tmp_path / name, shared).stderr.splitlines()
        assert sum(" rows" in line and said in line and ".tokens" in line for line in lines) == 1
        assert seen(tmp_path / name) == seen(tmp_path / "without")
    assert len(list((tmp_path / "shared").glob("*"))) == 1
    assert seen(tmp_path / "first")[0] != seen(tmp_path / "first")[1]


def test_a_resumed_run_reads_them(millrace, tmp_path):
    options = PACKED | {"finetune.epochs": 2, "training.global_batch_size": 4}
    options.pop("training.steps")
    said = train(millrace, tmp_path / "run", options).stderr
    assert said.count(MADE) == 1  # for the number of steps; the run itself finds them
    assert FOUND in said
    again = train(millrace, tmp_path / "run", options | {"finetune.epochs": 3}).stderr
    assert MADE not in again and again.count(FOUND) == 2


def test_validation_rows_are_kept_on_demand(millrace, tmp_path):
    options = PACKED | {"finetune.split": "train[:16]", "finetune.validation_split": "train[16:]", "validation.enable": None, "validation.freq": 2}
    train(millrace, tmp_path / "auto", options)
    train(millrace, tmp_path / "disk", options | {"finetune.cache_tokens": "disk"})
    names = [sorted(file.name.split("-")[0] for file in (tmp_path / run / "tokens").iterdir()) for run in ("auto", "disk")]
    assert names == [["train"], ["train", "validation"]]
    values = [json.loads(line) for run in ("auto", "disk") for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
    losses = [value["validation_loss"] for value in values if "validation_loss" in value]
    assert losses[: len(losses) // 2] == losses[len(losses) // 2 :] and len(losses) == 4


def test_damage_is_found_and_mended(millrace, tmp_path):
    folder = tmp_path / "shared"
    options = PACKED | {"finetune.cache_folder": folder}
    train(millrace, tmp_path / "whole", options)
    (file,) = folder.iterdir()
    content = file.read_bytes()
    damaged = {"changed": content[:100] + bytes([content[100] ^ 1]) + content[101:], "cut": content[: len(content) // 2]}
    for name, text in damaged.items():
        file.write_bytes(text)
        said = train(millrace, tmp_path / name, options).stderr
        assert said.count("the rows are tokenised again") == 1 and f"{file}] expected" in said and said.count(MADE) == 1
        assert file.read_bytes() == content and seen(tmp_path / name) == seen(tmp_path / "whole")


def test_other_rows_have_other_tokens(millrace, tmp_path):
    data = write_rows(tmp_path / "rows.jsonl", ROWS)
    options = PACKED | {"finetune.data": data, "finetune.cache_folder": tmp_path / "shared"}
    train(millrace, tmp_path / "a", options)
    edited = json.loads(json.dumps(ROWS))
    edited[3]["messages"][1]["content"] = "Something else."
    write_rows(data, edited)
    for name, more in {"b": {}, "c": {"finetune.max_seq_len": 100}, "d": {"finetune.train_on": "all"}}.items():
        assert train(millrace, tmp_path / name, options | more).stderr.count(MADE) == 1
    assert len(list((tmp_path / "shared").iterdir())) == 4
    elsewhere = write_rows(tmp_path / "elsewhere.jsonl", edited)
    assert MADE not in train(millrace, tmp_path / "e", options | {"finetune.data": elsewhere}).stderr
    assert seen(tmp_path / "e") == seen(tmp_path / "b") != seen(tmp_path / "a")
    # A run's own folder has those of its newest rows alone.
    own = PACKED | {"finetune.data": data}
    train(millrace, tmp_path / "own", own)
    train(millrace, tmp_path / "own", own | {"finetune.max_seq_len": 100, "training.steps": 5})
    assert len(list((tmp_path / "own" / "tokens").iterdir())) == 1


def test_bad_rows_are_named_whoever_tokenised_them(millrace, tmp_path):
    data = write_rows(tmp_path / "rows.jsonl", [*ROWS[:3], {"messages": "none"}, *ROWS[3:]])
    options = PACKED | {"finetune.data": data, "training.max_bad_samples": 0.1, "finetune.cache_folder": tmp_path / "shared"}
    for name in ("first", "second"):
        assert train(millrace, tmp_path / name, options).stderr.count("rows.jsonl:4") == 1
    strict = train(millrace, tmp_path / "strict", options | {"training.max_bad_samples": 0.01}, status=3).stderr
    assert "training.max_bad_samples" in strict and "rows.jsonl:4" in strict


def test_a_folder_that_cannot_be_used_costs_only_time(millrace, tmp_path):
    file = write_rows(tmp_path / "a_file", [])
    said = train(millrace, tmp_path / "run", PACKED | {"finetune.cache_folder": file}).stderr
    assert "tokens are not kept" in said and MADE not in said
    train(millrace, tmp_path / "plain", PACKED | {"finetune.cache_tokens": "none"})
    assert seen(tmp_path / "run") == seen(tmp_path / "plain")


def test_a_folder_without_use_is_refused(millrace, tmp_path):
    refusal = train(millrace, tmp_path / "run", SHORT | {"finetune.cache_folder": tmp_path}, status=2).stderr
    assert "finetune.cache_folder" in refusal and 'finetune.cache_tokens = "disk"' in refusal


@pytest.mark.slow
def test_ranks_share_them(millrace, program, tmp_path):
    options = COMMON | PACKED
    train(millrace, tmp_path / "one", PACKED | {"finetune.cache_tokens": "none"})
    ranks = Ranks(program, 3, tmp_path / "many", *arguments(options), config=empty_config(tmp_path)).finish()
    assert len(list((tmp_path / "many" / "tokens").iterdir())) == 1
    # Only one of them tokenises; those that are not the first log nothing but warnings on their consoles.
    log = (tmp_path / "many" / "log.txt").read_text()
    assert (MADE in log) != (FOUND in log) and ranks.output(1).count(MADE) == 0
    many = steps(tmp_path / "many")
    assert [step["sample_digest"] for step in many] == [step["sample_digest"] for step in steps(tmp_path / "one")]
    for a, b in zip(steps(tmp_path / "one"), many, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)


@pytest.mark.slow
def test_a_rank_that_dies_while_it_tokenises_holds_nobody_up(program, tmp_path):
    """The first rank is killed at work; the next start takes over what it left."""
    data, run = tmp_path / "rows.jsonl", tmp_path / "run"
    options = COMMON | PACKED | {"finetune.data": data, "training.steps": 1, "training.num_workers": 1, "job.dump_folder": run}
    command = [str(word) for word in [program, "train", empty_config(tmp_path), *arguments(options)]]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    tokens = run / "tokens"

    def parts():
        return [file for file in tokens.glob(".*.part") if file.stat().st_size > 0] if tokens.exists() else []

    def is_killed_at_work():
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 300
            while not parts() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
        return bool(parts()) and not list(tokens.glob("*.tokens"))

    # A busy machine may not look before the file is whole: then with more rows, which take longer.
    for copies in (2000, 16_000, 128_000):
        write_rows(data, ROWS * copies)
        shutil.rmtree(run, ignore_errors=True)
        if is_killed_at_work():
            break
    assert parts() and not list(tokens.glob("*.tokens"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stderr.count(MADE) == 1
    assert not parts() and len(list(tokens.glob("*.tokens"))) == 1


def test_words_around_messages(millrace, tmp_path):
    """torchtune's prompt templates."""
    words = '{"user": ["Question: ", "\\nAnswer: "]}'
    options = COMMON | {"finetune.prompt_template": words, "finetune.data": write_rows(tmp_path / "rows.jsonl", ROWS)}
    config = empty_config(tmp_path)
    shown = json.loads(millrace("inspect", config, *arguments(options), "--json").stdout)["example"]
    question = ROWS[0]["messages"][0]["content"].strip()
    text = "".join(piece["text"] for piece in shown)
    assert f"user<|end_header_id|>\n\nQuestion:{question}Answer:<|eot_id|>" in text
    assert "Question:" not in "".join(piece["text"] for piece in shown if piece["trained"])
    for wrong in ({"finetune.prompt_template": "alpaca"}, {"finetune.chat_layout": "template"}, {"finetune.rows": "text"}):
        refusal = train(millrace, tmp_path / "run", SHORT | {"finetune.prompt_template": words} | wrong, status=2).stderr
        assert "finetune.prompt_template" in refusal
    plain = train(millrace, tmp_path / "plain", SHORT | {"training.steps": 1})
    other = train(millrace, tmp_path / "other", SHORT | {"training.steps": 1, "finetune.prompt_template": "question_answer"})
    assert plain.returncode == other.returncode == 0 and seen(tmp_path / "plain") != seen(tmp_path / "other")
    sampled = millrace("sample", tmp_path / "other", "--prompt", "Hi", "--max-new-tokens", 2).stdout
    assert sampled


@pytest.mark.slow
def test_many_skipped_rows_are_counted_once(program, tmp_path):
    """Packing tokenises the rows for the number of steps, and again in the run."""
    bad = [{"messages": "none"}] * 25
    data = write_rows(tmp_path / "rows.jsonl", bad + ROWS)
    options = COMMON | PACKED | {
        "finetune.data": data, "finetune.packing": "greedy", "finetune.epochs": 1, "finetune.cache_tokens": "none",
        "training.max_bad_samples": 0.9, "training.local_batch_size": 1, "training.global_batch_size": 3,
    }  # fmt: skip
    options.pop("training.steps")
    ranks = Ranks(program, 3, tmp_path / "run", *arguments(options), config=empty_config(tmp_path)).finish()
    said = "".join(ranks.output(rank) for rank in range(3))
    assert said.count(f"skipped 25 of {25 + len(ROWS)} rows") == 1
