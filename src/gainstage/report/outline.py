"""What every rendering shares: which finding stands under which, and the facts of the header."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gainstage.report.wording import counted, dimensions, figure
from gainstage.rules.base import Finding, Severity
from gainstage.trace.records import LayerRecord, TensorRecord, Trace
from gainstage.trace.training_records import OptimizerRecord

_RANK: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class Root:
    """A root cause and the findings that it explains, directly or through another."""

    finding: Finding
    consequences: tuple[Finding, ...]


def roots(findings: Sequence[Finding]) -> tuple[Root, ...]:
    """The root causes in their order, each with its consequences.

    A finding whose cause is not among the findings (its rule was ignored) is shown as a root: nothing is lost.
    """
    tops = [_top(findings, position) for position in range(len(findings))]
    return tuple(
        Root(finding, tuple(f for i, f in enumerate(findings) if tops[i] == position and i != position))
        for position, finding in enumerate(findings)
        if tops[position] == position
    )


def _top(findings: Sequence[Finding], position: int) -> int:
    climbed = [position]
    while (above := _parent(findings, climbed[-1])) is not None:
        if above in climbed:  # two rules that explain each other: the first to stand there is the root
            return min(climbed)
        climbed.append(above)
    return climbed[-1]


def _parent(findings: Sequence[Finding], position: int) -> int | None:
    child = findings[position]
    same = [i for i, f in enumerate(findings) if i != position and f.code == child.consequence_of]
    nearest = [i for i in same if findings[i].module == child.module]
    return next(iter(nearest or same), None)


def named_layers(trace: Trace, finding: Finding) -> tuple[str, ...]:
    """Names of the layers that a finding speaks of, the one where it begins first."""
    origin = _origin(trace.layers, finding)
    known = {layer.name for layer in trace.layers}
    rest = (name for name in finding.layers if name in known and name != origin)
    return (*(() if origin is None else (origin,)), *rest)


def _origin(layers: Sequence[LayerRecord], finding: Finding) -> str | None:
    """The layer of that name, else the first that the finding lists, else the first that ran in the module."""
    names = {layer.name for layer in layers}
    if finding.module in names:
        return finding.module
    listed = next((name for name in finding.layers if name in names), None)
    if listed is not None or not finding.module:  # every layer runs in the root: that names none
        return listed
    return next((layer.name for layer in layers if layer.module == finding.module), None)


def gravest(findings: Iterable[Finding]) -> Severity | None:
    """The gravest severity among the findings, None without any."""
    return min((finding.severity for finding in findings), key=_RANK.__getitem__, default=None)


def findings_by_layer(trace: Trace, findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """For every layer that a finding speaks of, those findings in their order."""
    table: dict[str, list[Finding]] = {}
    for finding in findings:
        for name in named_layers(trace, finding):
            table.setdefault(name, []).append(finding)
    return table


def facts(trace: Trace) -> tuple[tuple[str, str], ...]:
    """Label and value of what was examined: model, parameters, batch, loss, mode, optimizer."""
    pairs = [
        ("model", trace.name or "model"),
        ("parameters", parameter_count(trace)),
        ("batch", " and ".join(_tensor(tensor) for tensor in trace.inputs[:3])),
        ("loss", _loss(trace)),
        ("mode", _mode(trace)),
        ("optimizer", _optimizer(trace.optimizer) if trace.optimizer else ""),
    ]
    return tuple((label, value) for label, value in pairs if value)


def parameter_count(trace: Trace) -> str:
    """``93,322``, and how many of them are frozen, if any."""
    sizes = [(math.prod(parameter.shape), parameter.requires_grad) for parameter in trace.parameters]
    frozen = sum(size for size, trains in sizes if not trains)
    total = sum(size for size, _ in sizes)
    if not sizes:
        return ""
    return f"{total:,}" + (f" ({frozen:,} frozen)" if frozen else "")


def _tensor(tensor: TensorRecord) -> str:
    return f"{dimensions(tensor.shape)} {tensor.dtype.removeprefix('torch.')}"


def _loss(trace: Trace) -> str:
    if trace.loss_record is None:
        return figure(trace.loss, 4)
    chosen = " (chosen, none was given)" if trace.loss_record.chosen else ""
    return f"{trace.loss_record.name} {figure(trace.loss, 4)}{chosen}"


def _mode(trace: Trace) -> str:
    if not trace.training:
        return "evaluation"
    kept = len(trace.eval_modules)
    return "training" + (f", {counted(kept, 'module')} in evaluation mode" if kept else "")


def _optimizer(optimizer: OptimizerRecord) -> str:
    rates = dict.fromkeys(figure(rate) for rate in optimizer.learning_rates)
    return f"{optimizer.type}, learning rate {' and '.join(rates)}" if rates else optimizer.type
