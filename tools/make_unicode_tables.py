#!/usr/bin/env python3
"""Writes src/tokenizers/unicode_class_tables.cpp and unicode_normalization_tables.cpp.

The tables are what Hugging Face's tokenizers library answers, code point by code point, so that our ids equal its ids
for every character of whatever Unicode version it was built with. Needs tokenizers, regex and sentencepiece.
"""

import io
import pathlib
import unicodedata

import regex
import sentencepiece
import tokenizers
from tokenizers import Regex, normalizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
# The order of enum class Category in unicode.h, after its kOther.
CATEGORIES = [r"\p{N}", r"\s", r"\p{M}", r"\p{Lu}", r"\p{Ll}", r"\p{Lt}", r"\p{Lm}", r"\p{Lo}"]
# The order of enum class GraphemeClass in unicode.h.
GRAPHEME_CLASSES = ["Other", "CR", "LF", "Control", "Extend", "ZWJ", "RI", "Prepend", "SpacingMark", "L", "V", "T"]
PICTOGRAPH = len(GRAPHEME_CLASSES)


def matching(pattern):
    normalizer = normalizers.Replace(Regex(pattern), "")
    return {c for c in CODE_POINTS if normalizer.normalize_str(chr(c)) == ""}


def joined_to_letter():
    """Code points that one grapheme holds together with a letter before them: the map a -> X swallows them."""
    rules = pathlib.Path("/tmp/millrace_unicode_rules.tsv")
    rules.write_text("61\t58\n")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["X X b c d"] * 20), model_writer=model, vocab_size=8, hard_vocab_limit=False,
        normalization_rule_tsv=str(rules), minloglevel=2)
    rules.unlink()
    normalizer = normalizers.Precompiled(read_charsmap(model.getvalue()))
    return {c for c in CODE_POINTS if c and normalizer.normalize_str("a" + chr(c)) == "X"}


def read_charsmap(message):
    """Field 2 (precompiled_charsmap) of field 3 (normalizer_spec) of a SentencePiece model."""
    def fields(data):
        at = 0
        while at < len(data):
            key, at = varint(data, at)
            if key & 7 == 0:
                value, at = varint(data, at)
            elif key & 7 == 5:
                value, at = data[at:at + 4], at + 4
            else:
                assert key & 7 == 2
                size, at = varint(data, at)
                value, at = data[at:at + size], at + size
            yield key >> 3, value

    def varint(data, at):
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value, at

    for number, value in fields(message):
        if number == 3:
            for inner, content in fields(value):
                if inner == 2:
                    return bytes(content)
    return None


def class_ranges():
    category = {c: index for index, pattern in enumerate(CATEGORIES, 1) for c in matching(pattern)}
    assert {c for c in category if category[c] > CATEGORIES.index(r"\p{M}") + 1} == matching(r"\p{L}")
    joined = joined_to_letter()
    grapheme = {}
    for index, name in enumerate(GRAPHEME_CLASSES):
        pattern = regex.compile(r"\p{GCB=%s}" % name)
        for c in CODE_POINTS:
            if pattern.match(chr(c)):
                grapheme[c] = index
    pictograph = regex.compile(r"\p{Extended_Pictographic}")
    other, extend = 0, GRAPHEME_CLASSES.index("Extend")
    extending = {extend, GRAPHEME_CLASSES.index("ZWJ"), GRAPHEME_CLASSES.index("SpacingMark")}
    for c in CODE_POINTS:
        value = grapheme.get(c, other)
        if value in extending and c not in joined:
            value = other
        elif c in joined and value not in extending:
            value = extend
        if value == other and pictograph.match(chr(c)):
            value = PICTOGRAPH
        grapheme[c] = value
    ranges, last = [], None
    for c in CODE_POINTS:
        value = category.get(c, 0) | grapheme[c] << 4
        if value != last:
            ranges.append(c << 8 | value)
            last = value
    return ranges


def lowercase_ranges():
    lower = normalizers.Lowercase()
    pairs = []
    for c in CODE_POINTS:
        text = lower.normalize_str(chr(c))
        if text != chr(c):
            if len(text) == 1:
                pairs.append((c, ord(text)))
            else:
                assert c == 0x130 and text == "i\u0307", hex(c)
    ranges = []  # first, last, stride, delta
    for c, to in pairs:
        if ranges:
            first, last, stride, delta = ranges[-1]
            step = c - last
            if delta == to - c and step in (1, 2) and (stride == step or first == last):
                ranges[-1] = (first, c, step, delta)
                continue
        ranges.append((c, c, 1, to - c))
    return ranges


def normalization():
    nfc, nfd = normalizers.NFC(), normalizers.NFD()
    decompositions, classes = [], []
    for c in CODE_POINTS:
        if 0xAC00 <= c < 0xD7A4 or nfd.normalize_str(chr(c)) == chr(c):
            continue
        first, second = (unicodedata.decomposition(chr(c)).split() + ["0"])[:2]
        first, second = int(first, 16), int(second, 16)
        composes = second != 0 and nfc.normalize_str(chr(first) + chr(second)) == chr(c)
        decompositions.append((c, first, second, composes))
    for c in CODE_POINTS:
        combining = unicodedata.combining(chr(c))
        if combining:
            # Is c moved before U+0345 (class 240) or behind U+0334 (class 1)? If not, the library does not know it.
            low, high = "a\u0345" + chr(c), "a" + chr(c) + "\u0334"
            if nfd.normalize_str(low) == unicodedata.normalize("NFD", low) and nfd.normalize_str(
                    high) == unicodedata.normalize("NFD", high):
                classes.append(c << 8 | combining)
    return decompositions, classes


def lines(values):
    text, line = [], " "
    for value in values:
        if len(line) + len(value) + 2 > 119:
            text.append(line)
            line = " "
        line += " " + value + ","
    text.append(line)
    return "\n".join(text)


def main():
    decompositions, classes = normalization()
    lowers = lowercase_ranges()
    folder = pathlib.Path(__file__).resolve().parent.parent / "src/tokenizers"
    write(folder / "unicode_class_tables.cpp", {
        "uint32_t class_ranges": (hex(x) for x in class_ranges()),
        "LowercaseRange lowercase_ranges": ("{%#x, %#x, %d, %d}" % x for x in lowers),
    })
    write(folder / "unicode_normalization_tables.cpp", {
        "Decomposition decompositions": ("{%#x, %#x, %#x, %d}" % x for x in decompositions),
        "uint32_t combining_classes": (hex(x) for x in classes),
    })


def write(path, tables):
    out = f"""// Made by tools/make_unicode_tables.py from tokenizers {tokenizers.__version__}; do not edit.
// clang-format off
#include "tokenizers/unicode_tables.h"

namespace millrace::unicode {{
namespace {{
"""
    functions = ""
    for declaration, values in tables.items():
        kind, function = declaration.split()
        constant = "k" + "".join(part.capitalize() for part in function.split("_"))
        out += f"\nconstexpr {kind} {constant}[] = {{\n{lines(values)}\n}};\n"
        functions += f"std::span<const {kind}> {function}() {{ return {constant}; }}\n"
    path.write_text(out + f"\n}}  // namespace\n\n{functions}\n}}  // namespace millrace::unicode\n")


if __name__ == "__main__":
    main()
