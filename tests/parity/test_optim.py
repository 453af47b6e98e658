"""Schedules, clipping and optimizer steps against torchtitan, torch.optim and recorded runs of each rule's package.

All cases go through one start of the tool (tests/parity/optim_tool.cpp), which takes options as the command line does.
"""

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("MILLRACE", ROOT / "build" / "millrace")).parent
TOOL = BUILD / "tests" / "parity" / "millrace_optim_tool"
GOLDEN = ROOT / "tests" / "golden" / "optimizers"

RECORDED = json.loads((GOLDEN / "cases.json").read_text())
RECORDED_STEPS = 12
PRODIGY_PLUS = json.loads((GOLDEN / "prodigy_plus.json").read_text())
PRODIGY_PLUS_STEPS = [0, 3, 7, 11]
SCHEDULES = json.loads((GOLDEN / "schedules.json").read_text())["cases"]

TORCHTITAN = [
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
]
DECAY_TYPES = ["linear", "sqrt", "cosine"]

# Of torch.optim.lr_scheduler: arguments, the number of steps compared; 1e-3 is the base rate.
TORCH_SCHEDULES = [
    ("CosineAnnealingLR", {"T_max": 30, "eta_min": 1e-5}, 64),
    ("CosineAnnealingLR", {"T_max": 7}, 40),
    ("CosineAnnealingWarmRestarts", {"T_0": 9, "eta_min": 2e-5}, 60),
    ("CosineAnnealingWarmRestarts", {"T_0": 5, "T_mult": 3}, 90),
    ("StepLR", {"step_size": 7}, 40),
    ("StepLR", {"step_size": 1, "gamma": 0.93}, 40),
    ("MultiStepLR", {"milestones": [3, 10, 10, 31], "gamma": 0.5}, 40),
    ("ExponentialLR", {"gamma": 0.97}, 60),
    ("OneCycleLR", {"max_lr": 2e-3, "total_steps": 70}, 70),
    ("OneCycleLR", {"max_lr": 1e-3, "total_steps": 53, "pct_start": 0.41, "div_factor": 7, "final_div_factor": 11,
                    "three_phase": True, "base_momentum": 0.7, "max_momentum": 0.99}, 53),
    ("OneCycleLR", {"max_lr": 5e-3, "total_steps": 31, "anneal_strategy": "linear", "pct_start": 0.5}, 31),
]

SIZES = [1, 1023, 4099, 37]  # odd, so that no vector width divides them
STEPS = 50
OPTIONS = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
AGAINST_TORCH = [(name, max_norm, decay) for name in ["AdamW", "Adam"] for max_norm in [1.0, 0.0] for decay in [0.1, 0.0]]
NARROW_OPTIONS = OPTIONS | {"lr": 2e-4, "weight_decay": 0.0}


def make_problem():
    generator = torch.Generator().manual_seed(5)
    param = torch.randn(sum(SIZES), generator=generator)
    # Gradients of many sizes, zeros among them, from both sides of the clipping threshold.
    scale = 10.0 ** torch.randint(-6, 2, (1, sum(SIZES)), generator=generator)
    grads = torch.randn(STEPS, sum(SIZES), generator=generator) * scale
    grads *= torch.rand(STEPS, 1, generator=generator)
    grads[:, ::17] = 0
    return param, grads


def make_narrow_problem():
    """Fifty small steps of bfloat16 weights."""
    generator = torch.Generator().manual_seed(6)
    param = torch.ones(sum(SIZES), dtype=torch.bfloat16)
    return param, (1 + 0.1 * torch.randn(STEPS, sum(SIZES), generator=generator)).bfloat16()


def as_inputs(source, param, grads):
    parts = {f"{source}p0.{i}": part for i, part in enumerate(param.split(SIZES))}
    for step, grad in enumerate(grads):
        parts |= {f"{source}grad.{step}.{i}": part for i, part in enumerate(grad.split(SIZES))}
    return parts


def adam_arguments(name, options):
    numbers = {"lr": options["lr"], "beta1": options["betas"][0], "beta2": options["betas"][1]}
    numbers |= {"eps": options["eps"], "weight_decay": options["weight_decay"]}
    return [f"--optimizer.name={name}", *(f"--optimizer.{key}={value}" for key, value in numbers.items())]


def torch_schedule_arguments(name, arguments):
    """The same as options of the command line; eta_min, max_lr and the base rate are rates."""
    texts = {key: str(value).lower() for key, value in arguments.items()}
    return ["--optimizer.lr=1e-3", f"--lr_scheduler.name={name}",
            *(f"--lr_scheduler.{key.lower()}={text}" for key, text in texts.items())]


def all_cases():
    schedules = [
        {"name": f"torchtitan/{i}/{decay_type}", "count": steps + 1, "arguments": [
            f"--training.steps={steps}", "--optimizer.lr=1", f"--lr_scheduler.warmup_steps={warmup}",
            f"--lr_scheduler.decay_ratio={ratio}", f"--lr_scheduler.decay_type={decay_type}",
            f"--lr_scheduler.min_lr_factor={min_factor}"]}
        for i, (steps, warmup, ratio, min_factor) in enumerate(TORCHTITAN) for decay_type in DECAY_TYPES
    ]
    schedules += [
        {"name": "schedule/" + case["name"], "count": len(case["lr"]), "arguments": case["arguments"]} for case in SCHEDULES
    ]
    schedules += [
        {"name": f"torch_schedule/{i}", "count": count, "arguments": torch_schedule_arguments(name, arguments)}
        for i, (name, arguments, count) in enumerate(TORCH_SCHEDULES)
    ]
    indices = [str(i) for i in range(len(SIZES))]
    common = {"parameters": indices, "steps": STEPS, "own_groups": True, "record": [STEPS - 1]}
    steps = [
        common | {"name": f"torch/{name}/{max_norm}/{decay}", "source": "wide.", "max_norm": max_norm,
                  "arguments": adam_arguments(name, OPTIONS | {"weight_decay": decay}) + ["--optimizer.ema_decay=0.98"]}
        for name, max_norm, decay in AGAINST_TORCH
    ]
    steps.append(common | {"name": "copy", "source": "wide.", "max_norm": 1.0, "copy": True,
                           "arguments": adam_arguments("AdamW", OPTIONS)})
    steps.append(common | {"name": "narrow", "source": "narrow.",
                           "arguments": adam_arguments("AdamW", NARROW_OPTIONS) + [
                               "--optimizer.stochastic_rounding", "--training.dtype=bfloat16"]})
    steps.append(common | {"name": "one_cycle", "source": "wide.", "scheduled": True, "arguments": [
        *adam_arguments("AdamW", OPTIONS), *torch_schedule_arguments(*TORCH_SCHEDULES[-3][:2])]})
    for case in RECORDED["cases"]:
        steps.append({"name": case["name"], "source": "recorded.", "parameters": RECORDED["parameters"],
                      "steps": RECORDED_STEPS, "record": list(range(RECORDED_STEPS)), "arguments": case["arguments"]}
                     | ({"lr": case["lr"]} if "lr" in case else {}))
    for case in PRODIGY_PLUS["cases"]:
        steps.append({"name": "plus/" + case["name"], "source": "plus.", "parameters": PRODIGY_PLUS["parameters"],
                      "steps": RECORDED_STEPS, "record": PRODIGY_PLUS_STEPS, "arguments": case["arguments"],
                      "own_groups": case["own_groups"]})
    steps.append({"name": "adamw8bit", "source": "8bit.", "parameters": ["big", "small"], "steps": 5,
                  "record": list(range(5)), "arguments": ["--optimizer.name=AdamW8bit", "--optimizer.lr=1e-3"]})
    return {"schedules": schedules, "steps": steps}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("optim")
    inputs = as_inputs("wide.", *make_problem()) | as_inputs("narrow.", *make_narrow_problem())
    for source, file in [("recorded.", "steps"), ("8bit.", "adamw8bit"), ("plus.", "prodigy_plus")]:
        tensors = load_file(GOLDEN / f"{file}.safetensors")
        inputs |= {source + name: tensor for name, tensor in tensors.items() if name.startswith(("p0.", "grad."))}
    save_file({name: tensor.clone() for name, tensor in inputs.items()}, folder / "in.safetensors")
    (folder / "cases.json").write_text(json.dumps(all_cases()))
    command = [str(TOOL), *(str(folder / name) for name in ["cases.json", "in.safetensors", "out.safetensors"])]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return load_file(folder / "out.safetensors")


def whole(ours, case, what):
    return torch.cat([ours[f"{case}/{what}.{i}"] for i in range(len(SIZES))])


def relative_error(got, expected):
    got, expected = got.double(), expected.double()
    return ((got - expected).norm() / expected.norm()).item()


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


@pytest.mark.parametrize("decay_type", DECAY_TYPES)
@pytest.mark.parametrize("index", range(len(TORCHTITAN)))
def test_learning_rates_are_torchtitans_to_the_last_step(ours, index, decay_type):
    steps, warmup, ratio, min_factor = TORCHTITAN[index]
    theirs = torchtitan_rates(steps, warmup, ratio, decay_type, min_factor)
    # The same operations in double precision: at most the cosine may differ, in its last bit, between two libms.
    assert ours[f"torchtitan/{index}/{decay_type}"].tolist() == pytest.approx(
        theirs, rel=3e-16 if decay_type == "cosine" else 0, abs=3e-16)


@pytest.mark.parametrize("case", SCHEDULES, ids=lambda case: case["name"])
def test_learning_rates_are_transformers_and_diffusers(ours, case):
    assert ours["schedule/" + case["name"]].tolist() == pytest.approx(case["lr"], rel=1e-12, abs=1e-18)


@pytest.mark.parametrize("index", range(len(TORCH_SCHEDULES)))
def test_learning_rates_and_momenta_are_torchs(ours, index):
    name, arguments, count = TORCH_SCHEDULES[index]
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **arguments)
    rates, momenta = [], []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["betas"][0])
        optimizer.step()
        if len(rates) < count:  # OneCycleLR refuses to go beyond its end
            scheduler.step()
    assert ours[f"torch_schedule/{index}"].tolist() == pytest.approx(rates, rel=1e-11, abs=1e-17)
    if name == "OneCycleLR":
        assert ours[f"torch_schedule/{index}/momentum"].tolist() == pytest.approx(momenta, rel=1e-12)


def test_a_cycle_moves_beta1_as_in_torch(ours):
    param, grads = make_problem()
    parameter = torch.nn.Parameter(param.clone())
    optimizer = torch.optim.AdamW([parameter], foreach=False, **OPTIONS)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, **TORCH_SCHEDULES[-3][1])
    for grad in grads:
        parameter.grad = grad.clone()
        optimizer.step()
        scheduler.step()
    assert relative_error(whole(ours, "one_cycle", STEPS - 1), parameter.detach()) <= 1e-6


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


@pytest.mark.parametrize("name, max_norm, weight_decay", AGAINST_TORCH)
def test_fifty_steps_agree_with_torch(ours, name, max_norm, weight_decay):
    theirs = run_torch(*make_problem(), name, OPTIONS | {"weight_decay": weight_decay}, max_norm, ema_decay=0.98)
    case = f"torch/{name}/{max_norm}/{weight_decay}"
    assert relative_error(whole(ours, case, STEPS - 1), theirs["param"]) <= 1e-6
    for key in ["state.exp_avg", "state.exp_avg_sq", "norms", "ema"]:
        assert relative_error(ours[f"{case}/{key}"], theirs[key.removeprefix("state.")]) <= 1e-6, key
    torch.testing.assert_close(ours[f"{case}/norms"], theirs["norms"], rtol=1e-6, atol=0)
    assert ours[f"{case}/grads"].count_nonzero() == 0


def test_bf16_copy_is_the_rounded_master(ours):
    param = whole(ours, "copy", STEPS - 1)
    assert torch.equal(ours["copy/copy"], param.bfloat16())
    assert relative_error(param, run_torch(*make_problem(), "AdamW", OPTIONS, 1.0)["param"]) <= 1e-6


def test_stochastically_rounded_bf16_stays_near_fp32(ours):
    """Plain bf16 loses most of the steps, stochastic rounding keeps them on average."""
    param, grads = make_narrow_problem()
    exact = run_torch(param.float(), grads.float(), "AdamW", NARROW_OPTIONS, 0.0)["param"].double().mean()
    plain = run_torch(param, grads, "AdamW", NARROW_OPTIONS, 0.0)["param"].double().mean()
    rounded = whole(ours, "narrow", STEPS - 1)
    assert rounded.dtype == torch.bfloat16
    moved = 1 - exact
    assert abs(plain - exact) > 0.5 * moved
    assert abs(rounded.double().mean() - exact) < 0.05 * moved


@pytest.fixture(scope="module")
def recorded():
    return load_file(GOLDEN / "steps.safetensors")


def largest_error(got, expected):
    scale = expected.abs().max().item()
    return (got - expected).abs().max().item() / (scale if scale > 0 else 1)  # a warm-up's first step moves nothing


def parameters_of(case):
    return [name for name in RECORDED["parameters"] if name not in case.get("without", [])]


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: case["name"])
def test_every_step_is_the_packages(ours, recorded, case):
    # Rules that estimate their step size let small differences grow.
    tolerance = 1e-3 if "d" in case else 2e-5
    name = case["name"]
    for step in range(RECORDED_STEPS):
        for parameter in parameters_of(case):
            expected = recorded[f"{name}/{step}.{parameter}"]
            assert largest_error(ours[f"{name}/{step}.{parameter}"], expected) <= tolerance, (step, parameter)
    for parameter in parameters_of(case):
        expected = recorded.get(f"{name}/eval.{parameter}", recorded[f"{name}/{RECORDED_STEPS - 1}.{parameter}"])
        assert largest_error(ours[f"{name}/eval.{parameter}"], expected) <= tolerance, parameter


@pytest.mark.parametrize("case", [case for case in RECORDED["cases"] if "d" in case], ids=lambda case: case["name"])
def test_the_estimated_step_sizes_are_the_packages(ours, case):
    assert ours[f"{case['name']}/effective_lr"].tolist() == pytest.approx(case["d"], rel=1e-3)


@pytest.mark.parametrize("case", PRODIGY_PLUS["cases"], ids=lambda case: case["name"])
def test_prodigy_plus_factors_matrices_and_splits_groups_as_the_package(ours, case):
    recorded, name = load_file(GOLDEN / "prodigy_plus.safetensors"), case["name"]
    assert ours[f"plus/{name}/effective_lr"].tolist() == pytest.approx(case["d"], rel=1e-3)
    for step in [*PRODIGY_PLUS_STEPS, "eval"]:
        for parameter in PRODIGY_PLUS["parameters"]:
            expected = recorded[f"{name}/{step}.{parameter}"]
            assert largest_error(ours[f"plus/{name}/{step}.{parameter}"], expected) <= 1e-3, (step, parameter)


def test_8bit_adamw_follows_bitsandbytes(ours):
    """Its CPU path looks codes up on a grid of 2 / 65536, so that what lies near the middle of two codes may get the
    other one, which the moment then remembers; ours is the nearest. Few elements lie there."""
    theirs = load_file(GOLDEN / "adamw8bit.safetensors")
    for step in range(5):
        assert largest_error(ours[f"adamw8bit/{step}.small"], theirs[f"{step}.small"]) <= 2e-5
        difference = (ours[f"adamw8bit/{step}.big"] - theirs[f"{step}.big"]).abs() / theirs[f"{step}.big"].abs().max()
        assert (difference <= 1e-4).double().mean() >= 0.99
        assert difference.max() <= 1e-3
    for moment in ["1", "2"]:
        codes = ours[f"adamw8bit/state.state{moment}"][: theirs["p0.big"].numel()].int()
        away = (codes - theirs[f"state.big.state{moment}"].flatten().int()).abs()
        assert (away == 0).double().mean() >= 0.99
        assert (away <= 1).double().mean() >= 0.999
        absmax = f"absmax{moment}"
        assert largest_error(ours[f"adamw8bit/state.{absmax}.big"], theirs[f"state.big.{absmax}"]) <= 1e-5
