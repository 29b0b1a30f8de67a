"""The effective learning rate of weights that a norm makes scale-invariant, and how far a step turns them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from gainstage.landscape.objective import Norms, Objective
from gainstage.landscape.update import proposed_update
from gainstage.numerics import require_non_negative, require_positive
from gainstage.trace.subject import as_subject

# Their step has the same length whatever the gradient's is, up to ε, so that one power of ‖w‖ is left.
NORMALIZING = (torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.Adamax, torch.optim.RMSprop)

# Below this ‖w‖‖g‖, as a share of the loss, rounding decides whether a loss has changed.
_NO_GRADIENT = 1e-10


@dataclass(frozen=True)
class EffectiveRate:
    """Of one parameter w with gradient g.

    Attributes:
        name: Of the parameter.
        scale_invariant: Whether the three figures below are zero up to the tolerance; None where there is no gradient
            to tell by.
        radial: |⟨w, g⟩|/(‖w‖‖g‖).
        loss_change: |L(2w) - L(w)|/(‖w‖‖g‖).
        gradient_change: ‖2g(2w) - g(w)‖/‖g(w)‖. Both None where ``radial`` has already decided.
        norm, grad_norm: ‖w‖ and ‖g‖.
        unit_grad_norm: ‖w‖‖g‖, the gradient's norm at w/‖w‖; does not change with ‖w‖ if scale-invariant.
        lr, weight_decay: η and λ that the figures are for.
        effective_lr: The rate that turns w/‖w‖ as η turns w: η/‖w‖² for SGD, η/‖w‖ for `NORMALIZING` optimizers. None
            unless scale-invariant, and for other optimizers.
        rotation: Angle in radians between w and where the step would take it.
        norm_growth: ‖w⁺‖/‖w‖ - 1 of that step.
        equilibrium_norm: ‖w‖ = (η‖g̃‖²/(2λ))^¼ with g̃ the gradient at w/‖w‖, to which weight decay brings ‖w‖.
        equilibrium_rotation: √(2ηλ) radians a step, which holds there whatever the gradient is. Both None unless
            scale-invariant, with λ > 0 and plain SGD.
    """

    name: str
    scale_invariant: bool | None
    radial: float | None
    loss_change: float | None
    gradient_change: float | None
    norm: float
    grad_norm: float
    unit_grad_norm: float
    lr: float | None
    weight_decay: float
    effective_lr: float | None
    rotation: float | None
    norm_growth: float | None
    equilibrium_norm: float | None
    equilibrium_rotation: float | None


@dataclass(frozen=True)
class EffectiveRates:
    """Of all trainable parameters, in the model's order.

    Attributes:
        loss: On the batch.
        step: ``sgd``, or the class of the optimizer that ``rotation`` is of.
        parameters: One entry each.
        note: What was not finite; empty else.
    """

    loss: float
    step: str
    parameters: tuple[EffectiveRate, ...]
    note: str = ""


def effective_lr(
    subject_or_model: Any,
    batches: Any = None,
    loss: Any = None,
    *,
    lr: float | None = None,
    weight_decay: float = 0.0,
    tolerance: float = 0.1,
    norms: Norms = "as is",
    dtype: torch.dtype | None = torch.float64,
    seed: int = 0,
) -> EffectiveRates:
    """Returns which parameters are scale-invariant, measured, and the effective learning rate of these.

    If f(aw) = f(w), then ⟨w, ∇f⟩ = 0 and ∇f(aw) = ∇f(w)/a: a step η at w turns it as η/‖w‖² would at w/‖w‖, and
    lengthens it, ‖w⁺‖² = ‖w‖² + η²‖g‖². Adam's step does not change with the gradient's length: η turns w as η/‖w‖
    would turn w/‖w‖. Weight decay λ balances that at ‖w‖⁴ = η‖g̃‖²/(2λ), where each step turns w
    by √(2ηλ).

    Args:
        subject_or_model, batches, loss: As in `gainstage.check`; the first batch is used.
        lr: Of plain SGD; None: the subject's optimizer, with the rates and the decay of its groups.
        weight_decay: λ beside ``lr``; the loss's gradient g is taken without it.
        tolerance: For loss_change and gradient_change; a tenth of it for radial.
        norms: As in `Objective`.
        dtype: Of the computation; None: as the model is, for one that does not run in float64.
        seed: Of the random numbers (dropout).

    Returns:
        One entry for each trainable parameter. Costs one forward and backward pass, and one more for each
        parameter whose ⟨w, g⟩ is near zero.

    Raises:
        InputError: if an argument is out of its range, or there is neither lr nor an optimizer.

    Validity:
        One parameter at a time, with the others as they are: where only several together can be rescaled (a bias with
        its weight) none is found, and a norm's γ counts while its β is near 0, if a rectifier and a norm follow.
        A norm's ε breaks invariance by about ε/σ² in each channel; weights that are not invariant are off by about 1.
        A weight is invariant on this batch: in eval mode a batch norm makes none. Equilibrium takes η, λ and ‖g̃‖ as
        constant over 1/(ηλ) steps and is for SGD without momentum; with decoupled and coupled decay alike.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(3, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        >>> _ = torch.manual_seed(0)
        >>> batch = (torch.randn(32, 3), torch.randint(2, (32,)))
        >>> found = effective_lr(model, batch, lr=0.1).parameters
        >>> [entry.name for entry in found if entry.scale_invariant]
        ['0.weight']

    References:
        van Laarhoven 2017, L2 regularization versus batch and weight normalization; Arora et al. 2019, Theoretical
        analysis of auto rate-tuning by batch normalization; Wan et al. 2021, Spherical motion dynamics.
    """
    require_positive("effective_lr", "tolerance", tolerance, "Leave it at 0.1.")
    require_non_negative("effective_lr", "weight_decay", weight_decay, "Leave it at 0.")
    subject = as_subject(subject_or_model, batches, loss)
    objective = Objective(subject, norms=norms, dtype=dtype, seed=seed)
    batch = objective.batches[0]
    value, gradient = objective.gradient(batch)
    update = proposed_update(objective, gradient, lr)
    point, grads = objective.split(objective.point()), objective.split(gradient)
    if lr is not None:
        update = update - lr * weight_decay * objective.point()
    steps = objective.split(update)
    rates = dict.fromkeys(objective.names, (lr, weight_decay, 2, True)) if lr is not None else _of_groups(objective)
    found: list[EffectiveRate] = []
    for name in objective.names:
        w, g = point[name].double(), grads[name].double()
        tested = _tested(objective, batch, value, name, w, g, tolerance)
        found.append(_rate(name, w, g, steps[name].double(), tested, rates.get(name, (None, 0.0, None, False))))
    odd = [entry.name for entry in found if not math.isfinite(entry.grad_norm)]
    step = "sgd" if lr is not None else type(subject.optimizer).__name__
    return EffectiveRates(value, step, tuple(found), f"the gradient is not finite in {', '.join(odd)}" if odd else "")


_Rate = tuple[float | None, float, int | None, bool]
_Tested = tuple[bool | None, float | None, float | None, float | None]


def _of_groups(objective: Objective) -> dict[str, _Rate]:
    """lr, decay, the power of ‖w‖ in the effective rate, and whether it is plain SGD, of what the optimizer holds."""
    optimizer = objective.subject.optimizer
    assert optimizer is not None  # proposed_update has said so
    names = {id(parameter): name for name, parameter in zip(objective.names, objective.parameters, strict=True)}
    power = 2 if isinstance(optimizer, torch.optim.SGD) else 1 if isinstance(optimizer, NORMALIZING) else None
    found: dict[str, _Rate] = {}
    for group in optimizer.param_groups:
        plain = type(optimizer) is torch.optim.SGD and not group["momentum"] and not group["maximize"]
        rate = (float(group.get("lr", 0.0)), float(group.get("weight_decay", 0.0)), power, plain)
        found.update({names[id(p)]: rate for p in group["params"] if id(p) in names})
    return found


def _tested(
    objective: Objective, batch: Any, value: float, name: str, w: torch.Tensor, g: torch.Tensor, tolerance: float
) -> _Tested:
    """Whether w is scale-invariant, with the figures that decide.

    In many dimensions ⟨w, g⟩ is near zero by chance, and so is the loss's change where the network's output is small.
    The gradient tells: at 2w it is half of what it is at w, while it stays as it is where the loss is linear in w.
    """
    scale = float(w.norm()) * float(g.norm())
    if not (math.isfinite(scale) and math.isfinite(value) and scale > _NO_GRADIENT * max(abs(value), 1e-300)):
        return None, None, None, None
    radial = abs(float((w * g).sum())) / scale
    if radial > tolerance / 10:
        return False, radial, None, None
    parts = objective.split(objective.point())
    with objective.moved(objective.flat([part if own == name else None for own, part in parts.items()]), 1.0):
        there, gradient = objective.gradient(batch)
    loss_change = abs(there - value) / scale
    doubled = 2 * objective.split(gradient)[name].double()
    gradient_change = float((doubled - g).norm()) / float(g.norm())
    # Comparisons with NaN are false: what is not finite at 2w is not invariant.
    same = loss_change <= tolerance and gradient_change <= tolerance
    return same, radial, loss_change, gradient_change


def _rate(
    name: str, w: torch.Tensor, g: torch.Tensor, step: torch.Tensor, tested: _Tested, rate: _Rate
) -> EffectiveRate:
    invariant, radial, loss_change, gradient_change = tested
    lr, decay, power, plain = rate
    norm, grad_norm = float(w.norm()), float(g.norm())
    usable = bool(invariant) and lr is not None and norm > 0
    settles = usable and plain and decay > 0
    growth = float((w + step).norm()) / norm - 1 if norm > 0 else None
    return EffectiveRate(
        name, invariant, radial, loss_change, gradient_change, norm, grad_norm, norm * grad_norm, lr, decay,
        effective_lr=lr / norm**power if usable and lr is not None and power is not None else None,
        rotation=_angle(w, w + step),
        norm_growth=growth if growth is not None and math.isfinite(growth) else None,
        equilibrium_norm=(lr * (norm * grad_norm) ** 2 / (2 * decay)) ** 0.25 if settles and lr is not None else None,
        equilibrium_rotation=math.sqrt(2 * lr * decay) if settles and lr is not None else None,
    )  # fmt: skip


def _angle(one: torch.Tensor, other: torch.Tensor) -> float | None:
    """By the sides of a triangle (Kahan): an arc cosine would lose angles below 1e-8."""
    a, b = float(one.norm()), float(other.norm())
    if not (a > 0 and b > 0 and math.isfinite(a) and math.isfinite(b)):
        return None
    u, v = one / a, other / b
    return 2 * math.atan2(float((u - v).norm()), float((u + v).norm()))
