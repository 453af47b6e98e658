"""FLUX's two kinds of blocks in plain PyTorch, forward and backward, eager and under torch.compile: what the machine's own
torch makes of the same mathematics at the same sizes. One line of JSON per result.

The formulas are those of FLUX.1 (Black Forest Labs): modulated LayerNorm, RMS-normed queries and keys with rotary
positions, attention over text and image together, tanh GELU. Weights are random.
"""

import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional as F


def modulated(x, shift, scale):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def heads(qkv, count, q_norm, k_norm):
    q, k, v = qkv.unflatten(-1, (3, count, -1)).permute(2, 0, 3, 1, 4)
    return F.rms_norm(q, q.shape[-1:], q_norm, 1e-6), F.rms_norm(k, k.shape[-1:], k_norm, 1e-6), v


def rotated(x, cos, sin):
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(x.dtype)


def attention(q, k, v, table):
    return F.scaled_dot_product_attention(rotated(q, *table), rotated(k, *table), v).transpose(1, 2).flatten(2)


class Stream(nn.Module):
    def __init__(self, width, head_dim):
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.q_norm, self.k_norm = nn.Parameter(torch.ones(head_dim)), nn.Parameter(torch.ones(head_dim))


class DoubleBlock(nn.Module):
    def __init__(self, width, count):
        super().__init__()
        self.count = count
        self.img, self.txt = Stream(width, width // count), Stream(width, width // count)

    def forward(self, img, txt, img_mod, txt_mod, table):
        streams = [(self.txt, txt, txt_mod), (self.img, img, img_mod)]
        parts = [heads(s.qkv(modulated(x, m[0], m[1])), self.count, s.q_norm, s.k_norm) for s, x, m in streams]
        joined = attention(*(torch.cat(pair, 2) for pair in zip(*parts)), table)
        results = []
        for (s, x, m), part in zip(streams, joined.split([txt.shape[1], img.shape[1]], 1)):
            x = x + m[2] * s.proj(part)
            results.append(x + m[5] * s.down(F.gelu(s.up(modulated(x, m[3], m[4])), approximate="tanh")))
        return results[1], results[0]


class SingleBlock(nn.Module):
    def __init__(self, width, count):
        super().__init__()
        self.count, self.width = count, width
        self.linear1, self.linear2 = nn.Linear(width, 7 * width), nn.Linear(5 * width, width)
        self.q_norm, self.k_norm = nn.Parameter(torch.ones(width // count)), nn.Parameter(torch.ones(width // count))

    def forward(self, x, mod, table):
        qkv, up = self.linear1(modulated(x, mod[0], mod[1])).split([3 * self.width, 4 * self.width], -1)
        out = attention(*heads(qkv, self.count, self.q_norm, self.k_norm), table)
        return x + mod[2] * self.linear2(torch.cat((out, F.gelu(up, approximate="tanh")), -1))


def microseconds(call, device, tiny):
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(1 if tiny else 3):
        call()
    times = []
    for _ in range(1 if tiny else 10):
        wait()
        begin = time.perf_counter()
        call()
        wait()
        times.append((time.perf_counter() - begin) * 1e6)
    return sorted(times)[len(times) // 2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    device = options.device
    batch, half, width, count = (2, 4, 32, 2) if options.tiny else (16, 256, 3072, 24)
    torch.manual_seed(1)
    floats = {"device": device, "dtype": torch.bfloat16}
    angle = torch.rand(2 * half, width // count // 2, device=device) * 6
    table = angle.cos(), angle.sin()
    img, txt = (torch.randn(batch, half, width, **floats, requires_grad=True) for _ in range(2))
    x = torch.randn(batch, 2 * half, width, **floats, requires_grad=True)
    mods = [[torch.randn(batch, 1, width, **floats) * 0.1 for _ in range(6)] for _ in range(2)]
    double, single = DoubleBlock(width, count).to(**floats), SingleBlock(width, count).to(**floats)
    calls = {"double block": (double, lambda block: sum(part.sum() for part in block(img, txt, *mods, table))),
             "single block": (single, lambda block: block(x, mods[0][:3], table).sum())}  # fmt: skip
    for name, (block, loss) in calls.items():
        for way in ["eager", "compiled"]:
            if way == "compiled" and options.tiny:
                continue  # a compiler for CPUs is no part of the rehearsal
            used = torch.compile(block) if way == "compiled" else block
            result = {"name": f"torch {torch.__version__} {name}, {way}, forward and backward"}
            try:
                result["us"] = microseconds(lambda: loss(used).backward(), device, options.tiny)
            except Exception as error:  # torch.compile needs a compiler that may not be there
                result["value"] = f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
