"""Fine-tuning steps of a peer: transformers (with peft for LoRA) or torchtune's modules. For run.py beside it."""

import argparse
import json
import pathlib
import time

import torch

LORA_ALPHA = 2  # times the rank


def build_transformers(folder, options, dtype):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=dtype)
    if options.lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=options.lora, lora_alpha=LORA_ALPHA * options.lora, target_modules="all-linear"))
    if options.recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if options.lora:
            model.enable_input_require_grads()

    def loss_of(ids, labels):
        mask = (labels != -100).long()
        return model(input_ids=ids, attention_mask=mask, labels=labels).loss

    return model, loss_of


def build_torchtune(folder, options, dtype):
    from safetensors.torch import load_file
    from torchtune.models import convert_weights
    from torchtune.models.llama3_2 import llama3_2, lora_llama3_2
    from torchtune.modules.loss import CEWithChunkedOutputLoss
    from torchtune.modules.peft import get_adapter_params, set_trainable_params

    config = json.loads((folder / "model" / "config.json").read_text())
    sizes = dict(
        vocab_size=config["vocab_size"], num_layers=config["num_hidden_layers"], num_heads=config["num_attention_heads"],
        num_kv_heads=config["num_key_value_heads"], embed_dim=config["hidden_size"], max_seq_len=options.length,
        intermediate_dim=config["intermediate_size"], norm_eps=config["rms_norm_eps"],
    )  # fmt: skip
    if options.lora:
        model = lora_llama3_2(
            lora_attn_modules=["q_proj", "k_proj", "v_proj", "output_proj"], apply_lora_to_mlp=True, lora_rank=options.lora,
            lora_alpha=LORA_ALPHA * options.lora, **sizes,
        )  # fmt: skip
    else:
        model = llama3_2(**sizes)
    weights = convert_weights.hf_to_tune(
        load_file(folder / "model" / "model.safetensors"), num_heads=sizes["num_heads"], num_kv_heads=sizes["num_kv_heads"],
        dim=sizes["embed_dim"], head_dim=config["hidden_size"] // config["num_attention_heads"],
    )  # fmt: skip
    weights.pop("output.weight", None)
    _, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected, unexpected
    model.to(dtype)
    if options.lora:
        set_trainable_params(model, get_adapter_params(model))
    if options.recompute:
        from torchtune import training
        from torchtune.modules import TransformerSelfAttentionLayer

        training.set_activation_checkpointing(model, auto_wrap_policy={TransformerSelfAttentionLayer})
    loss_function = CEWithChunkedOutputLoss()
    model.set_num_output_chunks(loss_function.num_output_chunks)

    def loss_of(ids, labels):
        shifted = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], 1)
        return loss_function(model(ids), shifted)

    return model, loss_of


def step_in_backward(trained, adamw):
    """As torchtune's optimizer_in_bwd: a rule for each parameter, run where its gradient is complete."""
    rules = {parameter: adamw([parameter]) for parameter in trained}

    def step(parameter):
        rules[parameter].step()
        rules[parameter].zero_grad()

    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(step)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--peer", choices=["transformers", "torchtune"], required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--lora", type=int, default=0)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--in-backward", action="store_true")
    options = parser.parse_args()

    rows = json.loads((options.folder / "ids.json").read_text())
    build = {"transformers": build_transformers, "torchtune": build_torchtune}[options.peer]
    model, loss_of = build(options.folder, options, getattr(torch, options.dtype))
    model.train()
    if options.compile:
        loss_of = torch.compile(loss_of)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def adamw(parameters):
        return torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)

    if options.in_backward:
        step_in_backward(trained, adamw)
    else:
        optimizer = adamw(trained)
    seconds, losses, tokens, first = [], [], [], None
    for step in range(options.steps):
        begin = time.perf_counter()
        batch = rows[step * options.batch : (step + 1) * options.batch]
        longest = max(map(len, batch))  # padded to the longest of the batch, as both peers collate
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in batch])
        labels = torch.tensor([row + [-100] * (longest - len(row)) for row in batch])
        loss = loss_of(ids, labels)
        loss.backward()
        if not options.in_backward:
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - begin)
        tokens.append(sum(len(row) - 1 for row in batch))
        first = first or time.time()
    print(json.dumps({"seconds": seconds, "first": first, "losses": losses, "tokens": tokens}))


main()
