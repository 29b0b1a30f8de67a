"""Whether one gradient step at initialization makes the loss explode, with and without batch normalization."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.catalogue.designs import CIFAR, DIGITS, PLAIN, RESIDUAL, RESNET, AtStart, Net
from gainstage.lab.claim import Claim, Control, Deferred, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side
from gainstage.lab.judge import Judgement, Value, combine, described, number, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.step_size_divergence"
# log10 of the loss after the step over the loss before it: ten times the loss is an explosion, less is not.
EXPLODED = 1.0
# From this step size on the paper sees explosions.
CRITICAL = 1e-3
# `gainstage.lab.apparatus.draws.ZERO_BRANCH`, which needs torch.
CONTROL_INIT = "branches at zero"


@dataclass(frozen=True)
class StepDesign(AtStart):
    """Networks at initialization and steps along the gradients of several batches.

    Attributes:
        steps: Sizes, ascending; the first one and those above `CRITICAL` are judged.
        batches: How many.
    """

    steps: tuple[float, ...]
    batches: int


def judge_explosion(rows: Rows, design: StepDesign) -> Judgement:
    """Without the norm every step above the critical size explodes and the first does not; with it none above does."""
    first, init = design.cases[0]
    none = _judged(rows, design, "least", "above", net=first.label, init=init, norm="none")
    # A network that explodes at any step whatever has no critical size.
    small = _judged(rows, design, "first", "below", net=first.label, init=init, norm="none")
    batch = _judged(rows, design, "most", "below", net=first.label, init=init, norm="batch")
    found = combine(none, small, batch)
    critical = _critical(rows, design)
    others = " ".join(_reported(rows, net.label, init) for net, init in design.cases[1:])
    return Judgement(found.outcome, found.effect, found.interval, found.n, f"{found.why} {critical} {_OTHERS} {others}")


def judge_control(rows: Rows, design: StepDesign) -> Judgement:
    """Without a norm, but with branches that start at zero, no step explodes."""
    return _judged(rows, design, "most", "below", norm="none")


def _judged(rows: Rows, design: StepDesign, key: str, side: str, **where: str) -> Judgement:
    values = list(per_seed(rows, key, **where).values())
    return one_sided(
        values, name=_name(key, **where), seeds=design.seeds, side="above" if side == "above" else "below",
        limit=EXPLODED,
    )  # fmt: skip


def _reported(rows: Rows, net: str, init: str) -> str:
    least, most = (
        list(per_seed(rows, key, net=net, init=init, norm=norm).values())
        for norm, key in (("none", "least"), ("batch", "most"))
    )
    return f"{net}, {init}: {described(least, 'smallest without')}; {described(most, 'largest with')}."


def _critical(rows: Rows, design: StepDesign) -> str:
    """The smallest exploding steps without the norm, by network, as far as the seeds differ."""
    told: list[str] = []
    for net, init in design.cases:
        found = exploding(rows, net=net.label, init=init, norm="none")
        sizes = [min(found), max(found)] if found else []
        words = [f"{size:g}" if math.isfinite(size) else "none" for size in sizes]
        told.append(f"{net.label}, {init}: {' to '.join(dict.fromkeys(words)) or 'not measured'}")
    return f"Smallest of the steps that explode without a norm, from seed to seed: {'; '.join(told)}."


def exploding(rows: Rows, **where: str) -> list[float]:
    """For each seed the smallest step after which the loss is ten times as large; infinite if there is none."""
    some = chosen(rows, kind="step", **where)
    steps: dict[Value, list[float]] = {row["seed"]: [math.inf] for row in some}
    for row in some:
        if number(row["log_relative"]) > EXPLODED:
            steps[row["seed"]].append(number(row["step"]))
    return [min(found) for found in steps.values()]


def _name(key: str, **where: str) -> str:
    what = ", ".join([*(value for name, value in where.items() if name != "norm"), _NAMES[where["norm"]]])
    return f"log10 of the {_KEYS[key]} ({what})"


_OTHERS = "Not judged, the same in other networks, without and with batch norm:"
_NAMES = {"none": "no norm", "batch": "batch norm"}
_KEYS = {
    "least": "smallest relative loss after a step > 1e-3",
    "most": "largest relative loss after a step > 1e-3",
    "first": "relative loss after the smallest step",
}


def draw_profiles(rows: Rows) -> alt.HConcatChart:
    """Relative loss over the step size, a picture for each network and initialization."""
    # Beyond that the axis would show nothing else.
    ceiling = 12.0
    points = [
        {
            **row,
            "relative": 10 ** min(number(row["log_relative"]), ceiling),
            "what": _NAMES[str(row["norm"])] + (", branches start at 0 (control)" if row["part"] == "control" else ""),
        }
        for row in chosen(rows, kind="step")
    ]
    first = points[0]
    cases = list(dict.fromkeys((str(point["net"]), str(point["init"])) for point in points if point["part"] == "claim"))
    return side_by_side(
        *(
            curves(
                [
                    point for point in points
                    if (point["net"], point["init"]) == case
                    or (point["part"] == "control" and case == (first["net"], first["init"]))
                ],
                Along("step", "step size along the gradient", log=True),
                Along("relative", "loss after / loss before (drawn up to 1e12)", log=True), Along("what", ""),
                title=f"Loss after one gradient step: {case[0]}, {case[1]}",
                subtitle="Thick: median; faint: one line a seed, geometric mean over batches",
            ).properties(width=300)
            for case in cases
        )
    )  # fmt: skip


_QUICK = StepDesign(
    seeds=6,
    nets=(
        # Not the 54 blocks: their stream grows by 2^54, and no step is small enough for that.
        Net("ResMLP-20", RESIDUAL, (("blocks", 20),)),
        Net("ResMLP-54", RESIDUAL, (("blocks", 54),)),
        Net("plain MLP-20", PLAIN, (("depth", 20),)),
    ),
    inits=("he", "torch"), data=DIGITS, device="cpu", batch=128,
    steps=(1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1), batches=4,
)  # fmt: skip

CLAIM = Claim(
    id="step-size-divergence",
    group="normalization",
    statement=(
        "Without batch normalization, steps larger than 1e-3 along the gradient at initialization make the loss "
        "explode; with it they do not."
    ),
    source="Bjorck et al. 2018, Understanding batch normalization, Fig. 3",
    citation="quoted",
    prediction=(
        "In the residual network every step from .003 to .1 multiplies the loss by more than 10 without batch norm "
        "and the step of 1e-5 does not; with batch norm none does."
    ),
    scope=Scope(
        "residual perceptron of 20 blocks of two maps, width 64, He's initialization (quick); ResNet-110 (full); "
        "reported: 54 blocks, a plain perceptron of 20 layers (full: ResNet-20), PyTorch's default initialization",
        "digits, not CIFAR-10 (quick); CIFAR-10 (full); batches of 128",
        "at initialization, one step of size 1e-5 to .1 along the gradient of the batch that the loss is measured on",
    ),
    caveats=(
        "It depends on the architecture and the initial weights: what explodes is a residual stream that doubles its "
        "variance in each block. The reason given with the verdict has the figures of other networks.",
        "So does the size from which steps explode: 1e-3 is that of the source's network and no constant of nature. "
        "It falls with each block that doubles the stream; 20 blocks were judged so that it lies among the steps.",
        "One step at the start: it says nothing about later steps, or about momentum.",
        "Losses that are not finite count as 1e38 times the loss before.",
    ),
    designs={
        "quick": _QUICK,
        "full": replace(
            _QUICK, seeds=10, data=CIFAR, device="auto",
            nets=(Net("ResNet-110", RESNET, (("depth", 110),)), Net("ResNet-20", RESNET, (("depth", 20),))),
        ),
    },
    smoke=replace(
        _QUICK, seeds=2, device="auto", batch=16, batches=2, steps=(1e-5, 1e-3, 1e-2),
        nets=(Net("ResMLP-2", RESIDUAL, (("blocks", 2), ("width", 8))), Net("MLP-2", PLAIN, (("depth", 2),))),
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_explosion,
    control=Control(
        "Without a norm, but with residual branches that start at zero, none of these steps may make the loss explode.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_profiles,
)  # fmt: skip
