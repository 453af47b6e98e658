"""Encoded data sets for tests, written as the MLPerf reference writes them: with `datasets`, .npy bytes in binary columns."""

import io
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch


@dataclass
class Shapes:
    tokens: int = 4
    token_width: int = 16
    pooled_width: int = 16
    channels: int = 16
    side: int = 4


def npy(tensor: torch.Tensor) -> bytes:
    """numpy.save of the bits of bfloat16."""
    file = io.BytesIO()
    np.save(file, tensor.to(torch.bfloat16).contiguous().view(torch.uint16).numpy())
    return file.getvalue()


def random_rows(count: int, shapes: Shapes = Shapes(), seed: int = 0) -> list[dict[str, torch.Tensor]]:
    """bfloat16 encodings and moments of so many samples."""
    generator = torch.Generator().manual_seed(seed)
    latent = (shapes.channels, shapes.side, shapes.side)
    return [
        {
            "t5_encodings": torch.randn(shapes.tokens, shapes.token_width, generator=generator).bfloat16(),
            "clip_encodings": torch.randn(shapes.pooled_width, generator=generator).bfloat16(),
            "mean": torch.randn(latent, generator=generator).bfloat16(),
            "logvar": (torch.randn(latent, generator=generator) - 4).bfloat16(),
        }
        for _ in range(count)
    ]


def write_set(folder: Path, rows, timesteps=None, keys=None, files: int = 1) -> Path:
    """A folder as Dataset.save_to_disk leaves it. timesteps: a list, or None for a column of nulls."""
    features = datasets.Features(
        {
            "__key__": datasets.Value("string"),
            "t5_encodings": datasets.Value("binary"),
            "clip_encodings": datasets.Value("binary"),
            "mean": datasets.Value("binary"),
            "logvar": datasets.Value("binary"),
            "timestep": datasets.Value("int32"),
        }
    )
    columns = {name: [npy(row[name]) for row in rows] for name in ("t5_encodings", "clip_encodings", "mean", "logvar")}
    columns["__key__"] = keys or [f"{number:09d}" for number in range(len(rows))]
    columns["timestep"] = timesteps or [None] * len(rows)
    dataset = datasets.Dataset.from_dict({name: columns[name] for name in features}, features=features)
    dataset.save_to_disk(folder, num_shards=files)
    return folder


def write_empty(folder: Path, shapes: Shapes = Shapes(), dtype=np.float16) -> Path:
    """The encodings of the empty prompt: zeros with a leading 1, as the reference stores them."""
    folder.mkdir(parents=True)
    np.save(folder / "t5_empty.npy", np.zeros((1, shapes.tokens, shapes.token_width), dtype))
    np.save(folder / "clip_empty.npy", np.zeros((1, shapes.pooled_width), dtype))
    return folder
