"""One figure for each explanation of why batch norm works, with it over without it, of one seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gainstage.lab.apparatus import data
from gainstage.lab.apparatus.networks import ResidualBlock, mlp, residual_mlp
from gainstage.lab.apparatus.stepping import batches, initialized, sgd_step
from gainstage.lab.apparatus.training import final_rows
from gainstage.lab.catalogue.confrontations.large_rates import largest_usable
from gainstage.lab.catalogue.confrontations.why_it_works import WhyDesign
from gainstage.lab.judge import Row, number
from gainstage.lab.measurements.confrontations.two_shifts import gradient_shift
from gainstage.landscape import ranks, smoothness
from gainstage.sweep import Spec

NORMS = ("batch", "none")


def measure(design: WhyDesign, seed: int) -> list[Row]:
    """One row for each explanation: ln of the ratio, and both figures."""
    figures = {norm: _figures(design, seed, norm) for norm in NORMS}
    return [
        {
            "explanation": name, "batch": figures["batch"][name], "none": figures["none"][name],
            "ratio": _log_ratio(figures["batch"][name], figures["none"][name]),
        }
        for name in figures["batch"]
    ]  # fmt: skip


def _figures(design: WhyDesign, seed: int, norm: str) -> dict[str, float | None]:
    smooth, shift = _along_training(design, seed, norm)
    rate, noise = _swept(design, seed, norm)
    return {
        "smoothness": smooth,
        "rates": rate,
        "scale": turned(design, seed, norm),
        "noise": noise,
        "rank": soft_rank(design, seed, norm),
        "identity": branch_share(design, seed, norm),
        "shift": shift,
    }


def _plain(design: WhyDesign, seed: int, norm: str) -> nn.Sequential:
    model = mlp(design.depth, design.width, "relu", norm)
    initialized(model, seed)
    return model


def _along_training(design: WhyDesign, seed: int, norm: str) -> tuple[float | None, float | None]:
    """Geometric means over the looks: of the gradient's relative change along a step, and of the covariate shift."""
    model, found = _plain(design, seed, norm), list[tuple[float, float]]()
    middle = [place for place, layer in enumerate(model) if isinstance(layer, nn.Linear)][design.depth // 2]
    steps = max(design.looks) + 1
    for step, (inputs, targets) in enumerate(batches(data.digits(), seed, design.batch, steps)):
        if step in design.looks:
            along = smoothness(
                model, (inputs, targets), F.cross_entropy, lr=0.01, metric="relative", steps=(1.0, 1.0), count=1
            )
            shift = gradient_shift(model, middle, inputs, targets, design.lr)
            found.append((along.gradient_predictiveness / along.gradient_norm, shift))
        sgd_step(model, inputs, targets, design.lr)
    return _geometric([one for one, _ in found]), _geometric([other for _, other in found])


def _swept(design: WhyDesign, seed: int, norm: str) -> tuple[float, float]:
    """The largest usable rate at the large batch; the best accuracy at the small batch over that at the large one."""
    spec = Spec(
        name=f"why-{norm}", model=mlp, data=data.digits, axes={"batch_size": design.batches, "lr": design.lrs},
        fixed={"depth": design.depth, "width": design.width, "norm": norm, "init": "he_normal", "seed": seed},
        steps=design.steps, measure=(design.steps,), metrics=("test_accuracy",),
    )  # fmt: skip
    rows = final_rows(spec, keep=("batch_size", "lr"))
    small, large = ([row for row in rows if row["batch_size"] == size] for size in design.batches)
    return largest_usable(large, design.near), _best(small) / _best(large)


def turned(design: WhyDesign, seed: int, norm: str) -> float:
    """1 - cosine between the gradients of the first layer before and after the other hidden weights are doubled."""
    model = _plain(design, seed, norm)
    inputs, targets = next(batches(data.digits(), seed, design.batch, 1))
    maps = [layer for layer in model if isinstance(layer, nn.Linear)]
    before = _gradient(model, maps[0], inputs, targets)
    with torch.no_grad():
        for layer in maps[1:-1]:
            layer.weight.mul_(2)
    after = _gradient(model, maps[0], inputs, targets)
    # What rounding leaves of an exact invariance is no measurement: float32 cannot tell cosines closer than this.
    return max(1 - float(F.cosine_similarity(before.flatten(), after.flatten(), 0)), 1e-6)


def soft_rank(design: WhyDesign, seed: int, norm: str) -> float:
    """tr(M)²/‖M‖² of the last hidden layer's outputs at initialization."""
    model = _plain(design, seed, norm)
    inputs, _ = next(batches(data.digits(), seed, min(design.batch, design.width), 1))
    with torch.no_grad():
        return float(ranks(model[:-1](inputs)).trace_rank)


def branch_share(design: WhyDesign, seed: int, norm: str) -> float:
    """Var(branch)/Var(stream after it) of the last residual block at initialization."""
    model = residual_mlp(design.blocks, design.width, "relu", norm, maps=1)
    initialized(model, seed)
    x, _ = next(batches(data.digits(), seed, design.batch, 1))
    share = math.nan
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, ResidualBlock):
                branch, x = layer.branch(x), layer(x)
                share = float(branch.var(0).mean() / x.var(0).mean())
            else:
                x = layer(x)
    return share


def _gradient(model: nn.Module, layer: nn.Linear, inputs: Tensor, targets: Tensor) -> Tensor:
    return torch.autograd.grad(F.cross_entropy(model(inputs), targets), [layer.weight])[0]


def _best(rows: Sequence[Row]) -> float:
    return max(number(row["test_accuracy"]) for row in rows)


def _geometric(values: Sequence[float]) -> float | None:
    if not all(math.isfinite(value) and value > 0 for value in values):
        return None
    return math.exp(sum(math.log(value) for value in values) / len(values))


def _log_ratio(one: float | None, other: float | None) -> float | None:
    return math.log(one / other) if one and other and math.isfinite(one / other) else None
