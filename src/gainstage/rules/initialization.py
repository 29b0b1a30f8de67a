"""Initialization: INI002 gain-mismatch, INI003 signal-vanishes, INI004 signal-explodes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Severity, Threshold, counted, rule
from gainstage.rules.gradients import GRADIENT_FALL, GRADIENT_GROWTH
from gainstage.rules.prediction import preserving_weight_var, unit_gain_bands, weight_var
from gainstage.rules.signal import MAPS, Segment, in_branch, of_one_step, segments
from gainstage.rules.weight_scales import factor, mismatches, reinitialize, scheme_of
from gainstage.trace.records import LayerRecord, Trace

CALIBRATED = "benchmarks/calibrate.py, development split (docs/thresholds.md)"
FALL = Threshold("fall", 3.0, "decades of rms", CALIBRATED)
FALL_ERROR = Threshold("fall_error", 5.0, "decades of rms", CALIBRATED)
GROWTH = Threshold("growth", 1.0, "decades of rms", CALIBRATED)
GROWTH_ERROR = Threshold("growth_error", 2.0, "decades of rms", CALIBRATED)
BRANCH_GROWTH = Threshold("branch_growth", 2.0, "decades of rms", "residual branches of published networks reach 1.5")
FAINT = Threshold("faint", 0.1, "rms", "inputs of std 0.1 cost nothing, of 0.01 9 points (docs/thresholds.md)")
LOUD = Threshold("loud", 3.0, "rms", "inputs of std 10 cost 2 to 3 points (docs/thresholds.md)")
PLATEAU = Threshold("plateau", 0.5, "share of outputs", "as of ACT002, which then has its cause")
WIDE = Threshold(
    "wide", 10.0, "fan_in·Var W", "3 times the standard deviation that keeps the level; ACT002 speaks then"
)
LOST = Threshold("lost", 1e-4, "of the level that it was made from", "averages of a thousand values keep 1/30")
EXPLAINED = Threshold("explained", 0.5, "share of the change", "a cause explains at least half of what it causes")


def segment_gradient_change(segment: Segment) -> float | None:
    """log10 of a sample's gradient norm at the segment's first hidden map over that at its last."""
    levels = [layer.sample_grad_norm for layer in segment.maps]
    if len(levels) < 2 or not levels[0] or not levels[-1]:
        return -math.inf if len(levels) > 1 and levels[0] == 0 and levels[-1] else None
    return math.log10(levels[0] / levels[-1])


@rule(
    "INI002", "gain-mismatch", severities=("warning",), cause="init",
    explains=(
        "INI003", "INI004", "INI005", "INI006", "INI009", "INI010", "GRD001", "GRD002", "GRD004", "ACT001", "ACT002",
        "NUM001", "OPT001", "OPT002", "OPT003", "OPT004", "OPT005", "DAT007",
    ),
    thresholds=(
        FALL, GROWTH, BRANCH_GROWTH, FAINT, LOUD, GRADIENT_FALL, GRADIENT_GROWTH, EXPLAINED, PLATEAU, WIDE,
    ),
    claims=("he-variance", "glorot-variance", "mismatch-decay"),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        layers = []
        for _ in range(24):
            linear = nn.Linear(64, 64)
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU()]
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        # The same mistake over three layers costs a factor 2.8 and is no reason to speak.
        layers = []
        for _ in range(3):
            linear = nn.Linear(64, 64)
            nn.init.xavier_uniform_(linear.weight)
            layers += [linear, nn.ReLU()]
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
)  # fmt: skip
def gain_mismatch(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The weights' scale does not fit the activations behind them, and over depth that adds up.

    What: in a run of layers that no norm and no sum interrupts, fan_in·Var W is off the value that preserves the
        signal before the activation that follows, and signal or gradient change by more than the thresholds; or it is
        above 10 and half of the activation's outputs lie on its plateaus, from inputs at the usual level.
    Why it hurts: a small factor a layer is a large one over thirty: the last layers see nothing of the input, or
        the first layers nothing of the loss.
    How measured: fan_in·mean(W²) as it is now, against 1/E φ² for rectifiers and 1/φ′(0)² for saturating
        activations; summed over the run in decades; at least half of the measured change must come from it.
    When it is a false alarm: the deviation is reported for what it does to this network, not for the scheme's
        name; He's scheme before tanh, for one, did not slow networks of up to 30 layers and is not reported for
        itself. Weights that have been trained may balance each other in ways that this sum does not see.
    Fix: re-draw the weights for the activation that follows (gs.initialize).
    References: Glorot and Bengio 2010; He et al. 2015; Schoenholz et al. 2017.
    """
    found = [
        (symptom, segment)
        for segment in segments(trace)
        if (symptom := _explained_symptom(segment)) is not None and not (symptom < 0 and _bearable(trace, segment))
    ]
    if found:
        symptom, segment = max(found, key=lambda pair: abs(pair[0]))
        yield _mismatched(segment, symptom, runs=len(found))
    else:
        yield from _saturating(trace)


def _saturating(trace: Trace) -> Iterator[Finding]:
    """Weights that drive the activations behind them onto their plateaus, from inputs that would not.

    There the level can grow no further, and what the weights do does not show in it.
    """
    found = [
        (layer, behind, size)
        for segment in segments(trace)
        for layer in segment.maps
        if (behind := segment.activation_after(layer)) is not None
        and (behind.saturated_fraction or 0.0) >= PLATEAU.value
        and (size := weight_var(layer) or 0.0) >= WIDE.value
        and (layer.input_rms or math.inf) <= LOUD.value
    ]
    if not found:
        return
    layer, behind, size = max(found, key=lambda entry: entry[2])
    more = f", and {counted(len(found) - 1, 'more layer')} likewise" if len(found) > 1 else ""
    yield Finding(
        "INI002", "gain-mismatch", "warning", "init", layer.module,
        message=f"The weights of {layer.name} are drawn too wide for the {behind.op} behind it{more}: fan_in·Var W is "
        f"{size:.3g} where about 1 keeps the signal, and {behind.saturated_fraction or 0.0:.0%} of its outputs lie on "
        "its plateaus.",
        why="On a plateau the slope is nearly zero: little of the gradient comes back through it.",
        advice="Initialize for what follows: std = √(1/fan_in), as Xavier's scheme has it, not a fixed one.",
        value=size, threshold=WIDE.value, evidence={"weight_var": size, "saturated": behind.saturated_fraction},
        fix=reinitialize("INI002"), layers=tuple(entry[0].name for entry in found),
    )  # fmt: skip


def _explained_symptom(segment: Segment) -> float | None:
    """The change, in decades, for which the weights' scale answers; None if there is none."""
    found = mismatches(segment)
    total = sum(value for _, value in found)
    symptom = _symptom(segment, total)
    # A norm behind the run sets the level anew, forward and backward alike.
    if symptom is None or segment.repaired_by is not None or abs(total) < EXPLAINED.value * min(abs(symptom), 300):
        return None
    if symptom < 0 and len(found) > 1 and of_one_step(value for _, value in found):
        return None
    return symptom if _off(found, total) else None


def _off(found: list[tuple[LayerRecord, float]], total: float) -> list[LayerRecord]:
    return [layer for layer, value in found if value * total > 0 and abs(value) > 0.05]


def _mismatched(segment: Segment, symptom: float, runs: int) -> Finding:
    found = mismatches(segment)
    total = sum(value for _, value in found)
    change, gradient = segment.change(), segment_gradient_change(segment)
    off = _off(found, total)
    schemes = Counter(scheme_of(layer) for layer in off)
    scheme = schemes.most_common(1)[0][0]
    first, behind = off[0], segment.activation_after(off[0])
    needed, actual = preserving_weight_var(behind) or 1.0, weight_var(first) or 0.0
    before = "no activation" if behind is None else behind.op
    has = "has" if len(off) == 1 else "have"
    drawn = f"{counted(len(off), 'layer')} before {before} {has} " + (
        "a weight scale of no known scheme" if scheme is None else f"the weight scale of {scheme}"
    )
    forward = symptom == change
    what = "signal's level" if forward else "gradient's level"
    limits = (FALL, GROWTH) if forward else (GRADIENT_FALL, GRADIENT_GROWTH)
    direction = "falls" if symptom < 0 else "grows"
    return Finding(
        "INI002", "gain-mismatch", "warning", "init", first.module,
        message=f"{drawn}: fan_in·Var W is {actual:.2g} where {needed:.3g} preserves the signal. "
        f"Over these layers the {what} {direction} by {factor(symptom)}.",
        why="Every layer multiplies signal and gradient by its gain; a gain a little off 1 is a huge factor in depth.",
        advice=f"Initialize for what follows: before {before}, std = √({needed:.3g}/fan_in).",
        value=10**symptom if not math.isinf(symptom) else 0.0,
        threshold=10 ** math.copysign(limits[symptom > 0].value, symptom),
        evidence={"weight_var": actual, "preserving_weight_var": needed, "mismatch_decades": total, "scheme": scheme,
                  "forward_decades": change, "gradient_decades": gradient, "layers": len(off), "runs": runs},
        fix=reinitialize("INI002"), layers=tuple(layer.name for layer in off),
    )  # fmt: skip


def _symptom(segment: Segment, total: float) -> float | None:
    """The change that a mismatch of this sign can explain, if it is over a threshold; the larger one of the two."""
    sign = -1 if total < 0 else 1
    over: list[float] = []
    change, gradient = segment.change(), segment_gradient_change(segment)
    if change is not None and _beyond(segment, change, sign):
        over.append(change)
    limit = (GRADIENT_FALL if sign < 0 else _growth_limit(segment, GRADIENT_GROWTH)).value
    # One of exactly zero is held back, by a map that starts at zero or a dead layer: no scale lets it fall so far.
    if gradient is not None and math.isfinite(gradient) and gradient * sign >= limit:
        over.append(gradient)
    return max(over, key=abs, default=None)


def _growth_limit(segment: Segment, plain: Threshold) -> Threshold:
    return BRANCH_GROWTH if segment.summed else plain


def _beyond(segment: Segment, change: float, sign: int) -> bool:
    """Whether the signal's change over the segment is over its threshold, and its end far from unit scale too.

    What is blown up from almost nothing to unit scale has not exploded.
    """
    last = segment.maps[-1].rms or 0.0
    if sign < 0:
        return -change >= FALL.value and last < FAINT.value
    return change >= _growth_limit(segment, GROWTH).value and last > LOUD.value


@rule(
    "INI003", "signal-vanishes", severities=("error", "warning"), cause="init",
    explains=("INI009", "GRD001", "OPT001", "OPT002", "OPT003"), thresholds=(FALL, FALL_ERROR, FAINT, LOST),
    claims=("he-variance", "mismatch-decay", "edge-of-chaos"),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        layers = [m for _ in range(20) for m in (nn.Linear(64, 64), nn.Tanh())]
        for linear in layers[::2]:
            nn.init.normal_(linear.weight, std=0.02)  # a transformer's habit in a plain network
            nn.init.zeros_(linear.bias)
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        layers = [m for _ in range(20) for m in (nn.Linear(64, 64), nn.Tanh())]
        for linear in layers[::2]:
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
)  # fmt: skip
def signal_vanishes(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The signal's level falls over depth by more than chance allows.

    What: along a run of layers that no norm and no sum interrupts, the rms of the signal falls by more than
        1000 (error: 100,000), and below theory's band for a network of these widths at unit gain. Or the read-out
        reads less than 1/10,000 of the level that its input is made from, and less than 1/10,000.
    Why it hurts: what reaches the last layers is too small to tell inputs apart; the loss stands at chance.
    How measured: the product of the layers' gains, rms out over rms in, without the read-out; theory's band takes
        in three standard deviations of finite width.
    When it is a false alarm: an optimizer that adapts its steps can still train slowly at the warning's level; a
        norm behind the run repairs it and is taken into account.
    Fix: re-draw the weights (gs.initialize), or put norms or residual connections in.
    References: Glorot and Bengio 2010; He et al. 2015; Hanin and Rolnick 2018.
    """
    found = list(_level_findings(trace, -1))
    yield from found or _lost(trace)


@rule(
    "INI004", "signal-explodes", severities=("error", "warning"), cause="init",
    explains=(
        "INI006", "INI010", "GRD001", "GRD002", "GRD004", "ACT002", "NUM001", "OPT001", "OPT002", "OPT003", "OPT004",
        "OPT005",
    ),
    thresholds=(GROWTH, GROWTH_ERROR, BRANCH_GROWTH, LOUD),
    claims=("he-variance", "mismatch-decay", "skipinit"),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        layers = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.ReLU())]
        for linear in layers[::2]:
            nn.init.normal_(linear.weight, std=0.5)
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        layers = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.ReLU())]
        for linear in layers[::2]:
            nn.init.kaiming_normal_(linear.weight)
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
)  # fmt: skip
def signal_explodes(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The signal's level grows over depth by more than chance allows.

    What: along a run of layers that no norm and no sum interrupts, the rms of the signal grows by more than 10
        (error: 100), and above theory's band for a network of these widths at unit gain.
    Why it hurts: the first loss is enormous, the first steps are wild, and low precision overflows.
    How measured: as for INI003.
    When it is a false alarm: a norm behind the run repairs it and is taken into account.
    Fix: re-draw the weights (gs.initialize), or put norms in.
    References: He et al. 2015; Hanin and Rolnick 2018.
    """
    yield from _level_findings(trace, +1)


def _level_findings(trace: Trace, sign: int) -> Iterator[Finding]:
    found: list[tuple[float, Segment]] = []
    for segment in segments(trace):
        change = segment.change()
        if change is None or segment.repaired_by is not None or not _beyond(segment, change, sign):
            continue
        if not _within_band(segment, sign) and not (sign < 0 and _bearable(trace, segment)):
            found.append((change, segment))
    if found:
        change, segment = max(found, key=lambda pair: abs(pair[0]))
        limit, grave = (FALL, FALL_ERROR) if sign < 0 else (_growth_limit(segment, GROWTH), GROWTH_ERROR)
        severity: Severity = "error" if change * sign >= grave.value else "warning"
        yield _level_finding(segment, change, limit, severity, sign, runs=len(found))


def _lost(trace: Trace) -> Iterator[Finding]:
    """A read-out that is given next to nothing of what it is made from."""
    place = trace.loss_record.input if trace.loss_record is not None else None
    last = None if place is None else trace.layers[place]
    if last is None or last.kind not in MAPS or not last.input_rms:
        return
    source = max((trace.layers[index].rms or 0.0 for index in last.inputs), default=0.0)
    # What is scaled down to a common level is not lost.
    if last.input_rms >= LOST.value * min(source, 1.0):
        return
    ways = ", ".join(last.via) or "what stands between them"
    yield Finding(
        "INI003", "signal-vanishes", "error", "init", last.module,
        message=f"{last.name} reads a signal of rms {last.input_rms:.2g}, made from one of {source:.2g} by {ways}.",
        why="The read-out says the same of every input, and passes next to no gradient back.",
        advice="Look at the dimension of the mean: over what a norm has centred it is zero for every input."
        if "mean" in last.via else "Look at what scales the signal down between the two.",
        value=last.input_rms / source, threshold=LOST.value, evidence={"via": list(last.via)}, layers=(last.name,),
    )  # fmt: skip


def _bearable(trace: Trace, segment: Segment) -> bool:
    """Whether a fall of the level does no harm: beside a skip that goes on, or by the weights of one layer alone."""
    falls = [math.log10(gain) if gain else -math.inf for _, gain in segment.gains()]
    return in_branch(trace, segment) or (len(falls) > 1 and math.isfinite(sum(falls)) and of_one_step(falls))


def _within_band(segment: Segment, sign: int) -> bool:
    bands, maps = unit_gain_bands(segment), segment.maps
    if not maps or maps[-1].name not in bands:
        return False
    low, high = bands[maps[-1].name]
    rms = maps[-1].rms or 0.0
    return rms >= low if sign < 0 else rms <= high


def _level_finding(
    segment: Segment, change: float, limit: Threshold, severity: Severity, sign: int, runs: int
) -> Finding:
    running, where = 0.0, segment.maps[-1]
    for layer, gain in segment.gains():
        running += math.log10(gain) if gain else -math.inf
        if running * sign >= 1.0:  # where the first factor of ten is gone
            where = layer
            break
    first, last = segment.maps[0], segment.maps[-1]
    band = unit_gain_bands(segment).get(last.name)
    expected = f"; at unit gain theory expects {band[0]:.2g} to {band[1]:.2g}" if band else ""
    code, name, verb = ("INI003", "signal-vanishes", "falls") if sign < 0 else ("INI004", "signal-explodes", "grows")
    return Finding(
        code, name, severity, "init", where.module,
        message=f"The signal's rms {verb} by {factor(change)} over {counted(len(segment.maps), 'layer')}, from "
        f"{first.input_rms:.2g} into {first.name or 'the root'} to {last.rms or 0:.2g} at {last.name}{expected}; "
        f"the first factor of 10 is {'lost' if sign < 0 else 'gained'} at {where.name}.",
        why="The last layers receive a signal too small to tell inputs apart." if sign < 0
        else "The outputs are enormous at the start: the first steps are wild and low precision overflows.",
        advice="Re-draw the weights at the gain that preserves the level (gs.initialize), or normalize in between.",
        value=10**change if math.isfinite(change) else 0.0, threshold=10 ** (sign * limit.value),
        evidence={"decades": change, "layers": len(segment.maps), "runs": runs,
                  "rms_in": first.input_rms, "rms_out": last.rms,
                  "band_low": band[0] if band else None, "band_high": band[1] if band else None},
        fix=reinitialize(code),
        layers=tuple(layer.name for layer in segment.maps if layer.rms is not None),
    )  # fmt: skip
