"""The noise that millrace gives to a sample, computed from its definition (src/base/philox.h) with numpy."""

import numpy as np
import xxhash

NOISE, POSTERIOR = 1, 3  # purposes
MASK = (1 << 64) - 1


def _mix64(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def key_id(key: str) -> int:
    """The id of an Arrow file's sample."""
    return xxhash.xxh64_intdigest(key.encode())


def normals(seed: int, purpose: int, epoch: int, sample_id: int, count: int) -> np.ndarray:
    """So many N(0, 1) numbers, as float64; the program's own differ by the rounding of float32."""
    key = _mix64(_mix64(seed) ^ purpose)
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    c = [blocks, np.full_like(blocks, epoch), np.full_like(blocks, sample_id & 0xFFFFFFFF), np.full_like(blocks, sample_id >> 32)]
    low = np.uint64(0xFFFFFFFF)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & low, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    words = np.stack(c, axis=1).reshape(-1, 2).astype(np.float64)
    high = np.floor(words / 256)
    radius = np.sqrt(-2 * np.log((high[:, 0] + 1) * 2.0**-24))
    angle = 2 * np.pi * high[:, 1] * 2.0**-24
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:count]
