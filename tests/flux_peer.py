"""A small FLUX of odd sizes in diffusers, and ours on the same weights and inputs: for tests of LoRA files."""

import torch
from diffusers import FluxTransformer2DModel
from helpers import load, random_tensors, save

HIDDEN, HEADS, DOUBLE, SINGLE = 48, 3, 2, 3
SIZES = dict(
    patch_size=1, in_channels=16, num_layers=DOUBLE, num_single_layers=SINGLE, attention_head_dim=16, num_attention_heads=HEADS,
    joint_attention_dim=40, pooled_projection_dim=24, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
)  # fmt: skip
# The layers of the blocks in kohya's words, outputs by inputs.
LAYERS = {
    f"double_blocks_{i}_{stream}_{name}": shape
    for i in range(DOUBLE)
    for stream in ["img", "txt"]
    for name, shape in {
        "mod_lin": (6 * HIDDEN, HIDDEN), "attn_qkv": (3 * HIDDEN, HIDDEN), "attn_proj": (HIDDEN, HIDDEN),
        "mlp_0": (4 * HIDDEN, HIDDEN), "mlp_2": (HIDDEN, 4 * HIDDEN),
    }.items()
} | {
    f"single_blocks_{i}_{name}": shape
    for i in range(SINGLE)
    for name, shape in {"linear1": (7 * HIDDEN, HIDDEN), "linear2": (HIDDEN, 5 * HIDDEN), "modulation_lin": (3 * HIDDEN, HIDDEN)}.items()
}  # fmt: skip


def fresh_peer():
    torch.manual_seed(5)
    return FluxTransformer2DModel(**SIZES).eval()


def inputs():
    ids = torch.zeros(6, 3)
    ids[:, 1], ids[:, 2] = torch.arange(6) // 3, torch.arange(6) % 3
    return random_tensors({"img": (1, 6, 16), "txt": (1, 5, 40), "y": (1, 24)}) | {
        "img_ids": ids[None], "txt_ids": torch.zeros(1, 5, 3), "timesteps": torch.tensor([0.4]), "guidance": torch.tensor([2.0]),
    }  # fmt: skip


def peer_output(module):
    given = inputs()
    return module(
        hidden_states=given["img"], encoder_hidden_states=given["txt"], pooled_projections=given["y"],
        timestep=given["timesteps"], img_ids=given["img_ids"][0], txt_ids=given["txt_ids"][0], guidance=given["guidance"],
        return_dict=False,
    )[0]  # fmt: skip


def peer_forward(module):
    with torch.no_grad():
        return peer_output(module)


def our_forward(millrace, weights, folder, lora=None, more=(), grad_output=None):
    """The outputs of `forward flux`, which are left in the folder; with grad_output, gradients too."""
    given = inputs() | ({} if grad_output is None else {"grad_output": grad_output})
    more = [*more] + ([] if lora is None else ["--lora", lora]) + ([] if grad_output is None else ["--gradients"])
    millrace(
        "forward", "flux", "--weights", weights, "--inputs", save(folder / "i.safetensors", given),
        "--outputs", folder / "o.safetensors", *more,
    )  # fmt: skip
    return load(folder / "o.safetensors")
