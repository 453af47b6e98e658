"""GGUF files of FLUX's weights, as other programs write them."""

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

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 1)
    header += text("general.architecture") + struct.pack("<I", 8) + text("flux")
    data = b""
    for name, (shape, kind, content) in tensors.items():
        header += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape))
        header += struct.pack("<IQ", kind, len(data))
        data += content + bytes(-len(content) % 32)
    path.write_bytes(header + bytes(-len(header) % 32) + data)
    return path
