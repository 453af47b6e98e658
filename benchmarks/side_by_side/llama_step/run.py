"""Fine-tuning steps of a small Llama side by side: this program, transformers with peft, torchtune.

    .venv/bin/python benchmarks/side_by_side/llama_step/run.py --lora 16
    .venv/bin/python benchmarks/side_by_side/llama_step/run.py --lora 16 --lengths alpaca

Same random weights, rows, precision and optimizer; SmolLM2-135M's sizes with fewer layers, or Llama 3.2 1B's. The programs
take turns, run by run. Prints a Markdown table: medians of the steps' times, the ratio to the first peer, peak memory, seconds
from the start of the process to the beginning of the first step and to its end. `--lengths alpaca` has short rows of unequal
lengths, which the peers pad to the longest of a batch and this program packs: compare trained tokens/s there.

torchtune is not among the tests' wheels: where it cannot be imported, its rows are missing. (`pip install torchtune==0.6.1 torchao==0.17.0`:
other versions of torchao do not suit both torchtune and peft.)
"""

import argparse
import importlib.util
import json
import pathlib
import random
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parent), str(ROOT / "tests")]

from process_peak import run_apart  # noqa: E402
from turns import millrace_run, peer_run, print_table, take_turns  # noqa: E402


SIZES = {
    "smollm2-135m": dict(hidden_size=576, intermediate_size=1536, num_attention_heads=9, num_key_value_heads=3),
    "llama-3.2-1b": dict(hidden_size=2048, intermediate_size=8192, num_attention_heads=32, num_key_value_heads=8),
}


def prepare(folder, options):
    """Random weights with SmolLM2's tokenizer, rows of text, and the same rows as ids for the peers."""
    import torch
    from gguf_tokenizer import read_metadata, smollm2_file, write_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152, **SIZES[options.sizes], num_hidden_layers=options.layers, rope_theta=100000.0,
        rms_norm_eps=1e-5, tie_word_embeddings=True, max_position_embeddings=8192, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).to(getattr(torch, options.dtype)).save_pretrained(folder / "model")
    write_tokenizer(folder / "model", read_metadata(smollm2_file()))
    numbers = random.Random(1)
    words = (ROOT / "docs" / "llama.md").read_text().split()
    rows = []
    for _ in range(options.steps * options.batch * (1 if options.lengths == "full" else 6)):
        # Alpaca's rows, prompt and answer, have about 100 tokens in the median; a few have over 300.
        count = options.length if options.lengths == "full" else min(int(numbers.lognormvariate(3.9, 0.7)) + 8, 240)
        begin = numbers.randrange(len(words))
        rows.append(" ".join((words[begin:] + words + words)[:count]))
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "model" / "tokenizer.json"))
    (folder / "ids.json").write_text(json.dumps([[1, *tokenizer(row)["input_ids"], 2][: options.length] for row in rows]))


def millrace(folder, options, recompute, in_backward=False):
    arguments = {
        "job.task": "llama_lora" if options.lora else "llama_finetune", "checkpoint.initial_load_path": folder / "model",
        "finetune.data": folder / "rows.jsonl", "finetune.rows": "text", "finetune.chat_layout": "template", "finetune.max_seq_len": options.length,
        "finetune.shuffle": "false", "training.local_batch_size": options.batch, "training.steps": options.steps,
        "training.max_norm": 1, "training.dtype": options.dtype, "training.mixed_precision_param": options.dtype,
        "optimizer.name": "AdamW", "optimizer.lr": 1e-4, "optimizer.beta2": 0.95, "optimizer.weight_decay": 0.1,
        "lr_scheduler.name": "constant", "activation_checkpoint.mode": recompute, "finetune.save_model": "false",
    }  # fmt: skip
    if options.lora:
        arguments |= {"lora.rank": options.lora, "lora.alpha": 2 * options.lora,
                      "lora.targets": "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"}  # fmt: skip
        del arguments["finetune.save_model"], arguments["training.dtype"]
    if in_backward:
        arguments |= {"optimizer.in_backward": "true", "training.max_norm": "1e30"}
    if options.lengths == "alpaca":
        arguments |= {"finetune.packing": "best_fit"}
    return millrace_run(ROOT / "build" / "millrace", arguments, folder)


def peer(folder, options, name, *more):
    return peer_run([sys.executable, HERE / "worker.py", folder, "--peer", name, "--steps", options.steps, "--batch", options.batch,
                     "--length", options.length, "--lora", options.lora, "--dtype", options.dtype, *more], folder)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--sizes", choices=list(SIZES), default="smollm2-135m", help="of a layer; the vocabulary is SmolLM2's")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--lora", type=int, default=0, help="rank; 0 trains all weights")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--lengths", choices=["full", "alpaca"], default="full")
    parser.add_argument("--recompute", default="none", help="some of none,selective,full")
    parser.add_argument("--compile", action="store_true", help="transformers under torch.compile, too")
    parser.add_argument("--in-backward", action="store_true", help="updates in the backward pass, too, without clipping")
    options = parser.parse_args()
    library = "transformers + peft" if options.lora else "transformers"
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        run_apart(prepare, folder, options)
        programs = {library: lambda: peer(folder, options, "transformers")}
        if "full" in options.recompute:
            programs[f"{library}, recompute"] = lambda: peer(folder, options, "transformers", "--recompute")
        if options.compile:
            programs[f"{library}, compiled"] = lambda: peer(folder, options, "transformers", "--compile")
        if importlib.util.find_spec("torchtune"):
            programs["torchtune"] = lambda: peer(folder, options, "torchtune")
        if options.in_backward:
            programs[f"{library}, in backward"] = lambda: peer(folder, options, "transformers", "--in-backward")
            if importlib.util.find_spec("torchtune"):
                programs["torchtune, in backward"] = lambda: peer(folder, options, "torchtune", "--in-backward")
        for recompute in options.recompute.split(","):
            programs[f"millrace, recompute {recompute}"] = lambda recompute=recompute: millrace(folder, options, recompute)
            if options.in_backward:
                programs[f"millrace, recompute {recompute}, in backward"] = lambda recompute=recompute: millrace(
                    folder, options, recompute, in_backward=True)
        print_table(take_turns(programs, options.rounds), tokens=True)


main()
