"""Fine-tuning steps of transformers (with peft for LoRA), eager: for run.py, which compares them with this program's."""

import argparse
import json
import pathlib

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--lora", type=int, default=0)
    parser.add_argument("--recompute", action="store_true")
    options = parser.parse_args()

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(options.folder / "model" / "tokenizer.json"))
    rows = [json.loads(line)["text"] for line in (options.folder / "rows.jsonl").read_text().splitlines()]
    bos = json.loads((options.folder / "model" / "config.json").read_text())["bos_token_id"]
    ids = torch.tensor([[bos, *tokenizer(row)["input_ids"]][: options.length] for row in rows])
    model = AutoModelForCausalLM.from_pretrained(options.folder / "model", attn_implementation="eager", dtype=torch.float32)
    if options.lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=options.lora, lora_alpha=2 * options.lora, target_modules="all-linear"))
    if options.recompute:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    losses = []
    for step in range(options.steps):
        batch = ids[step * options.batch : (step + 1) * options.batch]
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    print(json.dumps({"losses": losses}))


main()
