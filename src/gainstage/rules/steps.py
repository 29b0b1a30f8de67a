"""What the first step tells of the learning rate: OPT001 lr-too-high, OPT002 lr-too-low."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from gainstage.rules.base import Finding, NotAssessed, Severity, Threshold, rule
from gainstage.rules.tried import HALFWAY
from gainstage.trace.graph import consumers
from gainstage.trace.records import Trace
from gainstage.trace.training_records import StepRecord, TrialRecord

_MEASURED = "benchmarks/step_rules.py, development set (docs/thresholds.md)"
_ACCURACY = "networks for development of make accuracy (docs/thresholds.md)"
_PROGRAMS = "programs after common reports, and step_rules.py (docs/thresholds.md)"
WILD = Threshold("wild_step", 100.0, "× the loss of the start or of outputs that are all zero, the higher", _MEASURED)
LEAP = Threshold("leap", 1.5, "× the loss of the start or of outputs that are all zero, the higher", _PROGRAMS)
UPHEAVAL = Threshold("upheaval", 0.3, "median over matrices of rms of update over rms of weight", _PROGRAMS)
FLUNG = Threshold("flung", 4.0, "× the loss of the start or of outputs that are all zero, the higher", _PROGRAMS)
SHIFT = Threshold("shift", 0.05, "median over matrices of rms of update over rms of weight", _PROGRAMS)
OVERTURNED = Threshold(
    "overturned",
    0.8,
    "median over matrices of rms of update over rms of weight",
    "networks for development of make accuracy: 0.70 and less of rates that do no harm (docs/thresholds.md)",
)
CALMER = Threshold("calmer", 0.7, "× the end of a trial, at a tenth or a hundredth of the learning rate", _ACCURACY)
CALMED = Threshold("calmed", 0.5, "× the end of a trial that halves the loss, at a tenth of the rate", _ACCURACY)
WILD_ERROR = Threshold("wild_step_error", 1000 / math.log(10), "× the same", "Bjorck et al. 2018: a loss of 1000")
LOST_STEPS = Threshold("lost_steps", 100, "steps of a trial that tell", _MEASURED)
FALLING = Threshold("falling", 0.9, "× the median of the trial's third fifth", _MEASURED)
# Ten times below what short runs ask for: a run of many thousand steps takes smaller ones, and rightly.
PROMISE = Threshold("promise", 1e-4, "share of the loss that a step promises, momentum included", _MEASURED)
RATIO = Threshold("update_ratio", 3e-4, "rms of update over rms of weight, momentum included", _MEASURED)
FRESH = Threshold("fresh", 0.9, "× the loss of the best constant answer: below it something is known", _MEASURED)
SWIFT = Threshold("swift", 0.2, "× the end of a trial, at ten times the learning rate", _ACCURACY)
SWIFTER = Threshold("swifter", 0.4, "× the end of a trial, at a hundred times the learning rate", _ACCURACY)
MOVED = Threshold("moved", 0.9, "× the trial's first losses: below it the loss moves", _MEASURED)
LONG = Threshold("long_trial", 200, "steps of a trial that is long enough to have moved the loss", _MEASURED)
PATIENCE = Threshold("patience", 10.0, "× promise and update ratio, where such a trial moved nothing", _MEASURED)

_APART = "faults for development of make accuracy: up to 0.009; sound programs from 0.01 (docs/thresholds.md)"
MOVING = Threshold("moving", 0.01, "rms of update over rms of weight, momentum included", _APART)

HIDDEN = 2  # maps, and more: the others than the last are hidden
MANY_WEIGHTS = 16  # of fewer the level is a matter of chance
_ADVICE = "`gainstage lr TARGET` measures how far it may go, and where to start."


@rule(
    "OPT001", "lr-too-high", severities=("error", "warning"), cause="learning-rate",
    explains=("NRM002", "OPT003", "OPT004", "OPT005"),
    thresholds=(WILD, WILD_ERROR, LEAP, UPHEAVAL, FLUNG, SHIFT, OVERTURNED, LOST_STEPS, FALLING, CALMER, CALMED),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(4, (64,))),
                             optimizer=torch.optim.Adam(model.parameters(), lr=3.0))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(4, (64,))),
                             optimizer=torch.optim.Adam(model.parameters(), lr=0.003))
    """,
)  # fmt: skip
def lr_too_high(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The first step at this learning rate throws the loss far up, or training stays above where it knew nothing.

    What: after one step on its own batch the loss is more than 100 times (error: 434 times) that of outputs that are
        all zero, and that of the start; or 1.5 times, if the step moves the median weight matrix of a network with
        hidden layers by 0.3 of its size, 4 times at 0.05, and whatever it is at 0.8; or the step raises the loss, or a
        later one of a trial of 100 steps or more throws it up a hundredfold, and that trial ends above the loss of
        outputs that are all zero and is no longer on its way down; or a trial that does not halve the loss ends below
        0.7 of its end at a tenth or a hundredth of the rate, or one that does below half of it.
    Why it hurts: the step leaves the region in which the gradient says anything; what was initialized is lost.
    How measured: the optimizer's own step, made on a copy; the same batch and the same random numbers before and
        after it. The largest curvature times the learning rate is not asked: runs that ended well began with products
        of up to 147, and not 2, because curvature gives way.
    When it is a false alarm: a loss in which zero outputs are nearly the best answer; a convex problem, where any
        step is made up for in time.
    Fix: a lower learning rate, or warm-up to it.
    References: LeCun et al. 1998; Bjorck et al. 2018; Cohen et al. 2021; Lewkowycz et al. 2020 (catapults).
    """
    step = trace.step
    reason = _unusable(step)
    if step is None or reason:
        what = _calmer(trace)
        yield _too_high(trace, "warning", math.nan, CALMER.value, what) if what else NotAssessed("OPT001", reason)
        return
    size = _rise(step, yardstick=max(step.loss or 0.0, _ignorant(step)))
    if size > WILD.value:
        severity: Severity = "error" if size > WILD_ERROR.value else "warning"
        yield _too_high(trace, severity, size, WILD.value, _thrown(step, size))
    elif what := _leapt(step, size):
        yield _too_high(trace, "warning", size, LEAP.value, what)
    elif (upheaval := _overturned(trace, step)) >= OVERTURNED.value:
        what = f"moves the weights of the median layer by {upheaval:.2g} of their size"
        yield _too_high(trace, "warning", upheaval, OVERTURNED.value, what)
    elif what := _calmer(trace) or _thrown_off(trace, step):
        yield _too_high(trace, "warning", size, WILD.value, what)


def _unusable(step: StepRecord | None) -> str:
    """Why the step tells nothing; empty if it does."""
    if step is None:
        return "needs an optimizer"
    if step.reason:
        return f"the first step could not be measured: {step.reason}"
    if _ignorant(step) <= 0 or not step.loss or step.loss <= 0:
        return "needs a loss of outputs and targets that is above zero for outputs that are all zero, as a yardstick"
    return ""


def _ignorant(step: StepRecord) -> float:
    """The loss of outputs that are all zero, or where that is none of a constant answer; 0 if neither is known."""
    zero = step.zero_loss or 0.0
    return zero if zero > 0 else step.constant_loss or 0.0


def _rise(step: StepRecord, yardstick: float) -> float:
    after = math.inf if step.loss_after is None or math.isnan(step.loss_after) else step.loss_after
    return after / yardstick


def _thrown(step: StepRecord, size: float) -> str:
    start = f"takes the loss of its own batch from {step.loss:.3g}"
    if not math.isfinite(size):
        return f"{start} out of the finite numbers"
    return f"{start} to {step.loss_after:.3g}, {size:.3g} times the higher of that and the loss at zero outputs"


def _leapt(step: StepRecord, size: float) -> str:
    """How the step raised the loss and moved the weights far at once; empty if it did not do both."""
    # A network without hidden layers is convex: what a step spoils the next ones mend.
    if len(step.ratios) < HIDDEN:
        return ""
    upheaval = step.update_ratio if step.update_ratio is not None and math.isfinite(step.update_ratio) else 0.0
    far = size >= LEAP.value and upheaval >= UPHEAVAL.value
    if not far and not (size >= FLUNG.value and upheaval >= SHIFT.value):
        return ""
    return f"{_thrown(step, size)}, and moves the weights of the median layer by {upheaval:.2g} of their size"


def _overturned(trace: Trace, step: StepRecord) -> float:
    """The median, over the matrices of a network with hidden layers, of the step over the weights; or 0.

    Weights below their usual level have to grow, and are taken at that level; tables and matrices of a few weights are
    left out: of these the level is a matter of choice or chance; and so are weights that a norm right behind them takes
    the scale of away: they grow with each step, and the next one is the smaller for it.
    """
    read_by = consumers(trace.layers)
    tables = {
        name
        for layer, readers in zip(trace.layers, read_by, strict=True)
        if layer.kind == "embedding" or (readers and all(trace.layers[reader].kind == "norm" for reader in readers))
        for name in layer.parameters
    }
    named = {parameter.name: parameter for parameter in trace.parameters}
    found: list[float] = []
    for ratio in step.ratios:
        weight = named.get(ratio.parameter)
        if weight is None or ratio.parameter in tables or math.prod(weight.shape) < MANY_WEIGHTS or not weight.rms:
            continue
        usual = 1 / math.sqrt(3 * max(1, math.prod(weight.shape[1:])))  # of torch's default
        found.append(ratio.ratio * min(1.0, weight.rms / usual))
    return median(found) if len(found) >= HIDDEN and math.isfinite(median(found)) else 0.0


def _calmer(trace: Trace) -> str:
    """How much lower the same trial ends at a lower rate; empty if it was not tried, or does not."""
    if trace.trial is None:
        return ""
    end = trace.trial.end
    rates = [v for v in trace.trial.variants if v.change == "lr" and math.isfinite(v.end)]
    best = min(rates, key=lambda variant: variant.end, default=None)
    # Where a higher rate ends lower still, the loss rises on its way to somewhere.
    if best is None or best.factor > 1 or not best.end < (CALMED if _halved(trace.trial) else CALMER).value * end:
        return ""
    own = f"at {end:.3g}" if math.isfinite(end) else "outside of the finite numbers"
    other = f"with {best.rate:g} at {best.end:.3g}"
    return f"is too long: a trial of {trace.trial.steps} steps ends {own}, and {other}"


def _halved(trial: TrialRecord) -> bool:
    return bool(trial.losses) and trial.end < HALFWAY.value * trial.losses[0]


def _thrown_off(trace: Trace, step: StepRecord) -> str:
    """How the first step or a later one of the trial threw the loss up, where it stayed; empty if it did not."""
    ended = _lost(trace, _ignorant(step))
    if not ended or trace.trial is None:
        return ""
    if _rise(step, yardstick=step.loss or 0.0) > 1:
        return f"raises the loss of its own batch, and {ended}"
    peak = max((loss for loss in trace.trial.losses if math.isfinite(loss)), default=0.0)
    if peak > WILD.value * max(step.loss or 0.0, _ignorant(step)):
        return f"does no harm yet, but further ones throw the loss up to {peak:.3g}, and {ended}"
    return ""


def _lost(trace: Trace, zero_loss: float) -> str:
    """How a trial ended that did not get below zero outputs, and is not about to; empty if it did, or there is none."""
    if trace.trial is None or trace.trial.steps < LOST_STEPS.value or not trace.trial.losses:
        return ""
    losses = trace.trial.losses
    if not math.isfinite(losses[-1]):
        return f"after {len(losses)} steps it is not finite"
    share = max(1, len(losses) // 5)
    middle, end = median(losses[2 * share : 3 * share]), median(losses[-share:])
    if end <= zero_loss or end <= FALLING.value * middle:
        return ""
    return f"after {len(losses)} steps it is {end:.3g}, not below the {zero_loss:.3g} of a network that knows nothing"


def _too_high(trace: Trace, severity: Severity, value: float, threshold: float, what: str) -> Finding:
    step, most = trace.step, trace.step.most if trace.step else None
    moves = f" It moves {most.parameter} by {most.ratio:.2g} of its size." if most and math.isfinite(most.ratio) else ""
    return Finding(
        "OPT001", "lr-too-high", severity, "learning-rate", "",
        message=f"One step at learning rate {rates_of(trace)} {what}.{moves}",
        why="Such a step leaves the region in which the gradient says anything.",
        advice=f"Lower the learning rate, or warm up to it: {_ADVICE}",
        value=value if math.isfinite(value) else None, threshold=threshold,
        evidence={
            "loss": step.loss, "after": step.loss_after, "zero_loss": step.zero_loss, "promise": step.promise,
            "update_ratio": step.update_ratio,
        } if step else {},
    )  # fmt: skip


@rule(
    "OPT002", "lr-too-low", severities=("warning",), cause="learning-rate",
    explains=("OPT003",), thresholds=(PROMISE, RATIO, FRESH, MOVED, LONG, PATIENCE, SWIFT, SWIFTER, MOVING),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(4, (64,))),
                             optimizer=torch.optim.SGD(model.parameters(), lr=1e-4))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(4, (64,))),
                             optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    """,
)  # fmt: skip
def lr_too_low(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Steps at this learning rate are too small to move the loss.

    What: of a network that knows nothing yet, a step promises less than a ten-thousandth of the loss, and moves no
        weight by 3/10,000 of its size, both times what momentum makes of a step in the long run. Ten times as much
        is too little where a trial of 200 steps did not lower the loss by a tenth. Or such a trial ends below 0.4 of
        its end at a hundred times the rate, or of 0.2 at ten times, and no weight moves by a hundredth of its size.
    Why it hurts: ten thousand steps pass before anything is learned, and the run looks like one that cannot learn.
    How measured: the optimizer's first update u on a batch: -u·∇L / L, and the largest rms(u) / rms(w) of a
        matrix or kernel. It is not judged where the loss is below 0.9 of that of the best constant answer, where the
        optimizer has stepped before, or where a schedule sets the learning rate.
    When it is a false alarm: a warm-up that is written by hand; a run that is meant to take very many steps.
    Fix: a higher learning rate.
    References: Smith 2017; You, Gitman and Ginsburg 2017 (ratios of update and weight).
    """
    step = trace.step
    reason = _unusable(step) or (not_at_the_start(step) if step else "")
    if step is None or reason:
        yield NotAssessed("OPT002", reason)
        return
    if step.promise is None or step.most is None:
        return
    promise, ratio = step.promise * step.accumulation, step.most.ratio * step.accumulation
    losses = trace.trial.losses if trace.trial else ()
    # A loss that stood still over a long trial says the same: of the step alone less is asked then.
    room = PATIENCE.value if len(losses) >= LONG.value else 1.0
    if _moved(trace):
        return
    if 0 <= promise < room * PROMISE.value and ratio < room * RATIO.value:
        what = (
            f"promises {promise:.1e} of the loss and moves no weight by more than {ratio:.1e} of its size"
            f"{', momentum included' if step.accumulation != 1 else ''}"
        )
    else:
        # A weight that a step moves by more is none that stands still: it may be a plateau.
        what = _swifter(trace) if ratio < MOVING.value else ""
    if not what:
        return
    yield Finding(
        "OPT002", "lr-too-low", "warning", "learning-rate", "",
        message=f"A step at learning rate {rates_of(trace)} {what}.",
        why="Thousands of steps pass before anything is learned.",
        advice=f"Raise the learning rate, by a factor of 10 at a time: {_ADVICE}",
        value=promise, threshold=PROMISE.value,
        evidence={"promise": promise, "update_ratio": ratio, "accumulation": step.accumulation, "loss": step.loss},
    )  # fmt: skip


TENFOLD = 10.0


def _swifter(trace: Trace) -> str:
    """How much lower the same trial ends at ten or a hundred times the rate; empty if it was not tried, or does not."""
    if trace.trial is None:
        return ""
    end = trace.trial.end
    for variant in trace.trial.variants:
        limit = SWIFT if variant.factor <= TENFOLD else SWIFTER
        if variant.change == "lr" and variant.factor > 1 and variant.end < limit.value * end:
            return (
                f"is too short: a trial of {trace.trial.steps} steps ends at {end:.3g}, and with {variant.rate:g} at "
                f"{variant.end:.3g}"
            )
    return ""


def not_at_the_start(step: StepRecord) -> str:
    """Why the step is none of a beginning; empty if it is one."""
    if step.scheduled:
        return "a schedule sets the learning rate, which may be warming up"
    if step.stepped:
        return "the optimizer has made steps before: small steps are right late in a run"
    if knows(step):
        return "the network knows something already: small steps may be right"
    return ""


def knows(step: StepRecord) -> bool:
    """Whether the loss is below that of a constant answer, so that something was learned before."""
    return (step.loss or 0.0) < FRESH.value * (step.constant_loss or step.zero_loss or 0.0)


def _moved(trace: Trace) -> bool:
    """Whether a trial has lowered the loss all the same."""
    losses = trace.trial.losses if trace.trial else ()
    share = max(1, len(losses) // 5)
    return bool(losses) and median(losses[-share:]) < MOVED.value * median(losses[:share])


def rates_of(trace: Trace) -> str:
    """The learning rates of all groups, each once."""
    rates = trace.optimizer.learning_rates if trace.optimizer else ()
    return " and ".join(dict.fromkeys(f"{rate:g}" for rate in rates)) or "?"
