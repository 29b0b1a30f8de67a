"""Which layer gets which scheme: by the activation that follows it, as the trace saw it."""

from __future__ import annotations

from dataclasses import dataclass

from gainstage import theory
from gainstage.errors import InputError
from gainstage.schemes.reasons import parameter_of, readers_of, refusal
from gainstage.schemes.variances import AUTO, SCHEMES, Scheme, scheme
from gainstage.theory import Activation
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
        note: What else decided, one line, or "".
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
    note: str = ""


def plan(trace: Trace, name: str = "auto") -> tuple[Plan, ...]:
    """A plan for every linear or convolutional weight of the trace that is to be drawn, in order of execution.

    ReLU and its kin get He's scheme with their computed gain, saturating activations Glorot's, a layer with
    nothing behind it LeCun's. A weight that is used at several places is planned for the first. What `refusal`
    has a reason against has no plan.

    Args:
        trace: Of one pass of the model.
        name: ``auto``, ``auto_uniform``, or one scheme for all.

    Returns:
        The plans; their weights are distinct.

    Raises:
        UnknownNameError: if there is no such scheme.

    Example:
        >>> import torch, gainstage as gs
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
        >>> [(p.weight, p.follows, p.scheme.name) for p in plan(gs.record(model, torch.randn(4, 8)))]
        [('0.weight', 'tanh', 'glorot_normal'), ('2.weight', 'none', 'lecun_normal')]

    References:
        Glorot and Bengio 2010; He et al. 2015; LeCun et al. 1998.
    """
    fixed = None if name in AUTO else scheme(name)
    distribution = AUTO.get(name, "normal")
    plans: dict[str, Plan] = {}
    for position, layer in enumerate(trace.layers):
        if layer.kind not in MAPS or not layer.parameters or layer.parameters[0] in plans:
            continue
        if refusal(layer, trace) is None:
            plans[layer.parameters[0]] = _plan(trace, position, fixed, distribution)
    return tuple(plans.values())


def follower(trace: Trace, position: int) -> LayerRecord | None:
    """The nearest activation that reads the layer, directly or through norms, dropout and pooling.

    A softmax is no activation in this sense: it reads scores out.

    Args:
        trace: Of one pass of the model.
        position: Of the layer in ``trace.layers``.

    Returns:
        The activation's record; None where the next map, sum, attention or the output comes first.
    """
    waiting = [position]
    for current in waiting:
        for reader in range(current + 1, len(trace.layers)):
            layer = trace.layers[reader]
            if current not in layer.inputs:
                continue
            if layer.kind == "activation" and layer.op not in ("softmax", "log_softmax"):
                return layer
            if layer.kind == "norm" and reader not in waiting:
                waiting.append(reader)
    return None


def _plan(trace: Trace, position: int, fixed: Scheme | None, distribution: str) -> Plan:
    layer, behind = trace.layers[position], follower(trace, position)
    act = None if behind is None else _known(behind, trace)
    chosen = fixed or SCHEMES[f"{_family(act)}_{distribution}"]
    gain = theory.he_gain(act) if act is not None and chosen.uses_gain else 1.0
    fan_in, fan_out = layer.fan_in or 1.0, layer.fan_out or 1.0
    bias = layer.parameters[1] if len(layer.parameters) == 2 and layer.bias_rms is not None else None
    return Plan(
        layer.name, layer.parameters[0], bias, "none" if behind is None else behind.op, chosen, gain,
        fan_in, fan_out, chosen.variance(fan_in, fan_out, gain), "; ".join(_notes(trace, layer, behind, act)),
    )  # fmt: skip


def _known(behind: LayerRecord, trace: Trace) -> Activation | None:
    """The activation as the theory knows it, or None."""
    if behind.op == "prelu" and behind.parameters:
        # Var W = 2/((1 + a²)·fan_in), He et al. 2015, equation 15; the mean of a² over channels is rms².
        return theory.activation("leaky_relu", negative_slope=parameter_of(trace, behind.parameters[0]).rms)
    try:
        return theory.activation(behind.op, **(behind.attributes or {}))
    except InputError:  # a gate, a randomised slope: nothing better than to keep the variance of a linear map
        return None


def _family(act: Activation | None) -> str:
    if act is None:
        return "lecun"
    return "he" if act.is_rectifier else "glorot"


def _notes(trace: Trace, layer: LayerRecord, behind: LayerRecord | None, act: Activation | None) -> list[str]:
    notes: list[str] = []
    calls = len(readers_of(trace, layer.parameters[0]))
    if calls > 1:
        notes.append(f"used {calls} times; the first use decides")
    if behind is not None and act is None:
        notes.append(f"no gain is known for {behind.op}; treated as if nothing followed")
    return notes
