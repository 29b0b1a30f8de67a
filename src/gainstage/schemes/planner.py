"""Which layer gets which scheme: by the activation that follows it, as the trace saw it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gainstage import theory
from gainstage.errors import InputError
from gainstage.schemes.base import SCHEMES, LayerScheme, Site
from gainstage.schemes.catalogue import AUTO, scheme
from gainstage.schemes.index import index
from gainstage.schemes.reasons import parameter_of, readers_of, refusal
from gainstage.schemes.streams import MAPS, read_out
from gainstage.schemes.structured import STRUCTURED, Changes
from gainstage.schemes.targets import branch_scales, read_out_level, saturating_level
from gainstage.theory import Activation
from gainstage.trace.records import LayerRecord, Trace


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
        part_scales: The same for each projection that is packed into the weight, where they differ; else empty.
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
    part_scales: tuple[float, ...] = ()
    level: float = 1.0
    note: str = ""


def plan(trace: Trace, name: str = "auto") -> tuple[Plan, ...]:
    """A plan for every linear or convolutional weight of the trace that is to be drawn, in order of execution.

    Where ``auto`` decides, the last layer of a residual branch is scaled by 1/√L in a stream of L sums, and a
    read-out to what its loss asks for.
    ReLU and its kin get He's scheme with their computed gain, saturating activations Glorot's, a layer with
    nothing behind it LeCun's. A weight that is used at several places is planned for the first. What `refusal`
    has a reason against has no plan. A scheme that cannot draw a weight (``delta_orthogonal`` an even kernel) is
    replaced there by its ``fallback``, or by what ``auto`` takes; the plan's note says so.

    Args:
        trace: Of one pass of the model.
        name: ``auto`` (normal), ``auto_uniform``, ``auto_truncated_normal``; one scheme for all; or one for whole
            networks, of `gainstage.schemes.structured.STRUCTURED`.

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
    recipe = _recipe(trace, name)
    plans: dict[str, Plan] = {}
    for position, layer in enumerate(trace.layers):
        if not layer.parameters or layer.parameters[0] in plans:
            continue
        if position in recipe.changes.tables and parameter_of(trace, layer.parameters[0]).requires_grad:
            plans[layer.parameters[0]] = _table_plan(trace, position, recipe)
        elif layer.kind in MAPS and refusal(layer, trace) is None:
            plans[layer.parameters[0]] = _plan(trace, position, recipe)
    return tuple(plans.values()) if name not in AUTO else _levelled(tuple(plans.values()))


@dataclass(frozen=True)
class _Recipe:
    """A named scheme, taken apart: one layer scheme for all or None, else by what follows; and what is changed."""

    fixed: LayerScheme | None
    distribution: str
    changes: Changes
    why: str


def _recipe(trace: Trace, name: str) -> _Recipe:
    structured = STRUCTURED.get(name)
    base = name if structured is None else structured.base
    fixed = None if base in AUTO else scheme(base)
    if structured is not None:
        changes, why = structured.changes(trace), structured.why
    else:
        changes = _automatic(trace) if fixed is None else Changes()
        why = "the end of a residual branch, by its stream"
    return _Recipe(fixed, AUTO.get(base, "normal"), changes, why)


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


def _automatic(trace: Trace) -> Changes:
    level, loss = read_out_level(trace)
    ends = dict.fromkeys(read_out(trace) if level != 1 else (), level)
    return Changes({**branch_scales(trace), **ends}, reasons=dict.fromkeys(ends, f"the read-out, by its loss ({loss})"))


def _plan(trace: Trace, position: int, recipe: _Recipe) -> Plan:
    layer, behind = trace.layers[position], follower(trace, position)
    act = None if behind is None else _known(behind, trace)
    bias = layer.parameters[1] if len(layer.parameters) == 2 and layer.bias_rms is not None else None
    site = _site(layer, trace, act, bias)
    chosen, replaced = _chosen(recipe.fixed, SCHEMES[f"{_family(act)}_{recipe.distribution}"], site)
    gained = act if chosen.gain_of == "behind" else _read(trace, position)
    if gained is not None and chosen.gain is not None:
        site = replace(site, gain=chosen.gain(gained))
    scales = _scales(trace, position, site, recipe.changes)
    first, mean_square = scales[0], sum(scale**2 for scale in scales) / len(scales)
    notes = [*_notes(trace, layer, behind, act), *replaced]
    if mean_square != 1:
        notes.append(
            f"times {', '.join(f'{scale:.3g}' for scale in scales)}: {recipe.changes.reasons.get(position, recipe.why)}"
        )
    return Plan(
        layer.name, layer.parameters[0], bias, "none" if behind is None else behind.op, chosen, site.gain,
        site.fan_in, site.fan_out, chosen.variance(site) * mean_square, site, first,
        scales if len(scales) > 1 else (), first, "; ".join(notes),
    )  # fmt: skip


def _scales(trace: Trace, position: int, site: Site, changes: Changes) -> tuple[float, ...]:
    """What the draw is multiplied with: one number, or one for each projection that is packed into the weight."""
    weight = trace.layers[position].parameters[0]
    parts = range(position, min(position + site.parts, len(trace.layers)))
    packed = site.parts > 1 and all(trace.layers[part].parameters[:1] == (weight,) for part in parts)
    scales = [changes.scales.get(part, 1.0) for part in (parts if packed else (position,))]
    return tuple(scales) if len(set(scales)) > 1 else tuple(scales[:1])


def _table_plan(trace: Trace, position: int, recipe: _Recipe) -> Plan:
    """Of an embedding: Var = 1/d for rows of d numbers, and the scheme's factor."""
    layer = trace.layers[position]
    shape, factor = parameter_of(trace, layer.parameters[0]).shape, recipe.changes.tables[position]
    site, drawn = Site(shape, fan_in=shape[-1], fan_out=shape[0]), SCHEMES["lecun_normal"]
    return Plan(
        layer.name, layer.parameters[0], None, "none", drawn, 1.0, site.fan_in, site.fan_out,
        drawn.variance(site) * factor**2, site, factor, (), factor, f"a table: times {factor:.3g}: {recipe.why}",
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


def _read(trace: Trace, position: int) -> Activation | None:
    """The activation whose output the layer reads; None where it reads anything else."""
    before = [trace.layers[source] for source in trace.layers[position].inputs]
    read = [layer for layer in before if layer.kind == "activation" and layer.op not in ("softmax", "log_softmax")]
    return _known(read[0], trace) if read and len(read) == len(before) else None


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
