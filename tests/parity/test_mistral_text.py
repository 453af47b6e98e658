"""Ids and decoded text of Mistral's two kinds of tokenizer.json equal those of the tokenizers package."""

import json

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from mixed_text import LINES, assert_same, make_lines, our_ids

CORPUS = [line for line in make_lines(4000, seed=11) if len(line) < 3000]
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Letters of every kind, and marks, in words that change from one to another.
CASES = [line.swapcase() for line in make_lines(3000, seed=13)] + [
    "HTTPServer getURLOf 中AB日本C ʰAʰb ǅungla ǅǅ aǅ", "http://a//\r\n//b /\n", "x\u0301Y\u0301 \u0301\u0301A !\u0301a",
]


@pytest.fixture(scope="session")
def tekken(tmp_path_factory):
    """Byte-level, split by the expression of Mistral-Nemo and Mistral-Small."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(TEKKEN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=6000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]))
    path = tmp_path_factory.mktemp("tekken") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def decoded(millrace, path, ids):
    result = millrace("tokenize", "--tokenizer", path, "--decode", input="".join(json.dumps(i) + "\n" for i in ids))
    return [json.loads(line)["text"] for line in result.stdout.split("\n") if line]


def test_tekken(millrace, tekken):
    theirs = Tokenizer.from_file(str(tekken))
    lines = LINES + CASES
    ids = [one.ids for one in theirs.encode_batch(lines)]
    assert_same(our_ids(millrace, tekken, lines), ids, lines)
    assert decoded(millrace, tekken, ids[::8]) == theirs.decode_batch(ids[::8])
