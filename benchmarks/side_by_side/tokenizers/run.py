#!/usr/bin/env python3
"""CPU time on one thread: millrace against Hugging Face's tokenizers and OpenAI's tiktoken (both Rust), interleaved, medians.

    .venv/bin/python benchmarks/side_by_side/tokenizers/run.py

needs build/benchmarks/micro/tokenizers_benchmark. Both sides cut and pad every caption (CLIP 77, T5 256 ids), or encode
every line of text and code (Llama 3), and must agree on all of them; tests/parity checks the same on harder text.
"""

import base64
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import sentencepiece  # noqa: E402
import tiktoken  # noqa: E402
from transformers import CLIPTokenizer, T5Tokenizer  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "parity")]
import test_llama_text  # noqa: E402
import test_tokenizers  # noqa: E402

ROUNDS = 7
ENDS = [".", "", "!", " 2019"]


def captions():
    """English captions in the style of web data, one in twenty of mixed script."""
    import random
    rng = random.Random(11)
    english = [w for w in test_tokenizers.WORDS if w.isascii()]
    more = """stock vector illustration isolated white background close up portrait young business people working
    office modern interior design living room kitchen sofa vintage hand drawn seamless pattern flower leaves summer beach
    sunset panorama mountains aerial view old town architecture football player celebrates scoring goal during match""".split()
    plain = [" ".join(rng.choices(english + more, k=rng.randint(6, 24))).capitalize() + rng.choice(ENDS)
             for _ in range(4750)]
    mixed = [line for line in test_tokenizers.make_lines(2000) if line and "\n" not in line and "\r" not in line
             and "\x00" not in line and len(line) < 300][:250]
    lines = plain + mixed
    rng.shuffle(lines)
    return lines


def ours(name, tokenizer, captions_path):
    variable = f"MILLRACE_{name.upper()}_TOKENIZER"
    result = subprocess.run(
        [ROOT / "build/benchmarks/micro/tokenizers_benchmark", f"--benchmark_filter=^{name}$",
         "--benchmark_format=json"],
        env={**os.environ, variable: str(tokenizer), "MILLRACE_CAPTIONS": str(captions_path)},
        capture_output=True, text=True, check=True)
    run = json.loads(result.stdout)["benchmarks"][0]
    assert "error_message" not in run, run
    return run["cpu_time"] / 1000


def theirs(tokenizer, lines, length):
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(length)
    backend.enable_padding(length=length, pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    start = time.process_time()
    encoded = backend.encode_batch(lines)
    return time.process_time() - start, [e.ids for e in encoded]


def texts():
    """Prose and code: what is in docs/ and src/, and one line in ten of mixed scripts."""
    import random
    paths = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("src/**/*.h"), *ROOT.glob("src/**/*.cpp"), *ROOT.glob("tests/**/*.py")])
    lines = [line for path in paths for line in path.read_text().splitlines() if line]
    mixed = [line for line in test_tokenizers.make_lines(len(lines) // 9) if line and not set(line) & set("\n\r\0")]
    lines += mixed
    random.Random(3).shuffle(lines)
    return lines


def llama3(folder):
    """The table's row: Llama 3's tokenizer.model against tiktoken."""
    lines = texts()
    (folder / "lines.txt").write_text("\n".join(lines))
    pairs = [line.split() for line in test_llama_text.LLAMA3.read_text().splitlines()]
    ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
    encoding = tiktoken.Encoding("llama3", pat_str=test_llama_text.SPLIT, mergeable_ranks=ranks, special_tokens={})
    program = subprocess.run([ROOT / "build/millrace", "tokenize", "--tokenizer", test_llama_text.LLAMA3],
                             input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True, text=True, check=True)
    assert [json.loads(x)["ids"] for x in program.stdout.splitlines()] == [encoding.encode_ordinary(x) for x in lines]
    us, them = [], []
    for _ in range(ROUNDS):
        us.append(ours("llama3", test_llama_text.LLAMA3, folder / "lines.txt"))
        start = time.process_time()
        for line in lines:
            encoding.encode_ordinary(line)
        them.append(time.process_time() - start)
    size = sum(len(line.encode()) for line in lines) / 2**20
    a, b = statistics.median(us), statistics.median(them)
    print(f"| llama3, {len(lines)} lines | {size / a:.1f} | {size / b:.2f} (tiktoken) | {b / a:.1f} |", flush=True)


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        lines = captions()
        (folder / "captions.txt").write_text("\n".join(lines))
        corpus = lines + [line for line in test_tokenizers.make_lines(3000) if "\x00" not in line and len(line) < 3000]
        (folder / "t5").mkdir()
        with open(folder / "t5/spiece.model", "wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(corpus), model_writer=file, vocab_size=8000, character_coverage=0.98,
                pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2)
        clip_folder = test_tokenizers.write_clip_folder(folder / "clip")
        size = sum(len(line.encode()) for line in lines) / 2**20
        print("| tokenizer | millrace MiB/s | peer MiB/s | ratio |\n| --- | --- | --- | --- |")
        for name, loader, path, length in (("clip", CLIPTokenizer, clip_folder, 77),
                                           ("t5", T5Tokenizer, folder / "t5", 256)):
            tokenizer = loader.from_pretrained(path)
            program = subprocess.run(
                [ROOT / "build/millrace", "tokenize", "--tokenizer", path, "--max-length", str(length), "--pad"],
                input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True, text=True, check=True)
            assert [json.loads(x)["ids"] for x in program.stdout.splitlines()] == theirs(tokenizer, lines, length)[1]
            us, them = [], []
            for _ in range(ROUNDS):
                us.append(ours(name, path, folder / "captions.txt"))
                them.append(theirs(tokenizer, lines, length)[0])
            a, b = statistics.median(us), statistics.median(them)
            print(f"| {name} | {size / a:.1f} | {size / b:.2f} | {b / a:.1f} |", flush=True)
        llama3(folder)


if __name__ == "__main__":
    main()
