"""What an H200 is expected to show, per row of the first run: (predicted us, us at the limit of bandwidth or arithmetic).
None: no prediction but that limit.

Predicted from the machine code that nvcc 13.1 makes for compute capability 9.0 (instruction counts, registers, order of
loads) at 132 multiprocessors, 1.7 GHz and 4.2 TB/s, and for products at 700 TFLOP/s; nothing was measured.
Kernels: 16 x 512 tokens of width 3072, bf16.
"""

KERNELS = {
    "norm_modulate forward": (38, 24),
    "norm_modulate backward": (110, 48),
    "gate_residual forward": (45, 36),
    "gate_residual backward": (48, 36),
    "gate_residual_norm forward": (80, 48),
    "gate_residual_norm backward": (170, 72),
    "gelu forward": (200, 96),
    "gelu backward": (260, 144),
    "qk_norm_rope forward": (180, 72),
    "qk_norm_rope backward": (340, 96),
    "heads merged": (28, 24),
    "adamw bf16 per 1e9": (7560, 3780),
    "global_norm per 1e9": (550, 504),
}

# Bytes at 4.2 TB/s: 8192 tokens of width 4096, 14336 inside, 48 heads of 128 of which 40 are turned, 512 rows of 128256 logits,
# matrices of 4096 x 4096; the optimizers' numbers move 16 bytes each.
_V, _INNER, _MATRIX = 8192 * 4096 * 2, 8192 * 14336 * 2, 4096 * 4096
LLAMA_KERNELS = {
    name: (None, round(size / 4.2e6))
    for name, size in {
        "add_rms_norm forward": 4 * _V,
        "rms_norm backward": 4 * _V,
        "rotary": 2 * 8192 * 40 * 128 * 2,
        "swiglu forward": 3 * _INNER,
        "swiglu backward": 5 * _INNER,
        "cross_entropy and gradient": 2 * 512 * 128256 * 2,
        "dequantise nf4": 2.52 * _MATRIX,
        "dequantise fp8": 3 * _MATRIX,
        "lion bf16 per 1e9": 16e9,
        "adamw8bit per 1e9": 16e9,
    }.items()
}

# 2 x rows x in x out at 700 TFLOP/s; the limit is the data sheet's 989.
_LAYERS = {"qkv": (1, 3), "proj": (1, 1), "mlp up": (1, 4), "mlp down": (4, 1), "linear1": (1, 7), "linear2": (5, 1)}
PRODUCTS = {}
for _rows in (8192, 10240):
    for _name, (_in, _out) in _LAYERS.items():
        _flops = 2 * _rows * _in * _out * 3072**2
        for _kind in ("y", "dx", "dw += ", "dw = "):
            PRODUCTS[f"{_name} of {_rows} rows, {_kind}"] = (round(_flops / 700e6), round(_flops / 989e6))

# Forward 306 and backward 166 TFLOP/s with FlashAttention-2 (public figures for H100, long rows), 566 and 470 with cuDNN.
ATTENTION = {}
for _batch, _tokens in ((16, 512), (20, 512), (4, 4608)):
    _flops = 4 * _batch * 24 * _tokens**2 * 128
    for _name, _times, _rate in (
        ("forward", 1, 306),
        ("backward, deterministic", 2.5, 166),
        ("forward, cuDNN", 1, 566),
        ("backward, cuDNN", 2.5, 470),
    ):
        _limit = round(_times * _flops / 989e6)
        ATTENTION[f"attention {_batch} x {_tokens} {_name}"] = (round(_times * _flops / (_rate * 1e6)), _limit)

# Three passes over 6.5 GB of weights; the gradient is read and written.
MODULATION = {"modulation forward": (1550, 1550), "modulation dw": (3100, 3100), "modulation dx": (1550, 1550)}

# The whole model, and six and twelve of its blocks, with selective recomputation.
STEPS = {
    "FLUX step, 19 + 38 blocks, 16 x 512 tokens": (725_000, 583_000),
    "FLUX step, 6 + 12 blocks, 16 x 512 tokens": (230_000, 184_000),
}

# Products of 8192 tokens at 700 TFLOP/s (three for each of 2.27e9 weights: 159 ms), AdamW as above (2.8e9: 21 ms), passes over
# activations at 3 TB/s (14 ms), logits (13 ms), and 5 ms for attention and the rest. LoRA has no products for the weights'
# gradients (1.0e9 weights: 47 ms) and, on a base in 4 bits, decodes each matrix twice.
LLAMA_STEPS = {"Llama step, 8 layers of 8B, 2 x 4096 tokens": (212_000, 135_000)}
LLAMA_LORA_STEPS = {
    "Llama LoRA step, 4 layers of 8B, 2 x 4096 tokens": (60_000, 38_000),
    "Llama LoRA step, 4 layers of 8B, 2 x 4096 tokens, base in nf4": (64_000, 39_000),
}

PREDICTIONS = {
    "kernels": KERNELS,
    "llama kernels": LLAMA_KERNELS,
    "products": PRODUCTS,
    "attention": ATTENTION,
    "modulation": MODULATION,
    "flux step": STEPS,
    "llama step": LLAMA_STEPS,
    "llama lora step": LLAMA_LORA_STEPS,
}
CHECKS = {
    "verify": "every check passes, also those of packed kernels at the widths of FLUX and Llama, attention, products and convolutions",
    "models": "every error is below its limit",
    "kill and resume": "the same bits, of FLUX and of Llama",
    "accumulation": "the loss curve of fp32 sums to 2^-7, and 4 bytes a parameter less memory",
    "lora step": "runs; no prediction",
    "torch blocks": "no prediction: what torch makes of the same blocks, eager and compiled",
    "whole modulation": "cuBLAS takes it, or fails with EXECUTION_FAILED as it did elsewhere from 2^31 elements on",
}
