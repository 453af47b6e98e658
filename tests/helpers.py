"""Tensors for tests: random ones, files of them, and how far two of them are apart."""

from pathlib import Path

import safetensors.torch
import torch


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0, scale: float = 1.0) -> dict[str, torch.Tensor]:
    """Normal float32 tensors, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * scale for name, shape in shapes.items()}


def save(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
    """Writes a safetensors file; returns its path, so that it can be made where an argument is wanted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    return path


def load(path: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(path)


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """|got - expected| / |expected| in the 2-norm, computed in float64; 0 where both are zero."""
    assert got.shape == expected.shape, f"expected the shape {tuple(expected.shape)}, got {tuple(got.shape)}"
    got, expected = got.double(), expected.double()
    distance = torch.linalg.vector_norm(got - expected).item()
    size = torch.linalg.vector_norm(expected).item()
    return distance / size if size > 0 else distance


def assert_agree(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    """The same names, and every tensor within the relative error; the message lists the worst."""
    assert set(got) == set(expected), (
        f"missing: {sorted(set(expected) - set(got))[:5]}, surplus: {sorted(set(got) - set(expected))[:5]}"
    )
    errors = {name: relative_error(got[name], expected[name]) for name in expected}
    worst = sorted(errors, key=errors.get, reverse=True)[:5]
    # `not <=` also catches NaN.
    assert all(error <= tolerance for error in errors.values()), {name: errors[name] for name in worst}
