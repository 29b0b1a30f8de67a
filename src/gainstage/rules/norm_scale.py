"""The scale of weights whose output a norm scales anew: NRM006 norm-hides-scale."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from gainstage.rules.base import Finding, NotAssessed, Severity, Threshold, counted, rule
from gainstage.rules.prediction import weight_var
from gainstage.rules.signal import MAPS, consumers
from gainstage.rules.weight_scales import reinitialize
from gainstage.trace.records import LayerRecord, Trace
from gainstage.trace.training_records import StepRecord

_MEASURED = "benchmarks/norm_scale.py, development split (docs/thresholds.md)"
HUGE = Threshold("huge", 30.0, "gain of the weights, √(fan_in·mean W²)", _MEASURED)
LARGE = Threshold("large", 8.0, "gain of the weights, where the optimizer is known too", _MEASURED)
SLOW = Threshold("slow", 1e-3, "rms of update over rms of weight, momentum included", _MEASURED)
FITTING = Threshold("fitting", 5e-3, "rms of update over rms of weight, momentum included", _MEASURED)
TINY = Threshold(
    "tiny", 0.02, "gain of the weights",
    "depthwise kernels of published networks reach 0.04; what is lost below rests on the optimizer",
)  # fmt: skip
SHARE = Threshold("share", 0.5, "of the trainable maps before norms", "all of them were mis-scaled in the experiment")


@dataclass(frozen=True)
class _Hidden:
    """A trainable map that a norm alone reads, with its gain and how far the first step moves it, if that is known."""

    layer: LayerRecord
    gain: float
    ratio: float | None


@rule(
    "NRM006", "norm-hides-scale", severities=("warning", "info"), cause="normalization",
    explains=("GRD001", "OPT002", "OPT003", "NRM007", "NUM002", "NUM003"),
    thresholds=(HUGE, LARGE, SLOW, FITTING, TINY, SHARE),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        layers = [m for _ in range(3) for m in (nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU())]
        for linear in layers[::3]:
            nn.init.normal_(linear.weight, std=10)
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        # Twice the usual scale: the norms take it out, and training goes on as ever.
        layers = [m for _ in range(3) for m in (nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU())]
        for linear in layers[::3]:
            nn.init.normal_(linear.weight, std=2 / 8)
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
)  # fmt: skip
def norm_hides_scale(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Weights before norms are mis-scaled: the norms hide it from the signal, but not from the optimizer.

    What: at least half of the maps that a norm alone reads multiply the level by more than 30; by more than 8, where
        the optimizer's first step is seen to move them by less than 1/1000 of their size. For information: by less
        than 0.02.
    Why it hurts: the output does not change with the scale of such weights, and the gradient falls with it: the
        effective learning rate is lr/‖W‖². Large weights are as good as frozen. The layers' products may leave float16.
    How measured: √(fan_in·mean W²) of trainable maps, and the update of the first step over the weight where there is
        an optimizer that has not stepped yet; momentum counts with what it makes of a step in the long run. A learning
        rate that fits such weights (1/200 of their size a step) is not reported.
    When it is a false alarm: a learning rate that is meant for such weights, where no optimizer is given. Weight decay
        brings large weights down in a long run. Small weights are for information only: the first steps make them
        grow, and with most optimizers, networks and scales nothing was lost; deep networks under plain gradient descent
        lost up to 20 points. Frozen maps, computed weights (weight norm, scaled parameters) and weights of zero are not
        counted.
    Fix: re-draw the weights at unit gain (gs.initialize).
    References: van Laarhoven 2017; Arora, Li and Lyu 2019; Hoffer et al. 2018.
    """
    hidden = _hidden(trace)
    if not hidden:
        return
    stepped = trace.optimizer is not None and trace.optimizer.stepped
    large = [] if stepped else [entry for entry in hidden if _is_large(entry)]
    tiny = [entry for entry in hidden if entry.gain < TINY.value]
    if len(large) >= SHARE.value * len(hidden):
        yield _too_large(large, len(hidden))
    elif len(tiny) >= SHARE.value * len(hidden):
        yield _too_small(tiny, len(hidden))
    elif stepped:
        yield NotAssessed("NRM006", "the optimizer has stepped: weights before norms grow as they are trained")


def _hidden(trace: Trace) -> list[_Hidden]:
    read_by, trainable = consumers(trace.layers), {p.name for p in trace.parameters if p.requires_grad}
    # While a learning rate warms up, the first step says nothing of those that follow.
    step = StepRecord() if trace.step is None or trace.step.scheduled else trace.step
    ratios = {entry.parameter: entry.ratio * step.accumulation for entry in step.ratios}
    found: list[_Hidden] = []
    for position, layer in enumerate(trace.layers):
        if layer.kind not in MAPS or layer.computed or layer.parameters[0] not in trainable:
            continue
        readers = [trace.layers[reader] for reader in read_by[position]]
        square = weight_var(layer)
        if square and len(readers) == 1 and _takes_scale_out(readers[0]):
            found.append(_Hidden(layer, math.sqrt(square), ratios.get(layer.parameters[0])))
    return found


def _takes_scale_out(layer: LayerRecord) -> bool:
    return layer.norm is not None and layer.norm.uses_batch_statistics and not layer.via and len(layer.inputs) == 1


def _is_large(entry: _Hidden) -> bool:
    if entry.ratio is None:
        return entry.gain > HUGE.value
    return entry.gain > (LARGE.value if entry.ratio < SLOW.value else HUGE.value) and entry.ratio < FITTING.value


def _too_large(found: list[_Hidden], among: int) -> Finding:
    gain, ratios = median(entry.gain for entry in found), [entry.ratio for entry in found if entry.ratio is not None]
    moves = f"; the first step moves them by {median(ratios):.1e} of their size" if ratios else ""
    advice = "Re-draw these weights at unit gain (gs.initialize)."
    what = f"multiply the level by {min(entry.gain for entry in found):.3g} and more, the median by {gain:.3g}{moves}"
    why = "Behind a norm the effective learning rate is lr/‖W‖²: such weights hardly turn, whatever they should learn."
    return _finding("warning", found, among, what, why, advice, gain, (LARGE if ratios else HUGE).value)


def _too_small(found: list[_Hidden], among: int) -> Finding:
    gain = median(entry.gain for entry in found)
    what = f"multiply the level by {max(entry.gain for entry in found):.1e} and less, the median by {gain:.1e}"
    why = "The first steps throw such weights about, and the norm's ε counts beside so small a variance."
    advice = "Re-draw these weights at unit gain (gs.initialize), above all for plain gradient descent."
    return _finding("info", found, among, what, why, advice, gain, TINY.value)


def _finding(
    severity: Severity, found: list[_Hidden], among: int, what: str, why: str, advice: str, gain: float, limit: float
) -> Finding:
    layers = [entry.layer for entry in found]
    ratios = [entry.ratio for entry in found if entry.ratio is not None]
    return Finding(
        "NRM006", "norm-hides-scale", severity, "normalization", layers[0].module,
        message=f"{len(found)} of {counted(among, 'map')} before norms {what}; first {layers[0].name or 'the root'}.",
        why=why, advice=advice, value=gain, threshold=limit,
        evidence={
            "layers": len(found), "update_ratio": median(ratios) if ratios else None,
            "max_abs": max((layer.max_abs or 0.0 for layer in layers), default=0.0),
        },
        fix=reinitialize("NRM006"), layers=tuple(layer.name for layer in layers),
    )  # fmt: skip
