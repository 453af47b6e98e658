"""Folders of a language model that millrace writes are whole: transformers takes them for the ones that training began with."""

import json
import shutil

import pytest
import torch
from llama_runs import BASE, LORA, SHORT, train
from transformers import AutoModelForCausalLM, AutoTokenizer

TEMPLATE = "{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n{{ message['content'] }}<|eot_id|>{% endfor %}"
TEXT = "Where's the river? 1234 emoji 🐱 <|eot_id|>"
BESIDE = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "LICENSE", "original/tokenizer.model")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The tiny model with all the files that a published Llama has, its weights rounded to bfloat16."""
    folder = tmp_path_factory.mktemp("published")
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    (folder / "config.json").unlink()
    config = json.loads((BASE / "config.json").read_text()) | {"torch_dtype": "bfloat16", "pad_token_id": 484, "use_cache": True}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 480, "eos_token_id": [481, 488, 489], "pad_token_id": 484}))
    shutil.copy(BASE / "tokenizer.json", folder)
    (folder / "original").mkdir()
    shutil.copy(BASE / "tokenizer.model", folder / "original")
    special = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|finetune_right_pad_id|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    words = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(special | words))
    (folder / "LICENSE").write_text("The licence of the model.\n")
    (folder / "README.md").write_text("About the model that this one is not any more.\n")
    return folder


def opened(folder):
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def check_whole(folder, published, dtype="bfloat16"):
    for name in BESIDE:
        assert (folder / name).read_bytes() == (published / name).read_bytes(), name
    assert not (folder / "README.md").exists()
    ours, theirs = (list(json.loads((path / "config.json").read_text()).items()) for path in (folder, published))
    assert ours == [(key, dtype if key == "torch_dtype" else value) for key, value in theirs]
    (model, tokenizer), (_, expected) = opened(folder), opened(published)
    assert model.dtype == getattr(torch, dtype)
    assert model.generation_config.eos_token_id == [481, 488, 489] and model.generation_config.pad_token_id == 484
    assert tokenizer(TEXT).input_ids == expected(TEXT).input_ids and tokenizer.eos_token == "<|eot_id|>"
    chat = [{"role": "user", "content": "Hello"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == expected.apply_chat_template(chat, tokenize=False)


def test_weights_that_are_exported(millrace, tmp_path, published):
    millrace("export", published, tmp_path / "copy", "--model", "llama")
    check_whole(tmp_path / "copy", published)
    millrace("export", published, tmp_path / "wide", "--model", "llama", "--dtype", "fp32")
    check_whole(tmp_path / "wide", published, "float32")
    millrace("import", published / "model.safetensors", tmp_path / "file", "--model", "llama", "--config", published / "config.json")
    check_whole(tmp_path / "file", published)
    before, after = opened(published)[0], opened(tmp_path / "file")[0]
    assert all(torch.equal(before.state_dict()[name], values) for name, values in after.state_dict().items())


@pytest.mark.parametrize("tokenizer", ["tokenizer.json", "original/tokenizer.model"])
def test_runs(millrace, tmp_path, published, tokenizer):
    """Also where the tokenizer is given as torchtune's recipes give it, which Hugging Face's libraries do not read."""
    start = {"checkpoint.initial_load_path": published, "finetune.tokenizer": published / tokenizer}
    train(millrace, tmp_path / "full", SHORT | start)
    check_whole(tmp_path / "full" / "model", published)
    millrace("export", tmp_path / "full", tmp_path / "exported", "--dtype", "fp32")
    check_whole(tmp_path / "exported", published, "float32")
    train(millrace, tmp_path / "lora", SHORT | LORA | start)
    millrace("export", tmp_path / "lora", tmp_path / "merged", "--merged")
    check_whole(tmp_path / "merged", published)


def test_a_gguf_file_becomes_a_folder(millrace, tmp_path, published):
    millrace("export", published, tmp_path / "model.gguf", "--model", "llama")
    millrace("export", tmp_path / "model.gguf", tmp_path / "folder", "--model", "llama")
    (model, tokenizer), (_, expected) = opened(tmp_path / "folder"), opened(published)
    assert tokenizer(TEXT).input_ids == expected(TEXT).input_ids
    assert tokenizer.decode(tokenizer(TEXT).input_ids) == expected.decode(expected(TEXT).input_ids)
    assert tokenizer.chat_template == TEMPLATE and tokenizer.eos_token == "<|eot_id|>"
    assert model.dtype == torch.float16
    for config in (model.config, model.generation_config):
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (480, 489, 484)
    model.generate(**tokenizer("Hello", return_tensors="pt"), max_new_tokens=2)
