"""Ids and decoded text of Mistral's two kinds of tokenizer.json equal those of the tokenizers package."""

import functools
import json
import random

import pytest
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from mixed_text import LINES, TEKKEN, assert_same, make_lines, our_ids

CORPUS = [line for line in make_lines(4000, seed=11) if len(line) < 3000]
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


# Of characters, as Mistral 7B and Llama 2: what their files have had over time, and what few have.
REPLACE = normalizers.Replace(" ", "▁")
FORMS = {
    "prepend": (normalizers.Sequence([normalizers.Prepend("▁"), REPLACE]), None),
    "replace": (REPLACE, None),
    "first": (None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
    "always": (None, pre_tokenizers.Metaspace(prepend_scheme="always", split=False)),
    "never": (None, pre_tokenizers.Metaspace(prepend_scheme="never", split=False)),
    "split": (None, pre_tokenizers.Metaspace(prepend_scheme="first", split=True)),
}
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
ADDED = [
    AddedToken("<unk>", normalized=False, special=True), AddedToken("<s>", normalized=False, special=True),
    AddedToken("</s>", normalized=False, special=True), AddedToken("[INST]", normalized=False, special=True),
    AddedToken("<|left|>", lstrip=True, normalized=False, special=True),
    AddedToken("<|right|>", rstrip=True, normalized=False, special=True),
    AddedToken("<both>", lstrip=True, rstrip=True, normalized=False), AddedToken("ab c", normalized=True),
    AddedToken("cat dog", normalized=False),
]


def spaced_lines():
    """Lines with the added tokens in them, white space around, and runs of blanks."""
    rng = random.Random(17)
    spaces = ["", "", " ", "  ", "\n", "\u3000 ", "▁", "    ", "\t\t"]
    lines = []
    for line in make_lines(3000, seed=19):
        words = line.split(" ")
        for _ in range(rng.randint(1, 4)):
            token = rng.choice(ADDED).content
            words.insert(rng.randint(0, len(words)), rng.choice(spaces) + token * rng.randint(1, 2) + rng.choice(spaces))
        lines.append(rng.choice([" ", ""]).join(words))
    return [*lines, *(" " * n + "a" + " " * n for n in range(20)), "▁", "▁a", " ▁ a", "ab c", "xab c", "a b c ab c", "<0x41>"]


@functools.cache
def trained(across):
    """tokenizer.json of characters. across: words are trained together with the blanks between them, over which tokens reach."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=not across)
    corpus = [line[:200] for line in CORPUS[:600]] if across else CORPUS
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=1500 if across else 3000, limit_alphabet=700, show_progress=False,
        special_tokens=["<unk>", "<s>", "</s>", *BYTES]))
    return tokenizer.to_str()


def spaced_tokenizer(form, across, ignore_merges):
    normalizer, pre_tokenizer = FORMS[form]
    file = json.loads(trained(across))
    file["added_tokens"], file["model"]["ignore_merges"] = [], ignore_merges
    tokenizer = Tokenizer.from_str(json.dumps(file))
    tokenizer.add_tokens(ADDED)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    strip = [] if form in ("replace", "never") else [decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    return tokenizer


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("across, ignore_merges", [(False, False), (False, True), (True, False)])
def test_characters(millrace, tmp_path, form, across, ignore_merges):
    theirs = spaced_tokenizer(form, across, ignore_merges)
    path = tmp_path / "tokenizer.json"
    theirs.save(str(path))
    lines = (LINES if (form, across) == ("first", False) else LINES[::10]) + spaced_lines()
    encodings = theirs.encode_batch(lines)
    ids = [one.ids for one in encodings]
    assert sum("<0x" in token for one in encodings for token in one.tokens) > 1000
    assert_same(our_ids(millrace, path, lines), ids, lines)
    rng = random.Random(23)
    drawn = [[rng.choice([rng.randrange(theirs.get_vocab_size()), rng.randint(3, 258)]) for _ in range(12)] for _ in range(500)]
    for given in (ids, drawn):
        assert_same(decoded(millrace, path, given), theirs.decode_batch(given), given)


@pytest.fixture(scope="session", params=[True, False], ids=["dummy_prefix", "no_prefix"])
def sentencepiece_bpe(tmp_path_factory, request):
    """tokenizer.model of Llama 2's and Mistral 7B's kind."""
    path = tmp_path_factory.mktemp("sentencepiece") / "tokenizer.model"
    # Few characters have pieces of their own, most are bytes.
    corpus = [line for line in CORPUS if line.strip() and "\x00" not in line and max(line) < "\u0500"]
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus), model_writer=file, vocab_size=3000, model_type="bpe", byte_fallback=True,
            normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=request.param,
            allow_whitespace_only_pieces=True, split_digits=True, character_coverage=0.99, num_threads=2,
            minloglevel=2)
    return path


def test_sentencepiece_bpe(millrace, sentencepiece_bpe):
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_bpe))
    lines = [line for line in LINES + CASES + [" a", "  a b ", "▁a", "<s> </s> <0x41>"] if "\x00" not in line]
    ids = theirs.encode(lines)
    assert_same(our_ids(millrace, sentencepiece_bpe, lines), ids, lines)
    assert decoded(millrace, sentencepiece_bpe, ids[::8]) == [theirs.decode(line) for line in ids[::8]]


def test_sentencepiece_models_that_change_text_are_refused(millrace, tmp_path):
    path = tmp_path / "tokenizer.model"
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c d e f g"] * 9), model_writer=file, vocab_size=14, model_type="bpe",
            hard_vocab_limit=False, minloglevel=2)
    result = millrace("tokenize", "--tokenizer", path, input="a\n", status=4)
    assert "that normalizes it (try the model's tokenizer.json)" in result.stderr
