"""Lines of mixed scripts, code points of every kind, and what compares ids of them."""

import json
import random

NUM_LINES = 12_000

# The expression by which Mistral Nemo and Mistral Small split text.
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)

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


def our_ids(millrace, tokenizer, lines, *options):
    text = "".join(json.dumps({"text": line}) + "\n" for line in lines)
    result = millrace("tokenize", "--tokenizer", tokenizer, *options, input=text)
    return [json.loads(line)["ids"] for line in result.stdout.splitlines()]


def assert_same(ours, theirs, lines):
    assert len(ours) == len(theirs) == len(lines)
    different = [(line, a, b) for line, a, b in zip(lines, ours, theirs) if a != b]
    assert not different, f"{len(different)} of {len(lines)} lines differ, first: {different[0]}"
