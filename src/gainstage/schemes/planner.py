"""Which layer gets which scheme: by the activation that follows it, as the trace saw it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gainstage import theory
from gainstage.errors import InputError
from gainstage.schemes.base import SCHEMES, LayerScheme, Site
from gainstage.schemes.catalogue import AUTO, scheme
from gainstage.schemes.index import index
from gainstage.schemes.reasons import parameter_of, readers_of, refusal
from gainstage.schemes.structured import STRUCTURED
from gainstage.schemes.targets import branch_scales, saturating_level
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
        scheme: The scheme that is applied: the one asked for, or the one that takes its place.
        gain: Its gain.
        fan_in, fan_out: Of one output unit.
        variance: Var W; for weights that are not centred and independent the mean square of an entry.
        site: What the scheme is told of the weight.
        scale: What the draw is multiplied with: less than 1 at the end of a residual branch.
        level: rms that its output is to have where a batch sets it.
        note: What else decided, one line, or "".
    """

    layer: str
    weight: str
    bias: str | None
    follows: str
    scheme: LayerScheme
    gain: float
    fan_in: float
    fan_out: float
    variance: float
    site: Site
    scale: float = 1.0
    level: float = 1.0
    note: str = ""


def plan(trace: Trace, name: str = "auto") -> tuple[Plan, ...]:
    """A plan for every linear or convolutional weight of the trace that is to be drawn, in order of execution.

    Where ``auto`` decides, the last layer of a residual branch is scaled by 1/√L in a stream of L sums.
    ReLU and its kin get He's scheme with their computed gain, saturating activations Glorot's, a layer with
    nothing behind it LeCun's. A weight that is used at several places is planned for the first. What `refusal`
    has a reason against has no plan. A scheme that cannot draw a weight (``delta_orthogonal`` an even kernel) is
    replaced there by its ``fallback``, or by what ``auto`` takes; the plan's note says so.

    Args:
        trace: Of one pass of the model.
        name: ``auto`` (normal), ``auto_uniform``, ``auto_truncated_normal``; one scheme for all; or one for whole
            networks: ``fixup``, ``skipinit``, ``gpt2``.

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
    structured = STRUCTURED.get(name)
    base = name if structured is None else structured.base
    fixed = None if base in AUTO else scheme(base)
    distribution = AUTO.get(base, "normal")
    plans: dict[str, Plan] = {}
    if structured is not None:
        scales, why = structured.scales(trace), structured.why
    else:
        scales, why = branch_scales(trace) if fixed is None else {}, "the end of a residual branch, by its stream"
    for position, layer in enumerate(trace.layers):
        if layer.kind not in MAPS or not layer.parameters or layer.parameters[0] in plans:
            continue
        if refusal(layer, trace) is None:
            plans[layer.parameters[0]] = _plan(trace, position, fixed, distribution, scales.get(position, 1.0), why)
    return tuple(plans.values()) if name not in AUTO else _levelled(tuple(plans.values()))


def _levelled(plans: tuple[Plan, ...]) -> tuple[Plan, ...]:
    """The plans with the levels that saturating activations are to be fed, by how many of them there are."""
    saturating = {entry.weight for entry in plans if _family(entry.site.activation) == "glorot"}
    return tuple(
        replace(entry, level=entry.level * saturating_level(entry.site.activation, len(saturating)))
        if entry.site.activation is not None and entry.weight in saturating
        else entry
        for entry in plans
    )


def follower(trace: Trace, position: int) -> LayerRecord | None:
    """The nearest activation that reads the layer, directly or through norms, dropout and pooling.

    A softmax is no activation in this sense: it reads scores out.

    Args:
        trace: Of one pass of the model.
        position: Of the layer in ``trace.layers``.

    Returns:
        The activation's record; None where the next map, sum, attention or the output comes first.
    """
    waiting, read_by = [position], index(trace).read_by
    for current in waiting:
        for reader in read_by[current]:
            layer = trace.layers[reader]
            if layer.kind == "activation" and layer.op not in ("softmax", "log_softmax"):
                return layer
            if layer.kind == "norm" and reader not in waiting:
                waiting.append(reader)
    return None


def _plan(trace: Trace, position: int, fixed: LayerScheme | None, distribution: str, scale: float, why: str) -> Plan:
    layer, behind = trace.layers[position], follower(trace, position)
    act = None if behind is None else _known(behind, trace)
    bias = layer.parameters[1] if len(layer.parameters) == 2 and layer.bias_rms is not None else None
    site = _site(layer, trace, act, bias)
    chosen, replaced = _chosen(fixed, SCHEMES[f"{_family(act)}_{distribution}"], site)
    if act is not None and chosen.gain is not None:
        site = replace(site, gain=chosen.gain(act))
    notes = [*_notes(trace, layer, behind, act), *replaced]
    if scale != 1:
        notes.append(f"times {scale:.3g}: {why}")
    return Plan(
        layer.name, layer.parameters[0], bias, "none" if behind is None else behind.op, chosen, site.gain,
        site.fan_in, site.fan_out, chosen.variance(site) * scale**2, site, scale, scale, "; ".join(notes),
    )  # fmt: skip


def _chosen(fixed: LayerScheme | None, automatic: LayerScheme, site: Site) -> tuple[LayerScheme, list[str]]:
    """The first that can draw the weight of: the one asked for, its fallback, the automatic one; and why."""
    if fixed is None:
        return automatic, []
    why = fixed.refusal(site)
    if why is None:
        return fixed, []
    second = None if fixed.fallback is None else scheme(fixed.fallback)
    chosen = automatic if second is None or second.refusal(site) is not None else second
    return chosen, [f"{fixed.name}: {why}; {chosen.name} instead"]


def _site(layer: LayerRecord, trace: Trace, act: Activation | None, bias: str | None) -> Site:
    shape = parameter_of(trace, layer.parameters[0]).shape
    fan_in, fan_out = layer.fan_in or 1.0, layer.fan_out or 1.0
    # q, k and v in one weight are maps of their own (pytorch issue 166378); the trace has the fans of one.
    packed = layer.kind == "linear" and len(shape) == 2 and shape[1] == fan_in and shape[0] > fan_out
    parts = int(shape[0] // fan_out) if packed and shape[0] % fan_out == 0 else 1
    return Site(
        shape=shape, fan_in=fan_in, fan_out=fan_out, activation=act,
        groups=int((layer.attributes or {}).get("groups", 1)), transposed="transpose" in layer.op,
        convolution=layer.kind == "conv", parts=parts,
        has_bias=bias is not None and parameter_of(trace, bias).requires_grad,
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
