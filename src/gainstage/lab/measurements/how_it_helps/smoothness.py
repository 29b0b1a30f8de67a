"""Loss range, gradient predictiveness and β-smoothness along training, with and without batch norm."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.walk import DATA, NETWORKS, Halt, halts
from gainstage.lab.catalogue.how_it_helps.along_training import AlongDesign
from gainstage.lab.catalogue.how_it_helps.smoothness_design import SmoothnessDesign
from gainstage.lab.judge import Row
from gainstage.sweep import Spec

KEYS = ("loss_range", "predictiveness", "beta")


def measure(design: SmoothnessDesign, seed: int) -> list[Row]:
    """One row for each network, learning rate and halt."""
    return _rows(design, seed, ("none", "batch"), design.lrs, relative=True)


def control(design: SmoothnessDesign, seed: int) -> list[Row]:
    """The same for no norm and an idle one."""
    return _rows(design, seed, ("none", "frozen"), design.lrs, relative=False)


def training(design: AlongDesign, seed: int, norm: str, lr: float) -> Spec:
    """One run of a design."""
    return Spec(
        name="along-training",
        model=NETWORKS.get(design.network, design.network),
        data=DATA.get(design.data, design.data),
        fixed={
            **dict(design.options), "norm": norm, "lr": lr, "scale": design.scale, "seed": seed,
            "batch_size": design.batch_size,
        },
        steps=design.steps,
        measure=design.every,
        device=device_of(design.device),
    )  # fmt: skip


def _rows(
    design: SmoothnessDesign, seed: int, norms: Sequence[str], lrs: Sequence[float], *, relative: bool
) -> list[Row]:
    found: list[Row] = []
    for norm in norms:
        for lr in lrs:
            for halt in halts(training(design, seed, norm, lr)):
                told: Row = {"norm": norm, "lr": lr, "step": halt.step}
                found.append({**told, **_figures(design, halt, lr, relative=relative)})
    return found


def _figures(design: SmoothnessDesign, halt: Halt, lr: float, *, relative: bool) -> Row:
    looks = {"": (lr, design.cap)} | ({"relative_": (design.relative_lr, math.inf)} if relative else {})
    found: Row = {"diverged": halt.diverged, "loss": None if halt.diverged else halt.loss}
    if halt.diverged:
        return found | {prefix + key: None for prefix in looks for key in KEYS}
    here = Here.of(halt)
    for prefix, (unit, cap) in looks.items():
        for key, value in here.measures(steps(design, unit, cap), relative=bool(prefix)).items():
            found[prefix + key] = value if value is not None and math.isfinite(value) else None
            # A step that leads out of the finite numbers is as bad as a run that does.
            found["diverged"] = bool(found["diverged"]) or (value is not None and not math.isfinite(value))
    return found


def steps(design: SmoothnessDesign, unit: float, cap: float) -> list[float]:
    """Evenly spaced sizes, in learning rates or in shares of the weights' norm."""
    least, most = design.reach[0] * unit, min(design.reach[1] * unit, cap)
    return torch.linspace(least, most, design.count, dtype=torch.float64).tolist()


@dataclass(frozen=True)
class Here:
    """A copy of a network where it is halted, and its gradient.

    `gainstage.landscape.smoothness` measures the same from any model and takes four times as long, which three claims
    at some thousand points would feel.
    """

    model: nn.Module
    batch: tuple[Tensor, Tensor]
    point: Tensor
    gradient: Tensor

    @classmethod
    def of(cls, halt: Halt) -> Here:
        """The copy at a halt."""
        model = copy.deepcopy(halt.model)
        point = parameters_to_vector(_trained(model)).detach()
        return cls(model, halt.batch, point, _gradient(model, halt.batch)[1])

    def measures(self, sizes: Sequence[float], *, relative: bool) -> dict[str, float | None]:
        """The three measures over steps along the gradient; see `gainstage.landscape.smoothness` for both metrics."""
        scale = float(self.point.norm()) if relative else 1.0
        length = float(self.gradient.double().norm())
        if length == 0:
            return dict(zip(KEYS, (0.0, 0.0, None), strict=True))
        reach = 1.0 if relative else length
        losses, changes = zip(*(self._at(size * scale * reach / length) for size in sizes), strict=True)
        slopes = [scale * change / (size * reach) for size, change in zip(sizes, changes, strict=True)]
        figures = (max(losses) - min(losses), scale * max(changes), max(slopes))
        finite = all(map(math.isfinite, (*losses, *changes)))
        return dict(zip(KEYS, figures if finite else (math.inf,) * 3, strict=True))

    def _at(self, step: float) -> tuple[float, float]:
        """The loss at w - step·g, and how far the gradient is from g there."""
        vector_to_parameters(self.point - step * self.gradient, _trained(self.model))
        loss, there = _gradient(self.model, self.batch)
        return loss, float((there.double() - self.gradient.double()).norm())


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _gradient(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[float, Tensor]:
    loss = F.cross_entropy(model(batch[0]), batch[1])
    return float(loss.detach()), torch.cat([part.flatten() for part in torch.autograd.grad(loss, _trained(model))])
