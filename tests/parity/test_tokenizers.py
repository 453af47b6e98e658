"""Ids equal those of transformers on mixed-script text, for every form in which the vocabularies come."""

import gzip
import json
import pathlib
import random
import shutil
import subprocess

import open_clip
import pytest
import sentencepiece
import tokenizers
from transformers import CLIPTokenizer, T5Tokenizer

from mixed_text import CONTRACTIONS, EMOJI, LINES, WORDS, assert_same, make_lines, our_ids

OPEN_CLIP = pathlib.Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"


def write_clip_folder(folder):
    """vocab.json and merges.txt as on the hub, from open_clip's vocabulary."""
    folder.mkdir(exist_ok=True)
    merges = gzip.open(OPEN_CLIP).read().decode().split("\n")[1:49152 - 256 - 2 + 1]
    symbols = list(open_clip.tokenizer.bytes_to_unicode().values())
    tokens = symbols + [s + "</w>" for s in symbols] + ["".join(m.split()) for m in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    return write_clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory):
    """A T5 vocabulary: unigram, nmt_nfkc, pad 0, eos 1, unk 2, some characters left unknown."""
    folder = tmp_path_factory.mktemp("t5")
    corpus = [line for line in make_lines(8000, seed=7) if "\x00" not in line and len(line) < 3000]
    corpus += [" ".join(random.Random(i).choices(WORDS, k=12)) for i in range(20_000)]
    with open(folder / "spiece.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus), model_writer=file, vocab_size=6000, character_coverage=0.98, pad_id=0,
            eos_id=1, unk_id=2, bos_id=-1, model_type="unigram", hard_vocab_limit=False, num_threads=2, minloglevel=2)
    return folder


def hugging_face_ids(tokenizer, lines, **options):
    return [list(ids) for ids in tokenizer(lines, **options)["input_ids"]]


def test_there_are_ten_thousand_lines():
    assert len(LINES) >= 10_000 and len(set(LINES)) > 10_000


def test_clip_ids(millrace, clip_folder):
    theirs = hugging_face_ids(CLIPTokenizer.from_pretrained(clip_folder), LINES)
    assert_same(our_ids(millrace, clip_folder, LINES), theirs, LINES)
    assert_same(our_ids(millrace, OPEN_CLIP, LINES), theirs, LINES)


def test_clip_tokenizer_json(millrace, clip_folder, tmp_path):
    tokenizer = CLIPTokenizer.from_pretrained(clip_folder)
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").exists() and not (tmp_path / "vocab.json").exists()
    theirs = hugging_face_ids(CLIPTokenizer.from_pretrained(tmp_path), LINES)
    assert_same(our_ids(millrace, tmp_path, LINES), theirs, LINES)
    assert_same(our_ids(millrace, tmp_path / "tokenizer.json", LINES), theirs, LINES)


def test_clip_padded_and_cut(millrace, clip_folder):
    tokenizer = CLIPTokenizer.from_pretrained(clip_folder)
    lines = LINES[:3000]
    for length in (77, 8, 2):
        theirs = hugging_face_ids(tokenizer, lines, padding="max_length", truncation=True, max_length=length)
        assert_same(our_ids(millrace, clip_folder, lines, "--max-length", length, "--pad"), theirs, lines)
    theirs = hugging_face_ids(tokenizer, lines, truncation=True, max_length=20)
    assert_same(our_ids(millrace, clip_folder, lines, "--max-length", 20), theirs, lines)


def added(content, normalized):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": normalized,
            "__type": "AddedToken"}


@pytest.mark.parametrize("config", [
    # openai/clip-vit-large-patch14
    {"bos_token": added("<|startoftext|>", True), "eos_token": added("<|endoftext|>", True),
     "unk_token": added("<|endoftext|>", True), "pad_token": "<|endoftext|>"},
    # the second tokenizer of SDXL pads with "!"
    {"bos_token": added("<|startoftext|>", True), "eos_token": added("<|endoftext|>", True),
     "unk_token": added("<|endoftext|>", True), "pad_token": "!"},
    # the newer spelling, as in FLUX's tokenizer folder
    {"added_tokens_decoder": {"49406": dict(added("<|startoftext|>", True), special=True),
                              "49407": dict(added("<|endoftext|>", True), special=True)},
     "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
     "pad_token": "<|endoftext|>"},
], ids=["openai", "sdxl-2", "flux"])
def test_clip_special_tokens_of_published_configs(millrace, clip_folder, tmp_path, config):
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(clip_folder / name, tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": "CLIPTokenizer"}))
    lines = [line for line in LINES if "<|" in line or "!" in line][:3000]
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    theirs = hugging_face_ids(tokenizer, lines, padding="max_length", truncation=True, max_length=77)
    assert_same(our_ids(millrace, tmp_path, lines, "--max-length", 77, "--pad"), theirs, lines)


def test_t5_ids(millrace, t5_folder, tmp_path):
    tokenizer = T5Tokenizer.from_pretrained(t5_folder)
    theirs = hugging_face_ids(tokenizer, LINES)
    assert sum(2 in ids for ids in theirs) > 1000, "the vocabulary should leave characters unknown"
    assert_same(our_ids(millrace, t5_folder, LINES), theirs, LINES)
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").exists() and not (tmp_path / "spiece.model").exists()
    theirs = hugging_face_ids(T5Tokenizer.from_pretrained(tmp_path), LINES)
    assert_same(our_ids(millrace, tmp_path, LINES), theirs, LINES)


def test_t5_ids_where_the_file_splits_at_marks_alone(millrace, t5_folder, tmp_path):
    """As tokenizers that are made by hand do: then every blank counts, and a tab is a character."""
    T5Tokenizer.from_pretrained(t5_folder).save_pretrained(tmp_path)
    file = json.loads((tmp_path / "tokenizer.json").read_text())
    splits = file["pre_tokenizer"]["pretokenizers"]
    assert [split["type"] for split in splits] == ["WhitespaceSplit", "Metaspace"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(file | {"pre_tokenizer": splits[1]}))
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs = [encoding.ids for encoding in tokenizer.encode_batch(LINES)]
    assert_same(our_ids(millrace, tmp_path / "tokenizer.json", LINES), theirs, LINES)


def test_t5_padded_and_cut(millrace, t5_folder):
    tokenizer = T5Tokenizer.from_pretrained(t5_folder)
    lines = LINES[:3000]
    for length in (256, 16, 1):
        theirs = hugging_face_ids(tokenizer, lines, padding="max_length", truncation=True, max_length=length)
        assert_same(our_ids(millrace, t5_folder, lines, "--max-length", length, "--pad"), theirs, lines)


def test_t5_ids_are_sentencepieces_own_on_plain_text(millrace, t5_folder):
    """The library that T5 was trained with agrees wherever transformers does: no special tokens, no odd graphemes."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(t5_folder / "spiece.model"))
    rng = random.Random(3)
    lines = [" ".join(rng.choices(WORDS + CONTRACTIONS + EMOJI[:2] + ["1984", "3.5%", "(x)", "x, y"], k=12))
             for _ in range(2000)]
    assert_same(our_ids(millrace, t5_folder, lines), [processor.encode(line) + [1] for line in lines], lines)


def test_decoded_text(millrace, clip_folder, t5_folder):
    lines = [line for line in LINES[:4000] if len(line) < 400]
    for tokenizer, folder in ((CLIPTokenizer.from_pretrained(clip_folder), clip_folder),
                              (T5Tokenizer.from_pretrained(t5_folder), t5_folder)):
        ids = [list(x) for x in tokenizer(lines)["input_ids"]]
        result = millrace("tokenize", "--tokenizer", folder, "--decode", input="\n".join(map(json.dumps, ids)))
        ours = [json.loads(line)["text"] for line in result.stdout.split("\n")[:-1]]
        assert_same(ours, [tokenizer.decode(x, skip_special_tokens=True) for x in ids], lines)


def test_plain_strings_and_plain_text(millrace, clip_folder):
    lines = ["a cat", "it's \"quoted\"", "naïve"]
    theirs = hugging_face_ids(CLIPTokenizer.from_pretrained(clip_folder), lines)
    as_json = millrace("tokenize", "--tokenizer", clip_folder, input="".join(json.dumps(x) + "\n" for x in lines))
    as_text = millrace("tokenize", "--tokenizer", clip_folder, "--text", input="\n".join(lines))
    for result in (as_json, as_text):
        assert [json.loads(line)["ids"] for line in result.stdout.splitlines()] == theirs


@pytest.mark.parametrize("stdin, options, code, words", [
    (b'{"text": "a"}\n{"text": 5}\n', [], 3, ["standard input:2", "expected"]),
    (b'{"text": "a"\n', [], 3, ["standard input:1"]),
    (b'"\\ud800"\n', [], 3, ["standard input:1"]),
    (b"ok\nbad \xff byte\n", ["--text"], 3, ["standard input:2", "UTF-8", "byte 4"]),
    (b"", ["--pad"], 2, ["--max-length"]),
    (b'"a"\n', ["--max-length", "1"], 2, ["at least 2"]),
    (b'"a"\n', ["--kind", "t5"], 4, ["T5", "CLIP"]),
])
def test_bad_input_is_named(program, clip_folder, stdin, options, code, words):
    result = subprocess.run([program, "tokenize", "--tokenizer", clip_folder, *options], input=stdin,
                            capture_output=True)
    message = result.stderr.decode()
    assert result.returncode == code, message
    for word in words:
        assert word in message, message
