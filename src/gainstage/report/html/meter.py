"""What the level meter shows, row by row, as plain values for the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gainstage.report.outline import findings_by_layer, gravest, named_layers
from gainstage.report.scale import LogScale, power_of_ten
from gainstage.report.wording import counted, dimensions, figure, module_label
from gainstage.rules.base import Finding, Severity
from gainstage.trace.records import LayerRecord, Trace

Bands = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Level:
    """One bar: its figure, how far it reaches, and where theory expects it; shares are percentages.

    Attributes:
        clip: What is not finite, in words, or "".
        outside: ``low`` or ``high`` against theory's band, or "".
    """

    text: str
    share: str
    clip: str = ""
    band_from: str = ""
    band_width: str = ""
    outside: str = ""


@dataclass(frozen=True)
class Flag:
    """A finding's mark on a layer: a link where it begins, a coloured edge where it goes on."""

    code: str
    anchor: str
    severity: Severity


@dataclass(frozen=True)
class Row:
    """One layer; ``tag`` is ``norm`` or ``residual`` or ""."""

    name: str
    op: str
    shape: str
    tag: str
    forward: Level
    gradient: Level
    severity: Severity | None
    starts: tuple[Flag, ...]
    within: tuple[str, ...]


@dataclass(frozen=True)
class Axis:
    """Position (percent) and label of each tick, and the width of a decade (percent)."""

    ticks: tuple[tuple[str, str], ...]
    decade: str


@dataclass(frozen=True)
class Meter:
    """The whole table; ``notes`` and ``clips`` say whether a word stands beside a forward or a gradient figure."""

    rows: tuple[Row, ...]
    forward: Axis
    gradient: Axis
    has_bands: bool
    notes: bool
    clips: bool


def meter(trace: Trace, findings: Sequence[Finding], anchors: Mapping[int, str], bands: Bands | None) -> Meter:
    """The level meter of a trace.

    Args:
        trace: What was recorded.
        findings: In the report's order.
        anchors: Position of a finding to the id of its card.
        bands: Layer name to the (low, high) in which theory expects its forward rms.
    """
    bands = bands or {}
    edges = [edge for layer in trace.layers for edge in bands.get(layer.name, ())]
    forward = LogScale.of([*(layer.rms for layer in trace.layers), *edges])
    gradient = LogScale.of(layer.grad_rms for layer in trace.layers)
    marks = findings_by_layer(trace, findings)
    starts = _starts(trace, findings, anchors)
    rows = tuple(
        Row(
            name=module_label(layer.name),
            op=layer.op,
            shape=dimensions(layer.shape[1:]) if len(layer.shape) > 1 else "",
            tag=_tag(layer),
            forward=_level(layer.rms, layer.non_finite, forward, bands.get(layer.name)),
            gradient=_level(layer.grad_rms, layer.grad_non_finite, gradient, None),
            severity=gravest(marks.get(layer.name, ())),
            starts=tuple(starts.get(layer.name, ())),
            within=tuple(dict.fromkeys(finding.code for finding in marks.get(layer.name, ()))),
        )
        for layer in trace.layers
    )
    return Meter(
        rows=rows,
        forward=_axis(forward),
        gradient=_axis(gradient),
        has_bands=bool(edges),
        notes=any(row.forward.outside or row.forward.clip for row in rows),
        clips=any(row.gradient.clip for row in rows),
    )


def _starts(trace: Trace, findings: Sequence[Finding], anchors: Mapping[int, str]) -> dict[str, list[Flag]]:
    table: dict[str, list[Flag]] = {}
    for position, finding in enumerate(findings):
        origin = next(iter(named_layers(trace, finding)), None)
        if origin is not None:
            table.setdefault(origin, []).append(Flag(finding.code, anchors[position], finding.severity))
    return table


def _tag(layer: LayerRecord) -> str:
    if layer.kind == "norm":
        return "norm"
    return "residual" if layer.op in ("add", "add_") and len(layer.inputs) > 1 else ""


def _level(value: float | None, broken: int, scale: LogScale, band: tuple[float, float] | None) -> Level:
    share = 1.0 if broken else scale.position(value)
    clip = f"{counted(broken, 'value')} not finite" if broken else ""
    if band is None:
        return Level(figure(value), _percent(share), clip)
    low, high = (scale.position(edge) for edge in band)
    outside = ""
    if value is not None and not broken:
        outside = "low" if value < band[0] else "high" if value > band[1] else ""
    return Level(figure(value), _percent(share), clip, _percent(low), _percent(high - low), outside)


def _axis(scale: LogScale) -> Axis:
    ticks = tuple((_percent(at), power_of_ten(exponent)) for at, exponent in scale.ticks())
    return Axis(ticks, f"{100 / scale.decades:.4g}%")


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"
