"""Which layer gets which scheme: by the activation that follows it, as the trace saw it."""

from __future__ import annotations

from dataclasses import dataclass

from gainstage import theory
from gainstage.errors import InputError
from gainstage.schemes.variances import AUTO, SCHEMES, Scheme, scheme
from gainstage.trace.records import LayerRecord, Trace

MAPS = ("linear", "conv")


@dataclass(frozen=True)
class Plan:
    """What is planned for one weight.

    Attributes:
        layer: Name of the layer in the trace.
        weight: Full path of the parameter.
        bias: Full path of its bias, or None.
        follows: What follows it: an activation's name, ``none`` for what is summed, attended to or read out.
        scheme: The scheme that is applied.
        gain: Its gain.
        fan_in, fan_out: Of one output unit.
        variance: Var W.
    """

    layer: str
    weight: str
    bias: str | None
    follows: str
    scheme: Scheme
    gain: float
    fan_in: float
    fan_out: float
    variance: float


def plan(trace: Trace, name: str = "auto") -> tuple[Plan, ...]:
    """A plan for every linear or convolutional weight of the trace, in order of execution.

    ReLU and its kin get He's scheme with their computed gain, saturating activations Glorot's, a layer with
    nothing behind it LeCun's; a weight that is used at several places is planned for the first.

    Args:
        trace: Of one pass of the model.
        name: ``auto``, ``auto_uniform``, or one scheme for all.

    Raises:
        UnknownNameError: if there is no such scheme.
    """
    fixed = None if name in AUTO else scheme(name)
    distribution = AUTO.get(name, "normal")
    plans: dict[str, Plan] = {}
    for position, layer in enumerate(trace.layers):
        weight = next(iter(layer.parameters), None)
        if layer.kind in MAPS and weight is not None and weight not in plans and layer.fan_in:
            plans[weight] = _plan(layer, weight, follower(trace, position), fixed, distribution)
    return tuple(plans.values())


def follower(trace: Trace, position: int) -> LayerRecord | None:
    """The activation that reads the layer, directly or through norms and pooling; None where there is none."""
    reader = position
    while True:
        readers = [layer for layer in range(reader + 1, len(trace.layers)) if reader in trace.layers[layer].inputs]
        if not readers:
            return None
        layer = trace.layers[readers[0]]
        if layer.kind == "activation":
            return None if layer.op in ("softmax", "log_softmax") else layer
        if layer.kind != "norm" or len(readers) > 1:
            return None
        reader = readers[0]


def _plan(layer: LayerRecord, weight: str, behind: LayerRecord | None, fixed: Scheme | None, distribution: str) -> Plan:
    chosen, gain = _automatic(behind, distribution)
    if fixed is not None:
        chosen, gain = fixed, gain if fixed.uses_gain else 1.0
    fan_in, fan_out = layer.fan_in or 1.0, layer.fan_out or 1.0
    bias = layer.parameters[1] if len(layer.parameters) > 1 and layer.bias_rms is not None else None
    return Plan(
        layer.name, weight, bias, "none" if behind is None else behind.op, chosen, gain,
        fan_in, fan_out, chosen.variance(fan_in, fan_out, gain),
    )  # fmt: skip


def _automatic(behind: LayerRecord | None, distribution: str) -> tuple[Scheme, float]:
    if behind is None:
        return SCHEMES[f"lecun_{distribution}"], 1.0
    try:
        act = theory.activation(behind.op, **(behind.attributes or {}))
    except InputError:  # a learned slope (PReLU), a gate: nothing better than to keep the variance of a linear map
        return SCHEMES[f"lecun_{distribution}"], 1.0
    if act.is_rectifier:
        return SCHEMES[f"he_{distribution}"], theory.he_gain(act)
    return SCHEMES[f"glorot_{distribution}"], 1.0
