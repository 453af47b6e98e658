"""Writing text with a small Llama side by side: this program and llama.cpp.

    .venv/bin/python benchmarks/side_by_side/llama_generate/run.py

Random weights of SmolLM2-135M's sizes, one prompt, the likeliest token each time, the same number of threads. The programs take
turns. Prints a Markdown table: medians of the seconds per token written, and of those for the prompt. This program's are
differences of whole runs: with many and with few tokens to write, with a long and with a short prompt; llama.cpp says its own.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "build" / "millrace"
sys.path.insert(0, str(ROOT / "tests"))

FEW, SHORT = 8, 8  # tokens


def prepare(folder, options):
    import torch
    from gguf_tokenizer import read_metadata, smollm2_file, write_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=options.layers, num_attention_heads=9,
        num_key_value_heads=3, rope_theta=100000.0, rms_norm_eps=1e-5, tie_word_embeddings=True, max_position_embeddings=8192,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    write_tokenizer(folder / "model", read_metadata(smollm2_file()))
    (folder / "config.toml").write_text('[model]\nname = "llama"\n[finetune]\nrows = "text"\nchat_layout = "template"\n[training]\ndevice = "cpu"\n')
    for dtype in ("fp32", "fp16"):
        command = [PROGRAM, "export", folder / "model", folder / f"{dtype}.gguf", "--model", "llama", "--format", "gguf", "--dtype", dtype]
        subprocess.run([str(word) for word in command], check=True, capture_output=True)


def prompt_of(tokens):
    return " cat" * tokens


def millrace_seconds(folder, options, dtype, prompt_tokens, new_tokens):
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads)}
    command = [PROGRAM, "sample", "--weights", folder / "model", "--config", folder / "config.toml", "--temperature=0", "--json",
               f"--max-new-tokens={new_tokens}", f"--training.mixed_precision_param={dtype}", "-p", prompt_of(prompt_tokens)]  # fmt: skip
    started = time.monotonic()
    done = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, env=environment)
    seconds = time.monotonic() - started
    if not json.loads(done.stdout)["text"]:
        sys.exit("expected a text, got none")
    return seconds


def millrace(folder, options, dtype):
    few = millrace_seconds(folder, options, dtype, SHORT, FEW)
    many = millrace_seconds(folder, options, dtype, SHORT, FEW + options.tokens)
    long = millrace_seconds(folder, options, dtype, SHORT + options.prompt, FEW)
    return (many - few) / options.tokens, (long - few) / options.prompt


def llama_cpp(file, options):
    """In a process of its own, so that the programs never share the cores."""
    command = [sys.executable, __file__, "--worker", str(file), "--tokens", str(options.tokens), "--prompt", str(options.prompt),
               "--threads", str(options.threads)]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def worker(file, options):
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = file
    settings.n_ctx, settings.n_parallel, settings.n_gpu_layers = 4096, 1, 0
    settings.cpuparams.n_threads, settings.warmup, settings.verbosity = options.threads, True, -1
    server = xllamacpp.Server(settings)

    def timings(prompt_tokens, new_tokens):
        request = {"prompt": prompt_of(prompt_tokens), "n_predict": new_tokens, "temperature": 0.0, "cache_prompt": False, "ignore_eos": True}
        answer = server.handle_completions(request)
        answer = json.loads(answer) if isinstance(answer, str) else answer
        return answer["timings"]

    timings(SHORT, FEW)
    written, read = timings(SHORT, options.tokens), timings(options.prompt, FEW)
    print(json.dumps([written["predicted_per_token_ms"] / 1000, read["prompt_ms"] / 1000 / read["prompt_n"]]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=128, help="to write")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of a long prompt")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dtypes", default="float32", help="of this program: some of float32,bfloat16")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker, options)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prepare(folder, options)
        programs = {
            "llama.cpp, F32": lambda: llama_cpp(folder / "fp32.gguf", options),
            "llama.cpp, F16": lambda: llama_cpp(folder / "fp16.gguf", options),
        } | {f"millrace, {dtype}": lambda dtype=dtype: millrace(folder, options, dtype) for dtype in options.dtypes.split(",")}
        runs = {program: [] for program in programs}
        for _ in range(options.rounds):
            for program, run in programs.items():
                runs[program].append(run())
                print(program, runs[program][-1], file=sys.stderr, flush=True)
    medians = {program: [statistics.median(values) for values in zip(*made, strict=True)] for program, made in runs.items()}
    first = next(iter(medians.values()))
    print("| | ms per token written | of the first | ms per token of the prompt | of the first |\n|---|---|---|---|---|")
    for program, (written, read) in medians.items():
        print(f"| {program} | {1000 * written:.2f} | {written / first[0]:.2f} | {1000 * read:.3f} | {read / first[1]:.2f} |")


if __name__ == "__main__":
    main()
