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
from transformers import CLIPTokenizer, T5Tokenizer

OPEN_CLIP = pathlib.Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
NUM_LINES = 12_000

SCRIPTS = {  # ranges to draw letters from
    "latin": [(0x61, 0x7A), (0x41, 0x5A)],
    "accents": [(0xC0, 0x24F), (0x1E00, 0x1EFF), (0x61, 0x7A)],
    "cyrillic": [(0x400, 0x52F)],
    "greek": [(0x370, 0x3FF), (0x1F00, 0x1FFF)],
    "han": [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0xF900, 0xFAFF)],
    "kana": [(0x3041, 0x30FF), (0xFF61, 0xFF9F)],
    "hangul": [(0xAC00, 0xD7A3)],
    "jamo": [(0x1100, 0x11FF)],
    "arabic": [(0x600, 0x6FF), (0xFB50, 0xFDFF)],
    "hebrew": [(0x591, 0x5F4)],
    "devanagari": [(0x900, 0x97F)],
    "thai": [(0xE01, 0xE5B)],
    "tibetan": [(0xF00, 0xFDA)],
    "fullwidth": [(0xFF01, 0xFF5E)],
    "mathematical": [(0x1D400, 0x1D7FF)],
    "georgian": [(0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2D)],
    "cherokee": [(0x13A0, 0x13FD), (0xAB70, 0xABBF)],
    "plane1": [(0x10400, 0x1044F), (0x1E900, 0x1E943), (0x10000, 0x100FA)],
}
DIGITS = ["0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "๐๑๒๓๔๕๖๗๘๙", "０１２３４５６７８９", "½¼¾²³⅓①②ⅣⅨⅻ〇〡"]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🇩🇪", "🇯🇵🇫🇷", "❤️", "👨🏿‍🚀", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☎", "1️⃣", "©️", "™", "🫠", "🪿"]
COMBINING = ["\u0301", "\u0308", "\u0327", "\u0323", "\u0302\u0301", "\u0345", "\u20dd", "\u093c", "\u0e38", "\u05b7"]
SPACES = [" ", "  ", "\t", "\u00a0", "\u3000", "\u2003", "\u200b", "\u200d", "\u200c", "\ufeff", "\u2028", "\u0085",
          "\u1680", "\r", "\x0b", "\x1f", "\u202f", "\u2060", "\u180e", "\r "]
CONTROLS = ["\x01", "\x07", "\x1b", "\x7f", "\x80", "\u009f", "\u00ad", "\u061c", "\u202e", "\ufffd", "\ufffe", "\ue000"]
PUNCTUATION = [".", ",", "!", "?!", "...", "…", "-", "—", "(", ")", "[x]", "«", "»", "„", "“", "”", "’", "'", "\"", "_",
               "__", "@", "#", "$", "€", "%", "&amp;", "/", "\\", "~", "^", "`", "<", ">", "|", "<|", "|>", "、", "。", "▁",
               "▁▁", "a▁b", "</w>", "Ġ", "ﬁ", "ﷺ", "Å", "ẞ", "İ", "ı", "Σας", "ǅ", "㍿", "㌔"]
SPECIAL = ["<|endoftext|>", "<|startoftext|>", "<|ENDOFTEXT|>", "<|StartOfText|>", "!<|endoftext|>!", "<|endoftext", "</s>",
           "<s>", "<pad>", "<unk>", "<extra_id_0>", "<extra_id_99>", "<extra_id_7>x", "<extra_id_100>", "＜pad＞",
           "<start_of_text>", "<mask>", "[CLS]"]
CONTRACTIONS = ["it's", "don't", "WE'RE", "I've", "I'm", "she'll", "he'd", "'sam", "rock'n'roll", "y'all'd've", "''s",
                "it\u2019s", "'S", "!'s", "'tis", "o'clock"]
WORDS = """a the of and photo picture painting drawing cat dog red green blue sky mountain river city street night day
morning light shadow woman man child holding standing sitting on in under near beautiful detailed high quality style
naïve café über straße señor garçon привет мир картина собака солнце γειά σου κόσμε 日本語 中国 写真 한국어 사진 مرحبا
שלום नमस्ते สวัสดี Überraschung rendering unbelievable photorealistic""".split()


def make_lines(count=NUM_LINES, seed=20240501):
    rng = random.Random(seed)

    def letters(script, low=1, high=10):
        return "".join(chr(rng.randint(*rng.choice(SCRIPTS[script]))) for _ in range(rng.randint(low, high)))

    def word():
        kind = rng.random()
        if kind < 0.35:
            text = rng.choice(WORDS)
            return rng.choice([text, text.upper(), text.capitalize()]) if rng.random() < 0.3 else text
        if kind < 0.62:
            return letters(rng.choice(list(SCRIPTS)))
        if kind < 0.68:
            return "".join(rng.choice(rng.choice(DIGITS)) for _ in range(rng.randint(1, 6)))
        if kind < 0.74:
            return rng.choice(EMOJI)
        if kind < 0.80:
            return "".join(rng.choice("aeioun\u00e9\u0915\u0e01\u05d0\u03c9") + rng.choice(COMBINING)
                           for _ in range(rng.randint(1, 4)))
        if kind < 0.86:
            return rng.choice(PUNCTUATION) * rng.choice([1, 1, 1, 3])
        if kind < 0.90:
            return rng.choice(CONTRACTIONS)
        if kind < 0.93:
            return rng.choice(SPECIAL)
        if kind < 0.95:
            return rng.choice(CONTROLS)
        if kind < 0.96:
            return letters("latin", 40, 400)
        return "".join(chr(rng.choice([rng.randint(1, 0x7FF), rng.randint(0x800, 0xD7FF), rng.randint(0xE000, 0x1FFFF),
                                       rng.randint(0xE0000, 0xE01FF)])) for _ in range(rng.randint(1, 6)))

    lines = ["", " ", "\u3000", "\x00", "a\x00b", "<|endoftext|>", "</s>", "'", "a" * 5000, "ab" * 3000, "é" * 2000]
    while len(lines) < count:
        parts = []
        for _ in range(rng.randint(0, 16)):
            parts.append(word())
            if rng.random() < 0.85:
                parts.append(" " if rng.random() < 0.75 else rng.choice(SPACES))
        lines.append("".join(parts))
    return lines


def every_code_point():
    """Each code point up to plane 2 and plane 14's tags, next to a letter and on its own, thirty to a line."""
    points = [c for c in [*range(1, 0x20000), *range(0xE0000, 0xE0200)] if not 0xD800 <= c < 0xE000]
    return [" ".join(f"{chr(c)} a{chr(c)}b" for c in points[i:i + 30]) for i in range(0, len(points), 30)]


LINES = make_lines() + every_code_point()


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


def our_ids(millrace, tokenizer, lines, *options):
    text = "".join(json.dumps({"text": line}) + "\n" for line in lines)
    result = millrace("tokenize", "--tokenizer", tokenizer, *options, input=text)
    return [json.loads(line)["ids"] for line in result.stdout.splitlines()]


def assert_same(ours, theirs, lines):
    assert len(ours) == len(theirs) == len(lines)
    different = [(line, a, b) for line, a, b in zip(lines, ours, theirs) if a != b]
    assert not different, f"{len(different)} of {len(lines)} lines differ, first: {different[0]}"


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
