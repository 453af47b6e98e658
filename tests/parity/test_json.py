"""JSON as Python reads it: the parser for samples' json against json.loads, on documents made at random and then damaged."""

import json
import random
import struct
import subprocess

import pytest
from pictures import BUILD

pytestmark = pytest.mark.fast

TOOL = BUILD / "tests" / "fuzz" / "millrace_formats_tool"


def canonical(value):
    """The text that the tool prints of a value: no two different values have the same."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int():
            return f"i{value}"
        case float():
            return "nan" if value != value else "d" + struct.pack(">d", value).hex()
        case str():
            return "s" + value.encode("utf-8", "surrogatepass").hex()
        case list():
            return "[" + ",".join(map(canonical, value)) + "]"
        case dict():
            return "{" + ",".join(f"{canonical(key)}:{canonical(item)}" for key, item in value.items()) + "}"


def read(documents):
    """What the tool makes of each of the documents."""
    content = b"".join(struct.pack("<I", len(document)) + document for document in documents)
    result = subprocess.run([TOOL, "read-python-json"], input=content, capture_output=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.decode().splitlines()


def python_reads(document):
    try:
        return canonical(json.loads(document))
    except (ValueError, RecursionError):
        return "refused"


def made_up(generator, depth=0):
    choice = generator.randrange(12 if depth < 4 else 9)
    if choice == 0:
        return generator.choice([None, True, False])
    if choice == 1:
        return generator.choice([float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1.7976931348623157e308])
    if choice < 4:
        return generator.choice([1, -1]) * generator.getrandbits(generator.choice([3, 32, 53, 63, 64, 65, 200]))
    if choice < 6:
        return generator.uniform(-1, 1) * 10 ** generator.randrange(-300, 300)
    if choice < 9:
        characters = ["a", '"', "\\", "/", "\n", "\0", "\x7f", "é", "中", "😀", "\ud83d", "\ude00", "\uffff", " "]
        return "".join(generator.choices(characters, k=generator.randrange(6)))
    if choice == 9:
        return [made_up(generator, depth + 1) for _ in range(generator.randrange(4))]
    return {made_up(generator, 9) if generator.randrange(2) else "k": made_up(generator, depth + 1) for _ in range(generator.randrange(4))}


def documents():
    generator = random.Random(7)
    encodings = ["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
    for _ in range(4000):
        text = json.dumps(made_up(generator), ensure_ascii=generator.randrange(2) == 0, indent=generator.choice([None, None, 1]))
        if generator.randrange(4) == 0:
            text = text.replace('"k"', '"\\u006b"', 1)  # a key twice
        encoding = generator.choice(encodings)
        content = text.encode(encoding, "surrogatepass") if "sig" not in encoding else b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass")
        yield content
        damaged = bytearray(content)
        for _ in range(generator.randrange(1, 3)):
            at = generator.randrange(len(damaged) + 1)
            match generator.randrange(3):
                case 0:
                    damaged[at : at + 1] = bytes([generator.choice(b'{}[]",:\\u019eE+-.NInd \t\n\0\xff\xc3\xed\xa0')])
                case 1:
                    del damaged[at : at + generator.randrange(1, 4)]
                case 2:
                    damaged[at:at] = generator.choice([b"NaN", b"-Infinity", b"1e999", b"\\ud83d", b"\\ude00", b'"a":1,', b" ", b"\xef\xbb\xbf", b"0"])
        yield bytes(damaged)


def test_reads_what_python_reads():
    cases = list(documents())
    cases += [b"[" * 300 + b"]" * 300, b"1" * 4300, b"1" * 4301, b"-" + b"1" * 4300, b"0." + b"1" * 5000, b"1e" + b"9" * 5000]
    expected = [python_reads(case) for case in cases]
    differing = [each for each in zip(cases, read(cases), expected, strict=True) if each[1] != each[2]]
    assert not differing
    assert 0.2 < expected.count("refused") / len(expected) < 0.6, "both happen"
