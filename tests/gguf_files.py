"""GGUF files of FLUX's weights, as other programs write them."""

import os
import struct

import numpy as np
import torch


def q8_0(tensor):
    """Blocks of 32 with a half-precision scale; and their values."""
    blocks = tensor.numpy().reshape(-1, 32)
    scale = (np.abs(blocks).max(1, keepdims=True) / 127).astype(np.float16)
    codes = np.rint(blocks / scale.astype(np.float32)).astype(np.int8)
    data = np.concatenate([scale.view(np.uint8), codes.view(np.uint8)], axis=1).tobytes()
    return data, torch.from_numpy(scale.astype(np.float32) * codes).reshape(tensor.shape)


def flux_in_blocks(path, weights):
    """FLUX's weights with the matrices of blocks as Q8_0; and the values of all."""
    stored, values = {}, {}
    for name, tensor in weights.items():
        if "_blocks." in name and name.endswith(".weight"):
            content, values[name] = q8_0(tensor.float())
            stored[name] = (tensor.shape, 8, content)
        else:
            values[name] = tensor.float()
            stored[name] = (tensor.shape, 0, values[name].numpy().tobytes())
    return write_gguf(path, stored), values


def write_gguf(path, tensors):
    """tensors: name -> (shape, GGUF's number of the type, bytes)."""
    data = b"".join(content + bytes(-len(content) % 32) for _, _, content in tensors.values())
    path.write_bytes(gguf_header({name: (shape, kind, len(content)) for name, (shape, kind, content) in tensors.items()}) + data)
    return path


def gguf_header(tensors):
    """tensors: name -> (shape, GGUF's number of the type, size in bytes)."""

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 1)
    header += text("general.architecture") + struct.pack("<I", 8) + text("flux")
    begin = 0
    for name, (shape, kind, size) in tensors.items():
        header += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape))
        header += struct.pack("<IQ", kind, begin)
        begin += size + -size % 32
    return header + bytes(-len(header) % 32)


def sparse_flux_dev(path):
    """FLUX.1-dev's sizes with the matrices of blocks as Q8_0: a file of 12 GB that takes no place on the disk."""
    width, mlp, head = 3072, 12288, 128
    shapes = {"final_layer.adaLN_modulation.1": (2 * width, width), "final_layer.linear": (64, width), "img_in": (width, 64), "txt_in": (width, 4096)}
    for name, inputs in (("time_in", 256), ("vector_in", 768), ("guidance_in", 256)):
        shapes |= {f"{name}.in_layer": (width, inputs), f"{name}.out_layer": (width, width)}
    norms = []
    for i in range(19):
        for stream in ("img", "txt"):
            block = f"double_blocks.{i}.{stream}"
            shapes |= {f"{block}_mod.lin": (6 * width, width), f"{block}_attn.qkv": (3 * width, width), f"{block}_attn.proj": (width, width),
                       f"{block}_mlp.0": (mlp, width), f"{block}_mlp.2": (width, mlp)}  # fmt: skip
            norms.append(f"{block}_attn.norm")
    for i in range(38):
        block = f"single_blocks.{i}"
        shapes |= {f"{block}.linear1": (3 * width + mlp, width), f"{block}.linear2": (width, width + mlp), f"{block}.modulation.lin": (3 * width, width)}
        norms.append(f"{block}.norm")
    tensors = {f"{norm}.{part}_norm.scale": ((head,), 0, 4 * head) for norm in norms for part in ("query", "key")}
    for name, (rows, columns) in shapes.items():
        in_blocks = "_blocks." in name
        tensors[f"{name}.weight"] = ((rows, columns), 8 if in_blocks else 0, rows * columns * 34 // 32 if in_blocks else rows * columns * 4)
        tensors[f"{name}.bias"] = ((rows,), 0, rows * 4)
    header = gguf_header(tensors)
    path.write_bytes(header)
    os.truncate(path, len(header) + sum(size + -size % 32 for _, _, size in tensors.values()))
    return path
