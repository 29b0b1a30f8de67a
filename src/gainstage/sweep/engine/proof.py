"""Whether networks of one structure can be computed many at once, shown on two of them beside torch's own modules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from gainstage.seeding import preserved_rng
from gainstage.sweep.cells import Cell
from gainstage.sweep.data import Batches, Data
from gainstage.sweep.engine.initial import built, drawing_seed
from gainstage.sweep.engine.tape import NotDense
from gainstage.sweep.engine.vectorised import Kind, program
from gainstage.sweep.losses import loss_function
from gainstage.sweep.settings import settings
from gainstage.sweep.spec import Spec

# Of a tensor's largest entry, beside what rounding leaves of the largest gradient of all.
_TOLERANCES = {torch.float32: 2e-4, torch.float64: 1e-10}
_PASSES = 2
_SOME = 8
_NONE = object()


@dataclass(frozen=True)
class Refusal:
    """Why networks of a structure are computed one by one."""

    why: str


@dataclass(frozen=True)
class _Seen:
    """What two passes of one network in training mode and one in evaluation mode gave."""

    tensors: dict[str, torch.Tensor]
    trained: tuple[str, ...]


def provable(spec: Spec, cells: Sequence[Cell], data: Data) -> Kind | Refusal:
    """The faster way that equals torch's modules on the first and the last of some cells.

    Two batches forward and backward, without updates: losses, gradients, buffers, and outputs in evaluation mode.

    Args:
        spec: What they share.
        cells: Of one structure; at least one.
        data: What they learn.

    Returns:
        How to compute them, or why one by one.

    Raises:
        Exception: whatever the factory or the model raise by themselves.
    """
    # Unscaled: weights so large that nothing is finite would prove nothing.
    pair = [Cell.of({**cell.values, "scale": 1.0}) for cell in (cells[0], cells[-1])]
    models = [built(spec, cell, data) for cell in pair]
    before = _attributes(models[0])
    seen = [_seen(spec, cell, model, data) for cell, model in zip(pair, models, strict=True)]
    changed = next((name for name, value in _attributes(models[0]).items() if before.get(name, _NONE) != value), None)
    if changed:
        return Refusal(f"one by one: its forward changes {changed}")
    reasons: list[str] = []
    for way in ("stacked", "vmap"):
        kind = Kind(way, seen[0].trained)
        try:
            difference = _difference(_together(spec, kind, pair, data), seen)
        except NotDense as error:
            reasons.append(f"not stacked: {error}")
            continue
        except Exception as error:  # whatever torch or the model cannot do many at once
            line = (str(error).strip().splitlines() or [""])[0]
            reasons.append(f"{way}: {type(error).__name__}: {line[:120]}")
            continue
        if difference is None:
            return kind
        reasons.append(f"{way}: {difference}")
    return Refusal("one by one: " + "; ".join(reasons))


def _seen(spec: Spec, cell: Cell, model: nn.Module, data: Data) -> _Seen:
    chosen, function = settings(cell.values), loss_function(spec, data)
    batches = Batches(data, [chosen.order_seed], chosen.batch_size)
    found: dict[str, torch.Tensor] = {}
    with preserved_rng(drawing_seed(chosen.seed)):
        for step in range(_PASSES):
            model.zero_grad()
            inputs, targets = batches.at(step)
            loss = function(model(inputs), targets)
            loss.backward()
            found[f"loss of batch {step}"] = loss.detach()
    trained = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    found.update({f"gradient of {name}": gradient for name, gradient in trained.items()})
    found.update({f"buffer {name}": value for name, value in model.named_buffers()})
    with torch.no_grad():
        found["output in evaluation mode"] = model.eval()(data.test_inputs[:_SOME])
    return _Seen(found, tuple(trained))


def _together(spec: Spec, kind: Kind, cells: Sequence[Cell], data: Data) -> list[_Seen]:
    models = [built(spec, cell, data) for cell in cells]
    orders = [settings(cell.values) for cell in cells]
    made = program(spec, kind, models, cells, data)
    batches = Batches(data, [entry.order_seed for entry in orders], orders[0].batch_size)
    found: dict[str, torch.Tensor] = {}
    for step in range(_PASSES):
        inputs, targets = batches.at(step)
        found[f"loss of batch {step}"] = made.gradients(inputs, targets, shared=batches.shared)
    found.update({f"gradient of {name}": value for name, value in made.stack.gradients.items()})
    found.update({f"buffer {name}": value for name, value in made.stack.buffers.items()})
    found["output in evaluation mode"] = made.outputs(data.test_inputs[:_SOME])
    return [
        _Seen({name: value[run] for name, value in found.items()}, tuple(made.stack.gradients))
        for run in range(len(cells))
    ]


def _difference(together: Sequence[_Seen], alone: Sequence[_Seen]) -> str | None:
    """Where two computations differ by more than rounding; None if nowhere."""
    for one, other in zip(together, alone, strict=True):
        if one.tensors.keys() != other.tensors.keys():
            return "other tensors than one by one"
        largest = max((float(g.abs().max()) for name, g in other.tensors.items() if _is_gradient(name)), default=0.0)
        for name, value in one.tensors.items():
            if not _close(value, other.tensors[name], largest if _is_gradient(name) else 0.0):
                return f"{name} differs from one by one"
    return None


def _is_gradient(name: str) -> bool:
    return name.startswith("gradient of ")


def _close(value: torch.Tensor, expected: torch.Tensor, largest: float) -> bool:
    """Whether two tensors are equal but for rounding; what is not finite proves nothing."""
    if value.shape != expected.shape or value.dtype != expected.dtype:
        return False
    if not expected.is_floating_point():
        return bool(torch.equal(value, expected))
    # A gradient that is zero but for rounding, as of a bias before a batch norm, is noise of the larger ones.
    noise = 100 * torch.finfo(expected.dtype).eps * largest
    allowed = _TOLERANCES.get(expected.dtype, 0.0) * float(expected.abs().max()) + noise
    return bool((value - expected).abs().max() <= allowed) and math.isfinite(allowed)


def _attributes(model: nn.Module) -> dict[str, object]:
    plain = (int, float, str, bool, type(None))
    return {
        f"{path}.{name}".lstrip("."): value
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, plain) and name != "training"
    }
