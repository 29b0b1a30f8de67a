"""Gradients: GRD001 gradient-vanishes, GRD002 gradient-explodes, GRD004 one-class-gradients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Severity, Threshold, counted, rule
from gainstage.rules.signal import MAPS, gradient_levels, main_path, of_one_step, settled_levels, stream
from gainstage.trace.records import LayerRecord, Trace

_CALIBRATED = "benchmarks/calibrate.py, development split (docs/thresholds.md)"
GRADIENT_FALL = Threshold("gradient_fall", 2.5, "decades of a sample's gradient norm", _CALIBRATED)
GRADIENT_FALL_ERROR = Threshold("gradient_fall_error", 5.0, "decades of a sample's gradient norm", _CALIBRATED)
GRADIENT_GROWTH = Threshold("gradient_growth", 1.0, "decades of a sample's gradient norm", _CALIBRATED)
GRADIENT_GROWTH_ERROR = Threshold("gradient_growth_error", 2.0, "decades of a sample's gradient norm", _CALIBRATED)

_SIGMOIDS = f"{_CALIBRATED}: all networks of sigmoids beyond it ended 11 points and more below the best of their depth"
SIGMOID_FALL = Threshold("sigmoid_fall", 1.4, "decades of a sample's gradient norm", _SIGMOIDS)

# With norms the gradient grows towards the input in healthy networks too. Batch norm without skips trained well at
# 20 layers (10^1.5), badly at 30 (10^2.3) and hardly at 40 (10^3.2).
NORMED_GROWTH = Threshold("normed_growth", 2.0, "decades of a sample's gradient norm", _CALIBRATED)
NORMED_GROWTH_ERROR = Threshold("normed_growth_error", 3.0, "decades of a sample's gradient norm", _CALIBRATED)
_PUBLISHED = "published networks that train well reach 3.8 at their authors' initialization (docs/thresholds.md)"
BRANCHED_GROWTH = Threshold("branched_growth", 5.0, "decades of a sample's gradient norm", _PUBLISHED)
BRANCHED_GROWTH_ERROR = Threshold("branched_growth_error", 7.0, "decades of a sample's gradient norm", _PUBLISHED)
_HALFWAY = "between 0, for even predictions of balanced labels, and 1, where all samples are sure of one class"
ALIGNED = Threshold("aligned", 0.5, "Σ_c |Σ_b d_bc| / Σ_bc |d_bc|", _HALFWAY)
ONE_CLASS = Threshold("one_class", 0.8, "share of predictions", "nearly all; a class is a tenth of ten equal ones")
SEVERAL = 2  # sigmoids: each has a slope of 1/4 at most
BALANCED = Threshold("balanced", 0.5, "share of labels", "a class that most samples have is rightly predicted for most")
PER_CLASS = Threshold("per_class", 4.0, "labels a class", "with fewer the count of each class is chance")


@rule(
    "GRD001", "gradient-vanishes", severities=("error", "warning"), cause="depth",
    explains=("INI009", "OPT002", "OPT003", "DAT007"), thresholds=(GRADIENT_FALL, SIGMOID_FALL, GRADIENT_FALL_ERROR),
    claims=("edge-of-chaos",),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        layers = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.Sigmoid())]
        for linear in layers[::2]:
            nn.init.xavier_uniform_(linear.weight)
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        layers = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())]
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
)  # fmt: skip
def gradient_vanishes(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The gradient that reaches the first layers is a small part of that at the last.

    What: a sample's gradient norm at the first map is less than 1/300 (error: 1/100,000) of that at the last one; with
        two or more sigmoids between them less than 1/25.
    Why it hurts: the first layers hardly move; what they throw away stays lost for all that follow.
    How measured: ‖∂L/∂h‖ of a sample at the outputs of maps (of the norm behind them, where there is one) and sums
        along the shortest way from input to loss, which passes residual branches by. A fall that one layer answers
        for alone is not reported: trained networks made up for it (docs/accuracy.md).
    When it is a false alarm: a frozen or pretrained trunk needs no gradient; an adaptive optimizer makes up for a
        part of it, at the warning's level.
    Fix: weights at the preserving gain, ReLU-like activations in place of sigmoids, norms, residual connections.
    References: Bengio, Simard and Frasconi 1994; Glorot and Bengio 2010; Schoenholz et al. 2017.
    """
    yield from _gradient_findings(trace, -1)


@rule(
    "GRD002", "gradient-explodes", severities=("error", "warning"), cause="depth",
    explains=("OPT001", "OPT004", "OPT005"), claims=("edge-of-chaos", "bn-gradient-explosion"), thresholds=(
        GRADIENT_GROWTH, GRADIENT_GROWTH_ERROR, NORMED_GROWTH, NORMED_GROWTH_ERROR,
        BRANCHED_GROWTH, BRANCHED_GROWTH_ERROR,
    ),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        layers = [m for _ in range(30) for m in (nn.Linear(64, 64), nn.Tanh())]
        for linear in layers[::2]:
            nn.init.normal_(linear.weight, std=2.5 / 8)
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        layers = [m for _ in range(10) for m in (nn.Linear(64, 64), nn.Tanh())]
        for linear in layers[::2]:
            nn.init.kaiming_normal_(linear.weight)  # He with tanh: off, but by too little to matter here
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
)  # fmt: skip
def gradient_explodes(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The gradient grows on its way back to the first layers.

    What: a sample's gradient norm at the first map is more than 10 times (error: 100 times) that at the last one;
        where norms stand between, more than 100 times (error: 1000 times), and where branches join,
        more than 10^5 times (error: 10^7 times).
    Why it hurts: a step small enough for the first layers leaves the last ones where they are, and one that moves
        the last ones throws the first ones about.
    How measured: as for GRD001.
    When it is a false alarm: clipping or an adaptive optimizer can live with the warning's level.
    Fix: weights at the preserving gain; in deep normalized networks without skips, residual connections.
    References: Pascanu, Mikolov and Bengio 2013; Yang et al. 2019.
    """
    yield from _gradient_findings(trace, +1)


def _gradient_findings(trace: Trace, sign: int) -> Iterator[Finding | NotAssessed]:
    code = "GRD001" if sign < 0 else "GRD002"
    levels = gradient_levels(trace) if sign > 0 else settled_levels(trace)
    if not trace.backward:
        yield NotAssessed(code, "needs the gradients of a backward pass")
        return
    if len(levels) < 2:
        return  # without depth there is nothing that could vanish or explode over it
    last = levels[-1][1]
    if last == 0 or (levels[0][1] == 0 and _held_back(trace)):
        return
    change = -math.inf if levels[0][1] == 0 else math.log10(levels[0][1] / last)
    limit, grave = _limits(trace, sign)
    if sign < 0 and math.isfinite(change) and of_one_step(_steps(levels)):
        return
    if change * sign >= limit.value:
        severity: Severity = "error" if change * sign >= grave.value else "warning"
        yield _finding(code, severity, levels, change, limit, sign)


def _held_back(trace: Trace) -> bool:
    """Whether maps or norms' scales start at zero, which pass no gradient on until their first step.

    Coupling layers and adapters start so; of a norm's scale that stays there NRM015 tells.
    """
    return any(
        (layer.kind in MAPS and layer.weight_rms == 0) or (layer.norm is not None and layer.norm.scale_rms == 0)
        for layer in trace.layers
    )


def _steps(levels: tuple[tuple[LayerRecord, float], ...]) -> list[float]:
    """Decades that the gradient's norm gains on its way back, from layer to layer."""
    norms = [norm for _, norm in levels]
    return [math.log10(before / behind) for before, behind in itertools.pairwise(norms) if before and behind]


def _limits(trace: Trace, sign: int) -> tuple[Threshold, Threshold]:
    if sign < 0:
        sigmoids = sum(layer.op in ("sigmoid", "hardsigmoid") for layer in stream(trace)[:-1])
        return (SIGMOID_FALL if sigmoids >= SEVERAL else GRADIENT_FALL), GRADIENT_FALL_ERROR
    path = main_path(trace)
    if any(len(layer.inputs) > 1 or layer.op == "add" for layer in path):
        return BRANCHED_GROWTH, BRANCHED_GROWTH_ERROR
    plain = all(layer.kind in (*MAPS, "activation") for layer in path)
    return (GRADIENT_GROWTH, GRADIENT_GROWTH_ERROR) if plain else (NORMED_GROWTH, NORMED_GROWTH_ERROR)


def _finding(
    code: str,
    severity: Severity,
    levels: tuple[tuple[LayerRecord, float], ...],
    change: float,
    limit: Threshold,
    sign: int,
) -> Finding:
    first, last = levels[0], levels[-1]
    # Seen from the loss: the first layer on the way back at which a factor of ten has gone or come.
    steps = [layer for layer, norm in reversed(levels) if sign * (math.log10(norm / last[1]) if norm else -99) >= 1]
    where = steps[0] if steps else first[0]
    size = "vanishes" if math.isinf(change) else f"{'falls' if sign < 0 else 'grows'} by 10^{abs(change):.1f}"
    return Finding(
        code, "gradient-vanishes" if sign < 0 else "gradient-explodes", severity, "depth", where.module,
        message=f"A sample's gradient norm {size} on its way back over {counted(len(levels), 'layer')}, "
        f"from {last[1]:.1e} at {last[0].name or 'the root'} to {first[1]:.1e} at {first[0].name or 'the root'}; "
        f"the first factor of 10 {'is lost' if sign < 0 else 'comes'} at {where.name}.",
        why="The first layers hardly move, and what they throw away stays lost for all that follow." if sign < 0
        else "No one step size fits: it is wild for the first layers or idle for the last.",
        advice="Use ReLU-like activations at the preserving gain, norms, or residual connections." if sign < 0
        else "Lower the gain of the weights, add residual connections, or clip the gradient.",
        value=10**change if math.isfinite(change) else 0.0, threshold=10 ** (sign * limit.value),
        evidence={"decades": change, "first": first[1], "last": last[1], "layers": len(levels)},
        layers=tuple(layer.name for layer, _ in levels),
    )  # fmt: skip


@rule(
    "GRD004", "one-class-gradients", severities=("info",), cause="init", claims=("gradient-alignment",),
    thresholds=(ALIGNED, ONE_CLASS, BALANCED, PER_CLASS),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
        nn.init.normal_(model[2].bias, std=5.0)
        subject = gs.Subject(model, (torch.randn(128, 16), torch.arange(128) % 4))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
        subject = gs.Subject(model, (torch.randn(128, 16), torch.arange(128) % 4))
    """,
)  # fmt: skip
def one_class_gradients(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The network is sure of one class for nearly all inputs, and all samples pull its outputs the same way.

    What: four predictions in five are of one class, no more than half of the labels are, and the gradients at the
        outputs agree: Σ_c |Σ_b d_bc| is more than half of Σ_bc |d_bc|, with d = p - y.
    Why it hurts: the first steps go into lowering one output for all inputs alike, and tell the layers below nothing
        of the differences between them. It passes, and is therefore no more than worth knowing.
    How measured: from the probabilities and labels that the loss was given, over at most a million scores; not
        assessed with fewer than four labels a class, nor for losses of probabilities.
    When it is a false alarm: a network that was trained on other classes.
    Fix: a smaller read-out, biases of the read-out at zero, what the findings on signal and depth say.
    References: Bjorck et al. 2018, section 4.
    """
    labels = trace.loss_record.labels if trace.loss_record is not None else None
    if labels is None or labels.alignment is None or labels.classes is None:
        yield NotAssessed("GRD004", "needs a cross-entropy over classes")
        return
    if labels.count < PER_CLASS.value * labels.classes:
        yield NotAssessed("GRD004", f"needs {PER_CLASS.value:.0f} labels a class: pass a larger batch")
        return
    predicted, commonest = labels.commonest_prediction or 0.0, labels.commonest_label or 0.0
    if labels.alignment < ALIGNED.value or predicted < ONE_CLASS.value or commonest > BALANCED.value:
        return
    position = trace.loss_record.input if trace.loss_record is not None else None
    layer = trace.layers[position] if position is not None else None
    yield Finding(
        "GRD004", "one-class-gradients", "info", "init", "" if layer is None else layer.module,
        message=f"{predicted:.0%} of the predictions are of one class, that of {commonest:.0%} of the labels at most, "
        f"and {labels.alignment:.0%} of the gradient at the outputs is common to all samples.",
        why="The first steps lower one output for all inputs alike and teach the layers below nothing.",
        advice="Start the read-out smaller, with biases at zero.",
        value=labels.alignment, threshold=ALIGNED.value,
        evidence={"commonest_prediction": predicted, "commonest_label": commonest, "classes": labels.classes},
        layers=() if layer is None else (layer.name,),
    )  # fmt: skip
