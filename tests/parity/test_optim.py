"""Schedules, clipping and optimizer steps against torchtitan and torch.optim."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("MILLRACE", ROOT / "build" / "millrace")).parent
TOOL = BUILD / "tests" / "parity" / "millrace_optim_tool"


def run_tool(*arguments):
    command = [str(TOOL), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stderr}"
    return result.stdout


def torchtitan_rates(steps, warmup, decay_ratio, decay_type, min_factor):
    """What torch's LambdaLR sets through a run, with torchtitan's function: the factors, as the base rate is 1."""
    from torchtitan.components.lr_scheduler import build_lr_schedulers

    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    config = SimpleNamespace(
        warmup_steps=warmup, decay_ratio=decay_ratio, decay_type=decay_type, min_lr_factor=min_factor
    )
    schedulers = build_lr_schedulers([optimizer], config, steps)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        schedulers.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("decay_type", ["linear", "sqrt", "cosine"])
@pytest.mark.parametrize(
    "steps, warmup, decay_ratio, min_factor",
    [
        (997, 13, None, 0.0),
        (997, 0, 0.0, 0.0),
        (997, 13, 0.37, 0.1),
        (101, 101, None, 0.0),
        (101, 250, 0.5, 0.3),
        (101, 90, 0.5, 0.0),
        (5, 0, 0.5, 0.0),
        (7, 1, 1.0, 0.7),
        (1, 0, None, 0.0),
        (3000, 300, 0.1, 1.0),
    ],
)
def test_learning_rates_are_torchtitans_to_the_last_step(decay_type, steps, warmup, decay_ratio, min_factor):
    ratio = "none" if decay_ratio is None else decay_ratio
    ours = [float(line) for line in run_tool("lr", steps, warmup, ratio, decay_type, min_factor).split()]
    theirs = torchtitan_rates(steps, warmup, decay_ratio, decay_type, min_factor)
    assert len(ours) == steps + 1
    # The same operations in double precision: at most the cosine may differ, in its last bit, between two libms.
    assert ours == pytest.approx(theirs, rel=3e-16 if decay_type == "cosine" else 0, abs=3e-16)


SIZES = [1, 1023, 4099, 37]  # odd, so that no vector width divides them
STEPS = 50


def make_problem(dtype=torch.float32):
    generator = torch.Generator().manual_seed(5)
    param = torch.randn(sum(SIZES), generator=generator).to(dtype)
    # Gradients of many sizes, zeros among them, from both sides of the clipping threshold.
    scale = 10.0 ** torch.randint(-6, 2, (1, sum(SIZES)), generator=generator)
    grads = torch.randn(STEPS, sum(SIZES), generator=generator) * scale
    grads *= torch.rand(STEPS, 1, generator=generator)
    grads[:, ::17] = 0
    return param, grads.to(dtype)


def run_ours(tmp_path, param, grads, name, options, max_norm, ema_decay=0.0, copy=False):
    source, target = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file({"param": param, "grads": grads, "sizes": torch.tensor(SIZES)}, source)
    betas = options["betas"]
    numbers = [options["lr"], *betas, options["eps"], options["weight_decay"], max_norm, ema_decay, int(copy)]
    run_tool("adam", source, target, name, *numbers)
    return load_file(target)


def run_torch(param, grads, name, options, max_norm, ema_decay=0.0):
    parameters = [torch.nn.Parameter(part.clone()) for part in param.split(SIZES)]
    optimizer = getattr(torch.optim, name)(parameters, foreach=False, **options)
    norms, ema = [], param.double()
    for step, grad in enumerate(grads, start=1):
        for parameter, part in zip(parameters, grad.split(SIZES)):
            parameter.grad = part.clone()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, max_norm if max_norm > 0 else float("inf")).item())
        optimizer.step()
        decay = min(ema_decay, (1 + step) / (10 + step))
        ema = decay * ema + (1 - decay) * torch.cat([parameter.detach() for parameter in parameters]).double()
    state = [optimizer.state[parameter] for parameter in parameters]
    return {
        "param": torch.cat([parameter.detach() for parameter in parameters]),
        "exp_avg": torch.cat([entry["exp_avg"] for entry in state]),
        "exp_avg_sq": torch.cat([entry["exp_avg_sq"] for entry in state]),
        "norms": torch.tensor(norms, dtype=torch.float64),
        "ema": ema,
    }


def relative_error(got, expected):
    got, expected = got.double(), expected.double()
    return ((got - expected).norm() / expected.norm()).item()


OPTIONS = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}


@pytest.mark.parametrize("name", ["AdamW", "Adam"])
@pytest.mark.parametrize("max_norm", [1.0, 0.0])
@pytest.mark.parametrize("weight_decay", [0.1, 0.0])
def test_fifty_steps_agree_with_torch(tmp_path, name, max_norm, weight_decay):
    options = OPTIONS | {"weight_decay": weight_decay}
    param, grads = make_problem()
    ours = run_ours(tmp_path, param, grads, name, options, max_norm, ema_decay=0.98)
    theirs = run_torch(param, grads, name, options, max_norm, ema_decay=0.98)
    for key in ["param", "exp_avg", "exp_avg_sq", "norms", "ema"]:
        assert relative_error(ours[key], theirs[key]) <= 1e-6, key
    torch.testing.assert_close(ours["norms"], theirs["norms"], rtol=1e-6, atol=0)
    assert ours["grad"].count_nonzero() == 0


def test_bf16_copy_is_the_rounded_master(tmp_path):
    param, grads = make_problem()
    ours = run_ours(tmp_path, param, grads, "AdamW", OPTIONS, 1.0, copy=True)
    assert torch.equal(ours["model_copy"], ours["param"].bfloat16())
    assert relative_error(ours["param"], run_torch(param, grads, "AdamW", OPTIONS, 1.0)["param"]) <= 1e-6


def test_stochastically_rounded_bf16_stays_near_fp32(tmp_path):
    """Fifty small steps: plain bf16 loses most of them, stochastic rounding keeps them on average."""
    options = OPTIONS | {"lr": 2e-4, "weight_decay": 0.0}
    generator = torch.Generator().manual_seed(6)
    param = torch.ones(sum(SIZES), dtype=torch.bfloat16)
    grads = (1 + 0.1 * torch.randn(STEPS, sum(SIZES), generator=generator)).bfloat16()
    exact = run_torch(param.float(), grads.float(), "AdamW", options, 0.0)["param"].double().mean()
    plain = run_torch(param, grads, "AdamW", options, 0.0)["param"].double().mean()
    ours = run_ours(tmp_path, param, grads, "AdamW", options, 0.0)
    assert ours["param"].dtype == torch.bfloat16
    moved = 1 - exact
    assert abs(plain - exact) > 0.5 * moved
    assert abs(ours["param"].double().mean() - exact) < 0.05 * moved
