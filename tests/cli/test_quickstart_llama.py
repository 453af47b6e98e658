"""./quickstart.sh llama and pirate, shortened: the commands of scripts/quickstart_llama.sh."""

import json
import tomllib
from pathlib import Path

import pytest
from gguf_tokenizer import smollm2_file

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
SIZES = {"llama": (480, 100), "pirate": (162, 20)}
LISTS = {"llama": "quickstart_sentences.txt", "pirate": "quickstart_pirate_sentences.txt"}


def prepare(millrace, folder: Path, name: str) -> dict[str, list[tuple[str, str]]]:
    count, held_out = SIZES[name]
    millrace("prepare", "sentences", CONFIGS / LISTS[name], "--output", folder, "--count", count, "--held-out", held_out)
    return {
        part: [tuple(m["content"] for m in json.loads(line)["messages"]) for line in (folder / f"{part}.jsonl").read_text().splitlines()]
        for part in ("train", "held_out")
    }


@pytest.mark.parametrize("name", SIZES)
def test_the_data_holds_nothing_back_twice(millrace, tmp_path, name):
    """What the quickstart asks at its end occurs nowhere in what it trains."""
    script = (ROOT / "scripts" / "quickstart_llama.sh").read_text()
    assert f"configs/{LISTS[name]} --count {SIZES[name][0]} --held-out {SIZES[name][1]}" in script
    rows = prepare(millrace, tmp_path / "data", name)
    assert [len(rows[part]) for part in ("train", "held_out")] == list(SIZES[name])
    assert not {question for question, _ in rows["train"]} & {question for question, _ in rows["held_out"]}
    assert len({question for question, _ in rows["held_out"]}) == SIZES[name][1]
    if name == "llama":
        assert not {answer for _, answer in rows["train"]} & {answer for _, answer in rows["held_out"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_trains_and_answers(millrace, tmp_path, name):
    """One short step on the real model, weights and tokenizer from the one GGUF file; two questions before and after."""
    config = tomllib.loads((CONFIGS / f"quickstart_{name}.toml").read_text())
    weights = tmp_path / config["checkpoint"]["initial_load_path"]
    weights.parent.mkdir(parents=True)
    assert weights.name == smollm2_file().name
    weights.symlink_to(smollm2_file())
    prepare(millrace, tmp_path / "data" / f"quickstart_{name}", name)
    run = tmp_path / config["job"]["dump_folder"]
    millrace("train", CONFIGS / f"quickstart_{name}.toml", "--finetune.epochs=0", "--training.steps=1",
             "--finetune.max_seq_len=64", "--sample.max_new_tokens=4", cwd=tmp_path)  # fmt: skip
    assert (run / "adapter" / "adapter_model.safetensors").exists()
    by_start = ["--by-start"] if name == "pirate" else []
    table = millrace("evaluate", run, "--answers", "--max-answers", 2, *by_start, cwd=tmp_path).stdout
    assert "before: 0 of 2" in table
    answers = json.loads((run / "answers.json").read_text())
    assert answers["questions"] == 2 and all(one["before"] != "" for one in answers["answers"])
    page = (run / "report.html").read_text()
    assert answers["answers"][0]["question"] in page and "Answers at step 1" in page
    assert ("Texts through time" in page) == (name == "pirate")
    millrace("evaluate", run, "--finetune.validation_split=train[:2]", cwd=tmp_path)  # the loss, without model.config
