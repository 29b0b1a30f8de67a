"""`initialize`: every linear and convolutional layer, for what follows it; every parameter accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gainstage.errors import GainstageError, InitializationError
from gainstage.schemes.planner import Plan, plan
from gainstage.schemes.variances import AUTO, draw, scheme
from gainstage.seeding import generator
from gainstage.trace import Trace, record
from gainstage.trace.subject import Subject, batch_series

IMAGE_SIZES = (32, 64, 224, 8)


@dataclass(frozen=True)
class Row:
    """One initialized layer: its plan, and what became of its weights and its level.

    Attributes:
        layer: Name in the trace.
        follows: The activation behind it, ``none`` without.
        scheme: The scheme's name.
        target: Standard deviation asked for.
        before, after: Standard deviation of the weights.
        rms_before, rms_after: rms of the layer's output on the batch, at the old weights and at the new ones.
    """

    layer: str
    follows: str
    scheme: str
    fan_in: float
    fan_out: float
    target: float
    before: float
    after: float
    rms_before: float | None
    rms_after: float | None


@dataclass(frozen=True)
class InitReport:
    """What `initialize` did; ``initialized`` and ``untouched`` together name every parameter once.

    Attributes:
        initialized: Full paths of the parameters that were set.
        untouched: (full path, reason) of the others.
        rows: One a layer, in order of execution.
    """

    initialized: tuple[str, ...]
    untouched: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        width = max([5, *(len(row.layer) for row in self.rows)])
        head = f"{'layer':<{width}}  {'followed by':<12} {'scheme':<15} {'std before':>10} {'after':>9} "
        lines = [head + f"{'rms before':>11} {'after':>9}"]
        for row in self.rows:
            rms = ["-" if value is None else f"{value:.3g}" for value in (row.rms_before, row.rms_after)]
            lines.append(
                f"{row.layer:<{width}}  {row.follows:<12} {row.scheme:<15} {row.before:>10.3g} {row.after:>9.3g} "
                f"{rms[0]:>11} {rms[1]:>9}"
            )
        if not self.untouched:
            return "\n".join([*lines, f"{len(self.initialized)} parameters initialized, all."])
        lines.append(f"{len(self.initialized)} parameters initialized, {len(self.untouched)} left as they were:")
        reasons: dict[str, list[str]] = {}
        for name, reason in self.untouched:
            reasons.setdefault(reason, []).append(name)
        for reason, names in reasons.items():
            lines.append(f"  {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}: {reason}")
        return "\n".join(lines)


def initialize(model: nn.Module, batch: Any = None, *, scheme: str = "auto", seed: int = 0) -> InitReport:
    """Draws the weights of every linear and convolutional layer anew, for the activation that follows it, in place.

    He's scheme with the computed gain before ReLU and its kin, Glorot's before tanh, sigmoid and other saturating
    activations, LeCun's where nothing follows; biases of these layers become zero. What follows is read off a
    traced pass, so functional activations and in-place ones are seen. A parameter's draw depends on the seed and
    on its own path alone, not on device or order of registration; it is drawn in float32 and cast.

    Args:
        model: Any module; changed in place, or not at all if this raises.
        batch: A batch as in `gainstage.Subject`. None: a random one is made from the first layer's signature.
        scheme: ``auto`` (normal), ``auto_uniform``, or a scheme for all layers such as ``he_uniform``.
        seed: Of the draws.

    Returns:
        What was initialized, what was left and why, and each layer's figures before and after.

    Raises:
        InitializationError: if no batch is given and none can be made.
        UnknownNameError: if there is no such scheme.
        SubjectError: if the batch does not fit the model.

    Example:
        >>> import torch, gainstage as gs
        >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
        >>> report = gs.initialize(model, torch.randn(32, 64))
        >>> [(row.layer, row.scheme) for row in report.rows]
        [('0', 'he_normal'), ('2', 'lecun_normal')]

    References:
        Glorot and Bengio 2010; He et al. 2015; LeCun et al. 1998.
    """
    _require_known(scheme)
    subject = Subject(model, _made_batch(model) if batch is None else batch)
    before = record(subject, backward=False)
    plans = [entry for entry in plan(before, scheme) if _reason(entry, before) is None]
    parameters = dict(model.named_parameters())
    draws = {entry.weight: _drawn(entry, parameters[entry.weight], seed) for entry in plans}
    biases = [entry.bias for entry in plans if entry.bias is not None and parameters[entry.bias].requires_grad]
    with torch.no_grad():
        for name, value in draws.items():
            parameters[name].copy_(value)
        for name in biases:
            parameters[name].zero_()
    initialized = {*draws, *biases}
    after = record(subject, backward=False)
    return InitReport(
        tuple(name for name in parameters if name in initialized),
        tuple((name, _why(name, before)) for name in parameters if name not in initialized),
        _rows(plans, before, after),
    )


def _require_known(name: str) -> None:
    if name not in AUTO:
        scheme(name)


def _drawn(entry: Plan, parameter: nn.Parameter, seed: int) -> torch.Tensor:
    return draw(tuple(parameter.shape), entry.variance, entry.scheme.distribution, generator(seed, entry.weight))


def _rows(plans: list[Plan], before: Trace, after: Trace) -> tuple[Row, ...]:
    was = {layer.name: layer for layer in before.layers}
    now = {layer.name: layer for layer in after.layers}
    return tuple(
        Row(
            entry.layer, entry.follows, entry.scheme.name, entry.fan_in, entry.fan_out, entry.variance**0.5,
            was[entry.layer].weight_std or 0.0, now[entry.layer].weight_std or 0.0,
            was[entry.layer].rms, now[entry.layer].rms,
        )
        for entry in plans
    )  # fmt: skip


def _reason(entry: Plan, trace: Trace) -> str | None:
    """Why a planned weight is left alone after all; None if it is not."""
    parameter = next(p for p in trace.parameters if p.name == entry.weight)
    if not parameter.requires_grad:
        return "frozen (requires_grad is False)"
    if "parametrizations." in entry.weight:
        return "parametrized: its weight is computed from several parameters"
    count = 1
    for size in parameter.shape:
        count *= size
    return None if count else "empty"


def _why(name: str, trace: Trace) -> str:
    """Why a parameter was left as it was."""
    parameter = next(p for p in trace.parameters if p.name == name)
    readers = [layer for layer in trace.layers if name in layer.parameters]
    if not parameter.requires_grad:
        return "frozen (requires_grad is False)"
    if "parametrizations." in name:
        return "parametrized: its weight is computed from several parameters"
    if not parameter.used and not readers:
        return "not used in the forward pass of this batch"
    kinds = {layer.kind for layer in readers}
    if "norm" in kinds:
        return "scale or shift of a norm, neutral as built"
    if "embedding" in kinds:
        return "an embedding: its scale is the data's, not a matter of fans"
    if readers and readers[0].op == "rnn":
        return "a recurrent layer that runs in one kernel: torch's own initialization is kept"
    if readers and readers[0].kind == "other":
        return f"a parameter in an operation {readers[0].op!r}: no fans"
    return "not the weight of a linear or convolutional layer"


def _made_batch(model: nn.Module) -> Any:
    """A random batch from the signature of the first layer with parameters, tried out."""
    seeded = torch.Generator().manual_seed(0)
    for candidate in _candidates(model, seeded):
        try:
            record(Subject(model, candidate), backward=False)
        except GainstageError:
            continue
        return batch_series(candidate).first()
    raise InitializationError(
        f"initialize: a batch must be given for {type(model).__name__}, got None and found none that fits its first "
        "layer. Pass one: gs.initialize(model, batch)."
    )


def _candidates(model: nn.Module, seeded: torch.Generator) -> list[Any]:
    """Inputs that the first layer with parameters would take."""
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, torch.Tensor):
            continue
        sizes: Mapping[str, Any] = vars(module)
        options: list[tuple[int, ...]] = []
        if isinstance(module, nn.Linear):
            options = [(16, module.in_features), (4, 8, module.in_features)]
        elif isinstance(module, nn.Embedding):
            ids = torch.randint(module.num_embeddings, (8, 16), generator=seeded)
            return [ids, ids[:, 0]]
        elif "in_channels" in sizes and "kernel_size" in sizes:
            dims = len(sizes["kernel_size"])
            options = [(8, sizes["in_channels"], *[size] * dims) for size in IMAGE_SIZES]
        return [torch.randn(shape, generator=seeded).to(weight.dtype) for shape in options]
    return []
