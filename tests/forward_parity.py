"""`millrace forward` against a PyTorch module with the same weights: every output and every gradient.

fp32: relative error at most 1e-5. bf16: at most twice the error that the peer's bf16 makes. The peer's error on one small
tensor is a single draw, now and then a lucky one: its median relative error over all tensors stands in where that is larger.
"""

import copy
import statistics
from pathlib import Path
from typing import Callable

import torch
from helpers import load, save

FP32_TOLERANCE = 1e-5
# A gradient that is zero in exact arithmetic (the bias of a key, say) is rounding noise in any implementation. It is
# held to be zero when fp64 makes it this much smaller than all gradients together.
EXACT_ZERO = 1e-12

Tensors = dict[str, torch.Tensor]
# (module, inputs) -> outputs; the first output is the one that grad_output belongs to.
Forward = Callable[[torch.nn.Module, Tensors], Tensors]


def randomize(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random weights of a trained model's size, for the layers that start as zeros or ones too."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        with torch.no_grad():
            if parameter.dim() >= 2:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            elif name.endswith("bias"):
                parameter.copy_(0.1 * noise)
            else:
                parameter.copy_(1 + 0.1 * noise)
    return module.eval()


def run_peer(module: torch.nn.Module, forward: Forward, inputs: Tensors, grad_output: torch.Tensor, dtype) -> Tensors:
    """What millrace should write: outputs, grad.<parameter> and grad.<float input>."""
    module = copy.deepcopy(module).to(dtype)
    leaves = {}
    for name, tensor in inputs.items():
        leaf = tensor.detach().clone()
        leaves[name] = leaf.to(dtype).requires_grad_() if leaf.is_floating_point() else leaf
    outputs = forward(module, leaves)
    first = next(iter(outputs.values()))
    first.backward(grad_output.to(first.dtype))
    result = {name: tensor.detach() for name, tensor in outputs.items()}
    for name, parameter in module.named_parameters():
        result[f"grad.{name}"] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    for name, leaf in leaves.items():
        if leaf.is_floating_point():
            result[f"grad.{name}"] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    return result


def norm(tensor: torch.Tensor) -> float:
    return torch.linalg.vector_norm(tensor.double()).item()


def distance(got: torch.Tensor, expected: torch.Tensor) -> float:
    assert got.shape == expected.shape, f"expected the shape {tuple(expected.shape)}, got {tuple(got.shape)}"
    return norm(got.double() - expected.double())


def check_forward(
    millrace,
    folder: Path,
    model: str,
    weights: Path,
    module: torch.nn.Module,
    forward: Forward,
    inputs: Tensors,
    dtype: str = "fp32",
    config: Path | None = None,
    as_peer_names: Callable[[Tensors], Tensors] = lambda gradients: gradients,
    not_compared: tuple[str, ...] = (),
) -> None:
    """Runs both and compares.

    as_peer_names: turns gradients in the naming of `weights` into the module's.
    not_compared: inputs whose gradients the peer does not give, or not per sample.
    """
    # In bf16 both start from the same rounded numbers, so that the arithmetic alone is compared.
    if dtype == "bf16":
        module = copy.deepcopy(module).to(torch.bfloat16).float()
        inputs = {name: tensor.bfloat16().float() if tensor.is_floating_point() else tensor for name, tensor in inputs.items()}
    with torch.no_grad():
        first = next(iter(forward(module, inputs).values()))
    grad_output = torch.randn(first.shape, generator=torch.Generator().manual_seed(7)).bfloat16().float()

    inputs_path = save(folder / "inputs.safetensors", inputs | {"grad_output": grad_output})
    outputs_path = folder / "outputs.safetensors"
    options = ["--weights", weights, "--inputs", inputs_path, "--outputs", outputs_path, "--dtype", dtype]
    if config is not None:
        options += ["--config", config]
    millrace("forward", model, *options)
    without_gradients = load(outputs_path)
    millrace("forward", model, *options, "--gradients")
    got = load(outputs_path)

    exact = run_peer(module, forward, inputs, grad_output, torch.float64)
    expected = run_peer(module, forward, inputs, grad_output, torch.float32)
    parameters = {name for name, _ in module.named_parameters()}
    theirs = {name[5:]: tensor for name, tensor in got.items() if name.startswith("grad.") and name[5:] not in inputs}
    got = {name: tensor for name, tensor in got.items() if name[5:] not in theirs or not name.startswith("grad.")}
    got |= {f"grad.{name}": tensor for name, tensor in as_peer_names(theirs).items()}

    assert set(without_gradients) == {name for name in expected if not name.startswith("grad.")}
    assert {name for name in got if name[5:] in parameters and name.startswith("grad.")} == {f"grad.{n}" for n in parameters}
    for name in not_compared:
        got.pop(f"grad.{name}"), expected.pop(f"grad.{name}")
    assert set(got) == set(expected)

    all_gradients = sum(norm(tensor) ** 2 for name, tensor in exact.items() if name.startswith("grad.")) ** 0.5
    zero = {name for name in expected if norm(exact[name]) <= EXACT_ZERO * all_gradients}
    if dtype == "bf16":
        low = run_peer(module, forward, inputs, grad_output, torch.bfloat16)
        peer = {name: distance(low[name], exact[name]) for name in expected}
        typical = statistics.median(peer[name] / norm(exact[name]) for name in expected if name not in zero)
        allowed = {name: 2 * max(peer[name], typical * norm(exact[name])) for name in expected}
        reference, wanted = exact, torch.bfloat16
    else:
        allowed = {name: FP32_TOLERANCE * (all_gradients if name in zero else norm(expected[name])) for name in expected}
        reference, wanted = expected, torch.float32
    errors = {name: distance(got[name], reference[name]) for name in expected}
    too_far = {name: (error, allowed[name]) for name, error in errors.items() if not error <= allowed[name]}
    assert not too_far, f"error and what is allowed: {dict(list(too_far.items())[:5])}"
    assert all(got[name].dtype == wanted for name in expected if name[5:] not in inputs)
    if dtype == "bf16":  # all gradients as one vector, against one draw of the peer's
        gradients = [name for name in expected if name.startswith("grad.")]
        total, peers = (sum(each[name] ** 2 for name in gradients) ** 0.5 for each in (errors, peer))
        assert total <= 2 * peers, f"expected an error of all gradients of at most twice {peers:.3g}, got {total:.3g}"
    # Another attention kernel may serve the pass that needs no gradient.
    for name, tensor in without_gradients.items():
        assert distance(tensor, reference[name]) <= allowed[name], name
