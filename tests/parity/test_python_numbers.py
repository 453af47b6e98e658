"""Numbers and JSON in the files that promise Python's form, to the byte: the MLPerf log and the checkpoints' checksums."""

import json
import os
import subprocess
from pathlib import Path

import numpy
import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("MILLRACE", ROOT / "build" / "millrace")).parent
TOOL = BUILD / "tests" / "parity" / "millrace_python_numbers_tool"
NUM_RANDOM = 300_000  # of each of the three random kinds


def run(command, data: bytes) -> list[str]:
    return subprocess.run([TOOL, command], input=data, capture_output=True, check=True, timeout=300).stdout.decode().split("\n")[:-1]


def with_neighbours(values: numpy.ndarray) -> numpy.ndarray:
    return numpy.concatenate([values, numpy.nextafter(values, -numpy.inf), numpy.nextafter(values, numpy.inf)])


def doubles() -> numpy.ndarray:
    """All magnitudes, and the places where formatting changes or goes wrong."""
    generator = numpy.random.default_rng(7)
    powers_of_ten = numpy.array([float(f"1e{exponent}") for exponent in range(-323, 309)])
    powers_of_two = numpy.ldexp(1.0, numpy.arange(-1074, 1024))
    kinds = [
        generator.integers(0, 2**64, NUM_RANDOM, dtype=numpy.uint64).view(numpy.float64),  # any bit pattern
        generator.integers(0, 2**52, NUM_RANDOM // 3, dtype=numpy.uint64).view(numpy.float64),  # subnormal
        generator.uniform(0.1, 1, NUM_RANDOM) * 10.0 ** generator.integers(-6, 18, NUM_RANDOM),  # what logs hold
        numpy.round(generator.uniform(0, 100, NUM_RANDOM), 3),  # few digits
        2.0**53 + numpy.arange(-5000.0, 5000.0),
        numpy.arange(-5000.0, 5000.0),
        numpy.arange(1.0, 5000.0) * 1e12,
        with_neighbours(powers_of_ten), with_neighbours(powers_of_two), with_neighbours(powers_of_ten[:-1] * 9.5),
        numpy.array([0.0, -0.0, numpy.inf, -numpy.inf, numpy.nan, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308]),
    ]  # fmt: skip
    return numpy.concatenate([*kinds, -kinds[2]])


def test_floats_are_written_as_python_writes_them():
    values = doubles()
    assert len(values) > 1_000_000
    got, expected = run("floats", values.tobytes()), [repr(value) for value in values.tolist()]
    assert len(got) == len(expected)
    assert [pair for pair in zip(got, expected) if pair[0] != pair[1]][:10] == []


def test_json_is_written_as_python_writes_it():
    numbers = [value for value in doubles()[: NUM_RANDOM // 10].tolist() if numpy.isfinite(value)]
    value = {
        "numbers": numbers + [0, -1, 2**63 - 1, -(2**63), 2**64 - 1], "empty": [{}, [], ""], "others": [None, True, False],
        "text": "".join(map(chr, range(0x180))) + "\u2028\ud7ff\ufffd\U0001f600", "Zürich \U0001f600": {"z": 1, "a": [1.5]},
    }  # fmt: skip
    spaced, compact = run("json", json.dumps(value).encode())
    assert spaced == json.dumps(value)
    assert compact == json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
