"""Fine-tuning a tiny Llama: ranks, resuming, data that is bad or untrained, validation, and what a run leaves behind."""

import importlib.util
import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest
from llama_runs import BASE, COMMON, LORA, RECIPES, SHORT, arguments, empty_config, logged, steps, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from train_ranks import Ranks

ROOT = Path(__file__).resolve().parents[2]
PACKED = {"finetune.packing": "best_fit", "training.local_batch_size": 2, "training.global_batch_size": 6}


def rows() -> list[dict]:
    return json.loads((RECIPES / "chat.json").read_text())


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def losses(folder):
    return [step["loss"] for step in steps(folder)]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, LORA, PACKED], ids=["full", "lora", "packed"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_compute_the_same_loss(millrace, program, tmp_path, options, ranks):
    options = COMMON | SHORT | {"training.local_batch_size": 1, "training.global_batch_size": 6} | options
    options["training.local_batch_size"] = 1
    train(millrace, tmp_path / "one", options)
    Ranks(program, ranks, tmp_path / "many", *arguments(options), config=empty_config(tmp_path)).finish()
    one, many = steps(tmp_path / "one"), steps(tmp_path / "many")
    assert [step["sample_digest"] for step in one] == [step["sample_digest"] for step in many]
    for a, b in zip(one, many, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        assert a["trained_tokens"] == b["trained_tokens"]


@pytest.mark.parametrize("options", [{}, LORA, PACKED], ids=["full", "lora", "packed"])
def test_resuming_gives_the_same_bits(millrace, tmp_path, options):
    options = SHORT | options | {"checkpoint.interval": 2}
    train(millrace, tmp_path / "whole", options)
    train(millrace, tmp_path / "parts", options)
    # As after a kill between the checkpoint of step 2 and that of step 4.
    shutil.rmtree(tmp_path / "parts" / "checkpoint" / "step-00000004")
    train(millrace, tmp_path / "parts", options)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    for name in ("whole", "parts"):
        millrace("export", tmp_path / name, tmp_path / f"{name}-weights")
    files = sorted(file.name for file in (tmp_path / "whole-weights").glob("*.safetensors"))
    assert files == (["adapter_model.safetensors"] if "lora.rank" in options else sorted(file.name for file in BASE.glob("*.safetensors")))
    for file in files:
        assert (tmp_path / "whole-weights" / file).read_bytes() == (tmp_path / "parts-weights" / file).read_bytes()


@pytest.mark.parametrize("mode", ["none", "selective", "full"])
def test_recomputing_changes_nothing(millrace, tmp_path, mode):
    train(millrace, tmp_path / "run", SHORT | {"activation_checkpoint.mode": mode, "training.steps": 2})
    train(millrace, tmp_path / "plain", SHORT | {"training.steps": 2})
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "plain"), abs=1e-6)


@pytest.mark.parametrize("options", [{}, LORA, PACKED], ids=["full", "lora", "packed"])
def test_inputs_in_host_memory_change_nothing(millrace, tmp_path, options):
    options = SHORT | options | {"activation_checkpoint.mode": "full"}
    train(millrace, tmp_path / "resident", options)
    train(millrace, tmp_path / "offloaded", options | {"activation_checkpoint.offload": "true"})
    assert losses(tmp_path / "offloaded") == losses(tmp_path / "resident")


def test_batches_do_not_change_the_loss(millrace, tmp_path):
    """The loss is the mean over the step's trained tokens, however they are split into microbatches."""
    train(millrace, tmp_path / "a", SHORT | {"training.local_batch_size": 12})
    train(millrace, tmp_path / "b", SHORT | {"training.local_batch_size": 1})
    assert losses(tmp_path / "a") == pytest.approx(losses(tmp_path / "b"), abs=1e-5)


def test_speeds_count_all_tokens_and_those_that_are_trained(millrace, tmp_path):
    done = train(millrace, tmp_path / "run", SHORT | {"training.steps": 2})
    for step in steps(tmp_path / "run"):
        share = step["trained_tokens"] / step["tokens"]
        assert step["trained_tokens_per_second"] == pytest.approx(share * step["tokens_per_second"], rel=1e-6)
    assert "trained tps: " in done.stdout + done.stderr


def test_epochs_see_every_row_once(millrace, tmp_path):
    """24 rows in steps of 10: the last step of two epochs has the 8 rows that are left."""
    options = SHORT | {"finetune.epochs": 2, "training.local_batch_size": 5, "training.global_batch_size": 10}
    options.pop("training.steps")
    train(millrace, tmp_path / "run", options)
    one = SHORT | {"training.local_batch_size": 24, "training.global_batch_size": 24, "training.steps": 1}
    train(millrace, tmp_path / "all", one)
    assert len(steps(tmp_path / "run")) == 5
    total = sum(step["trained_tokens"] for step in steps(tmp_path / "run"))
    assert total == 2 * steps(tmp_path / "all")[0]["trained_tokens"]


def test_bad_rows_are_skipped_and_named(millrace, tmp_path):
    data = write_rows(tmp_path / "rows.jsonl", rows() + [{"messages": "none"}])
    options = SHORT | {"finetune.data": data, "training.global_batch_size": 30, "training.steps": 2}
    done = train(millrace, tmp_path / "run", options | {"training.max_bad_samples": 0.1})
    assert done.stderr.count("rows.jsonl:25") == 1
    assert all(math.isfinite(loss) for loss in losses(tmp_path / "run"))
    done = train(millrace, tmp_path / "strict", options | {"training.max_bad_samples": 0.01}, status=3)
    assert "rows.jsonl:25" in done.stderr and "training.max_bad_samples" in done.stderr


def test_inspect_shows_what_a_run_would_see(millrace, tmp_path):
    data = write_rows(tmp_path / "rows.jsonl", [{"messages": "none"}, *rows()])
    config = tmp_path / "run.toml"
    config.write_text('[model]\nname = "llama"\n')
    options = {"finetune.data": data, "finetune.max_seq_len": 60, "finetune.torchtune_version": "main"}
    inspect = ["inspect", config, *arguments(COMMON | options)]
    found = json.loads(millrace(*inspect, "--json").stdout)
    lines = "".join(json.dumps({"messages": row["messages"]}) + "\n" for row in rows())

    def tokenized(*more):
        said = millrace("tokenize", "--tokenizer", BASE, "--chat", "torchtune", *more, input=lines).stdout
        return [json.loads(line) for line in said.splitlines()]

    whole, cut = tokenized(), tokenized("--max-length", 60)
    lengths = sorted(len(row["ids"]) for row in whole)
    assert (found["rows"], found["bad_rows"]) == (len(rows()) + 1, 1) and "rows.jsonl:1]" in found["problems"][0]
    assert found["tokens"] == sum(len(row["ids"]) for row in cut)
    assert found["trained_tokens"] == sum(sum(row["trained"][1:]) for row in cut)
    assert found["truncated_rows"] == sum(length > 60 for length in lengths) > 0
    assert (found["shortest"], found["median"], found["longest"]) == (lengths[0], lengths[len(lengths) // 2], lengths[-1])
    assert found["example_place"].endswith("rows.jsonl:2") and "".join(piece["text"] for piece in found["example"]) == cut[0]["text"]
    trained = "".join(piece["text"] for piece in found["example"] if piece["trained"])
    answer = [message["content"] for message in rows()[0]["messages"] if message["role"] == "assistant"][0]
    assert answer in trained and found["example"][0]["text"].startswith("<|begin_of_text|><|start_header_id|>")
    assert found == json.loads(millrace("inspect", data, f"--finetune.tokenizer={BASE}", "--finetune.max_seq_len=60", "--json").stdout)
    assert "expected a tokenizer" in millrace("inspect", data, status=2).stderr
    text = millrace(*inspect).stdout
    assert "unusable    1" in text and "【" + trained[:20] in text
    assert millrace(*inspect, "--validation", "--finetune.validation_split=train[:4]").stdout.startswith("rows        4")
    assert "expected a task of a language model" in millrace("inspect", ROOT / "configs" / "tiny.toml", status=2).stderr


def test_answers_that_are_trained_without_their_end_are_named(millrace, tmp_path):
    folder = shutil.copytree(BASE, tmp_path / "tokenizer", ignore=shutil.ignore_patterns("model*"))
    template = "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>{% if m.role == 'assistant' %}{% generation %}"
    template += "{{ m.content }}{% endgeneration %}<|eot_id|>{% else %}{{ m.content }}<|eot_id|>{% endif %}{% endfor %}"
    options = SHORT | {"training.steps": 1, "finetune.chat_layout": "template", "finetune.tokenizer": folder}
    ends = {False: template, True: template.replace("{% endgeneration %}<|eot_id|>", "<|eot_id|>{% endgeneration %}")}
    for is_trained, text in ends.items():
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": text}))
        said = train(millrace, tmp_path / str(is_trained), options).stderr
        answer = next(message["content"] for message in rows()[0]["messages"] if message["role"] == "assistant")
        assert ("expected the end token of an answer to be trained" in said) == (not is_trained)
        assert (f"【{answer}】<|eot_id|>" in said) == (not is_trained)


def test_answers_that_are_cut_before_their_end_are_counted(millrace, tmp_path):
    long = {"messages": [{"role": "user", "content": "river"}, {"role": "assistant", "content": "stone river " * 100}]}
    data = tmp_path / "rows.json"
    data.write_text(json.dumps(rows()[:3] + [long] * 2))
    said = train(millrace, tmp_path / "run", SHORT | {"finetune.data": data, "training.steps": 1}).stderr
    assert f"[{data}:1, row 3] expected answers within finetune.max_seq_len = 112 tokens" in said and "2 of the first 5 rows" in said
    assert "\n\nstone river stone" in said and "【" in said and "end token of an answer" not in said
    whole = train(millrace, tmp_path / "whole", SHORT | {"finetune.data": data, "training.steps": 1, "finetune.max_seq_len": 400}).stderr
    assert "expected answers within" not in whole


def test_rows_that_train_nothing_weigh_nothing(millrace, tmp_path):
    """Cut before the answer, a row has no trained token; a step of such rows changes nothing and is no NaN."""
    long = {"messages": [{"role": "user", "content": "stone river " * 100}, {"role": "assistant", "content": "Yes."}]}
    data = write_rows(tmp_path / "rows.jsonl", [long] * 4 + rows()[:4])
    options = {"finetune.data": data, "training.local_batch_size": 4, "training.global_batch_size": 4,
               "training.steps": 2, "finetune.no_shuffle": None}  # fmt: skip
    said = train(millrace, tmp_path / "run", SHORT | options).stderr
    assert "rows.jsonl:1] expected an answer within finetune.max_seq_len = 112 tokens" in said and "as 4 of the first 8 are" in said
    assert "loss:     N/A" in said and "nan" not in said.lower()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["trained_tokens"] for line in lines][0] == 0 and lines[0]["grad_norm"] == 0
    assert lines[1]["trained_tokens"] > 0 and math.isfinite(lines[1]["loss"])


def test_validation_perplexity_and_the_best(millrace, tmp_path):
    options = SHORT | {"finetune.split": "train[:16]", "finetune.validation_split": "train[16:]", "validation.enable": None,
                       "validation.freq": 1, "validation.local_batch_size": 3, "checkpoint.keep_best": None}  # fmt: skip
    train(millrace, tmp_path / "run", options)
    found = logged(tmp_path / "run", "validation_loss")
    assert [line["step"] for line in found] == [1, 2, 3, 4] and all(line["validation_samples"] == 8 for line in found)
    assert all(line["validation_perplexity"] == pytest.approx(math.exp(line["validation_loss"])) for line in found)
    assert (tmp_path / "run" / "checkpoint" / "best").exists()
    millrace("export", tmp_path / "run", tmp_path / "best", "--step", "best")
    for file in BASE.glob("*.safetensors"):
        assert (tmp_path / "run" / "best" / "model" / file.name).read_bytes() == (tmp_path / "best" / file.name).read_bytes()
    again = json.loads(millrace("evaluate", tmp_path / "run", "--json").stdout)
    assert again["loss"] == pytest.approx(found[-1]["validation_loss"], abs=1e-6)
    untrained = json.loads(
        millrace("evaluate", "--weights", BASE, "--config", tmp_path / "run" / "config.toml", "--json").stdout
    )
    assert untrained["loss"] > again["loss"] and untrained["perplexity"] == pytest.approx(math.exp(untrained["loss"]))


def test_patience_ends_a_run(millrace, tmp_path):
    options = SHORT | {"finetune.validation_data": RECIPES / "chat.json", "validation.enable": None, "validation.freq": 1,
                       "validation.patience": 1, "optimizer.lr": 0, "training.steps": 50}  # fmt: skip
    train(millrace, tmp_path / "run", options)
    assert len(steps(tmp_path / "run")) == 2
    assert (tmp_path / "run" / "model" / "model.safetensors.index.json").exists()


def test_writes_texts(millrace, tmp_path):
    options = SHORT | {"sample.prompts": "What is a bucket?", "sample.every_steps": 2, "sample.max_new_tokens": 8}
    train(millrace, tmp_path / "run", options | {"training.steps": 2, "metrics.enable_tensorboard": None})
    sampled = (tmp_path / "run" / "samples" / "step-00000002.txt").read_text()
    events = EventAccumulator(str(tmp_path / "run" / "tb"))
    events.Reload()
    shown = {text.step: text.tensor_proto.string_val[0].decode() for text in events.Tensors("samples")}
    assert sorted(shown) == [0, 2] and shown[2].startswith("    > What is a bucket?\n    ")
    printed = millrace("sample", tmp_path / "run", "--prompt", "What is a bucket?").stdout
    assert sampled == f"> What is a bucket?\n{printed}\n"
    drawn = [
        millrace("sample", tmp_path / "run", "-p", "Hi", "--temperature=2", f"--seed={seed}", "--json").stdout
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2] and json.loads(drawn[0])["prompt"] == "Hi"
    answers = millrace("sample", tmp_path / "run", "--chat", input="What is a bucket?\nAnd a stone?\n").stdout.splitlines()
    assert answers[0] == printed.rstrip("\n").splitlines()[0]


def test_texts_are_shown_while_they_are_written(millrace, program, tmp_path):
    train(millrace, tmp_path / "run", SHORT | {"training.steps": 1})
    # So long an answer takes many minutes: what is read was shown before its end.
    command = [program, "sample", tmp_path / "run", "-p", "Hi", "--temperature=1", "--max-new-tokens=100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        shown = process.stdout.read(64)
        is_running = process.poll() is None
        process.kill()
    assert len(shown) == 64 and is_running


def test_texts_are_one_ranks_work(millrace, tmp_path):
    train(millrace, tmp_path / "run", SHORT | {"training.steps": 1})
    refusal = millrace("launch", "-n", 2, "sample", tmp_path / "run", "-p", "Hi", status=2).stderr
    assert f"try `millrace sample {tmp_path / 'run'} ...` by itself" in refusal


def test_answers_before_and_after(millrace, tmp_path):
    options = SHORT | LORA | {"finetune.validation_split": "train[2:4]", "sample.max_new_tokens": 4}
    train(millrace, tmp_path / "run", options | {"training.steps": 1})
    table = millrace("evaluate", tmp_path / "run", "--answers", "--report.enable").stdout
    assert "exactly right before: 0 of 2" in table and "exactly right after: 0 of 2" in table
    record = json.loads((tmp_path / "run" / "answers.json").read_text())
    question = rows()[2]["messages"][-2]["content"]
    assert record["answers"][0]["question"] == question and record["answers"][0]["expected"] == rows()[2]["messages"][-1]["content"]
    plain = millrace("sample", "--weights", BASE, "--config", tmp_path / "run" / "config.toml", "-p", question).stdout
    assert plain == record["answers"][0]["before"] + "\n"
    assert "<h2>Answers at step 1</h2>" in (tmp_path / "run" / "report.html").read_text()
    refusal = millrace("evaluate", tmp_path / "run", "--max-answers=1", status=2).stderr
    assert "expected --answers" in refusal


def test_refuses_by_name(millrace, tmp_path):
    def complaint(options):
        return train(millrace, tmp_path / "run", options, status=2).stderr

    assert "divisor of the number of ranks" in complaint({"parallelism.tensor_parallel_degree": 2})
    assert "finetune.max_seq_len" in complaint({"finetune.packing": "greedy", "finetune.max_seq_len": 0})
    assert "training.shuffle_buffer_size" in complaint({"training.shuffle_buffer_size": 5})
    assert "finetune.columns" in complaint({"finetune.columns": "input"})
    assert "checkpoint.initial_load_path" in complaint({"checkpoint.initial_load_path": ""})
    assert "training.steps" in complaint({"finetune.epochs": 2, "training.steps": 3, "training.global_batch_size": 8})


def test_another_models_tokenizer_is_refused(millrace, tmp_path):
    def folder_with(name, change):
        folder = shutil.copytree(BASE, tmp_path / name)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | change))
        return folder

    package = importlib.util.find_spec("llama_models").submodule_search_locations[0]
    llama3 = Path(package) / "llama3" / "tokenizer.model"
    said = train(millrace, tmp_path / "large", SHORT | {"finetune.tokenizer": llama3}, status=4).stderr
    assert f"[{llama3}] expected the tokenizer of the model, whose vocabulary has 492 tokens, got one of 128,257" in said
    start = {"checkpoint.initial_load_path": folder_with("base", {"eos_token_id": [481, 5000]})}
    said = train(millrace, tmp_path / "ends", SHORT | start, status=4).stderr
    assert "in which token 5000 ends a text, got one of 492 tokens" in said
    start = {"checkpoint.initial_load_path": folder_with("words", {"bos_token_id": 5}), "training.steps": 1}
    assert "expected a special token as token 5, which begins a text" in train(millrace, tmp_path / "begins", SHORT | start).stderr


def test_plans(millrace, tmp_path):
    for options in ({}, LORA):
        plan = millrace("plan", empty_config(tmp_path), *arguments(COMMON | options), "--gpu=h100-80gb", "--json").stdout
        assert json.loads(plan)
