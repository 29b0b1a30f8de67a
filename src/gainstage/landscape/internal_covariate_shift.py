"""Internal covariate shift: how far a layer's gradient changes because the layers in front of it have moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gainstage.errors import InputError, SubjectError, UnknownNameError
from gainstage.landscape.layer_parameters import layer_parameters
from gainstage.landscape.objective import Norms, Objective
from gainstage.landscape.precision import working_dtype
from gainstage.landscape.update import proposed_update
from gainstage.trace.subject import as_subject


@dataclass(frozen=True)
class LayerShift:
    """Of one layer i.

    Attributes:
        name: Of the layer, as in a trace.
        position: Among the layers with parameters, from 0.
        parameters: What G is the gradient of.
        gradient_norm: ‖G‖, with all layers where they are.
        shift: ‖G - G'‖₂, G' with the layers in front at their next point.
        cosine: Between G and G'; None where one of them is zero or not finite.
        relative: ‖G - G'‖/‖G‖; None likewise.
    """

    name: str
    position: int
    parameters: tuple[str, ...]
    gradient_norm: float
    shift: float
    cosine: float | None
    relative: float | None


@dataclass(frozen=True)
class CovariateShift:
    """Of one step on one batch.

    Attributes:
        step: What made it: ``sgd`` with a learning rate, or the optimizer's class.
        lr: Of plain gradient descent; None for the subject's optimizer.
        loss: On the batch before the step.
        layers: In order of execution.
        note: What was not finite; empty else.
    """

    step: str
    lr: float | None
    loss: float
    layers: tuple[LayerShift, ...]
    note: str = ""


def covariate_shift(
    subject_or_model: Any,
    batches: Any = None,
    loss: Any = None,
    *,
    lr: float | None = None,
    layers: Sequence[str | int] | None = None,
    most: int = 16,
    norms: Norms = "as is",
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> CovariateShift:
    """Returns the internal covariate shift ‖G_i - G'_i‖₂ of each layer i, on one batch and for one step.

    G_i = ∇_{W_i} L(W_1, ..., W_k) and G'_i = ∇_{W_i} L(W_1⁺, ..., W_{i-1}⁺, W_i, ..., W_k) on the same batch, where
    W⁺ is what one step on this batch makes of all parameters.

    Args:
        subject_or_model, batches, loss: As in `gainstage.check`; the first batch is used.
        lr: The step is -lr·g; None: the step of the subject's optimizer, as it is now.
        layers: Names, or positions among the layers with parameters (negative ones from the end); None: all, or
            ``most`` of them, evenly spaced, with the last.
        most: How many, if ``layers`` is None.
        norms: As in `Objective`.
        dtype: Of the computation; None: as the model is, and float32 for half precision.
        seed: Of the random numbers (dropout), the same before and after.

    Returns:
        One entry a layer. Costs one forward and backward pass, and one for each layer but the first, whose shift is
        zero by definition.

    Raises:
        InputError: if there is neither lr nor an optimizer, or a layer is unknown.
        SubjectError: if the forward pass reads no trainable parameter.

    Validity:
        Layers as `layer_parameters` has them: a norm's γ and β belong to the map in front. ‖G - G'‖ grows with lr and
        with the gradient's own size: compare cosine and relative between networks, and sweep lr. Layers that run in
        parallel are taken in the order in which they ran.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
        >>> for parameter in model.parameters():
        ...     _ = nn.init.ones_(parameter)
        >>> half = lambda y, t: (y - t).square().sum() / 2
        >>> found = covariate_shift(model, (torch.ones(1, 1), torch.zeros(1, 1)), half, lr=0.5)
        >>> found.layers[1].shift  # G = w₁²w₂ = 1, and w₁ becomes 1/2
        0.75

    References:
        Santurkar et al. 2018, How does batch normalization help optimization, Definition 2.1.
    """
    subject = as_subject(subject_or_model, batches, loss)
    dtype = working_dtype(subject.model, dtype)
    objective = Objective(subject, norms=norms, dtype=dtype, seed=seed)
    groups = layer_parameters(objective)
    if not groups:
        raise SubjectError(
            "covariate_shift: the model's forward pass must read trainable parameters, got none that it reads. "
            "Unfreeze some, or let forward= call the model."
        )
    chosen = _chosen(tuple(groups), layers, most)
    batch = objective.batches[0]
    value, gradient = objective.gradient(batch)
    update = proposed_update(objective, gradient, lr)
    measured = tuple(_layer(objective, batch, gradient, update, groups, position) for position in chosen)
    step = "sgd" if lr is not None else type(subject.optimizer).__name__
    odd = [layer.name for layer in measured if not math.isfinite(layer.shift)]
    note = f"the gradient is not finite in {', '.join(odd)}" if odd else ""
    return CovariateShift(step, lr, value, measured, note)


def _chosen(names: tuple[str, ...], layers: Sequence[str | int] | None, most: int) -> list[int]:
    count = len(names)
    if layers is None:
        if most < 1:
            raise InputError(f"covariate_shift: most must be at least 1, got {most}. Leave it at 16.")
        if count <= most:
            return list(range(count))
        return sorted({count - 1 - round(i * count / most) for i in range(most)})
    return [_position(names, layer) for layer in layers]


def _position(names: tuple[str, ...], layer: str | int) -> int:
    if isinstance(layer, str):
        if layer not in names:
            raise UnknownNameError("covariate_shift", "layer", layer, names)
        return names.index(layer)
    if not -len(names) <= layer < len(names):
        raise InputError(f"covariate_shift: layers must be below {len(names)}, got {layer}. Positions count from 0.")
    return layer % len(names)


def _layer(
    objective: Objective, batch: Any, gradient: torch.Tensor, update: torch.Tensor,
    groups: dict[str, tuple[str, ...]], position: int,
) -> LayerShift:  # fmt: skip
    name, own = list(groups.items())[position]
    before = {parameter for names in list(groups.values())[:position] for parameter in names}
    there = gradient
    if before:
        parts = objective.split(update)
        moved = [part if name in before else None for name, part in parts.items()]
        with objective.moved(objective.flat(moved), 1.0):
            _, there = objective.gradient(batch)
    here_parts, there_parts = objective.split(gradient), objective.split(there)
    G = torch.cat([here_parts[parameter].reshape(-1) for parameter in own]).double()
    G_next = torch.cat([there_parts[parameter].reshape(-1) for parameter in own]).double()
    size, size_next, shift = (float(vector.norm()) for vector in (G, G_next, G - G_next))
    usable = math.isfinite(size) and math.isfinite(size_next) and size > 0
    cosine = float(G @ G_next) / (size * size_next) if usable and size_next > 0 else None
    return LayerShift(name, position, own, size, shift, cosine, shift / size if usable else None)
