"""Why does batch normalization work? All the explanations, measured on the same networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gainstage.lab.claim import Deferred, Design, Rows, Scope
from gainstage.lab.confrontation import Confrontation, Side
from gainstage.lab.figures import Along, strips
from gainstage.lab.judge import Judgement, number, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

# Explanation: what its figure is, and on which side of "no difference" it predicts the figure with batch norm.
EXPLANATIONS: dict[str, tuple[str, Literal["above", "below"]]] = {
    "smoothness": ("relative change of the gradient along a step of 1 % of the weights", "below"),
    "rates": ("largest usable learning rate", "above"),
    "scale": ("relative change of the loss's gradient direction when hidden weights are doubled", "below"),
    "noise": ("test accuracy at the small batch over that at the large one", "above"),
    "rank": ("soft rank of the last hidden layer at initialization", "above"),
    "identity": ("variance of the last residual branch over that of the stream", "below"),
    "shift": ("‖G - G'‖/‖G‖ when the layers below step", "below"),
}


@dataclass(frozen=True)
class WhyDesign(Design):
    """Perceptrons and residual perceptrons with and without batch norm, measured at the start and while they train.

    Attributes:
        depth: Of the plain networks; the residual ones have ``blocks``.
        looks: After how many updates the loss is looked at, for smoothness and shift.
        lrs: Of the sweep for rates and noise.
        batches: A small and a large size, for noise.
        near: A rate is usable if its accuracy is within this of the best.
    """

    depth: int
    blocks: int
    width: int
    batch: int
    looks: tuple[int, ...]
    lr: float
    lrs: tuple[float, ...]
    steps: int
    batches: tuple[int, int]
    near: float


def judge_by(name: str) -> Callable[[Rows, WhyDesign], Judgement]:
    """The judge of one explanation: ln of its figure with batch norm over that without."""

    def judge(rows: Rows, design: WhyDesign) -> Judgement:
        what, side = EXPLANATIONS[name]
        values = list(per_seed(rows, "ratio", explanation=name).values())
        # The largest usable rate is read from a grid, twice.
        step = math.sqrt(2) * math.log(design.lrs[1] / design.lrs[0]) if name == "rates" else 0.0
        words = f"ln of ({what}), with batch norm over without"
        return one_sided(values, name=words, seeds=design.seeds, side=side, resolution=step)

    return judge


def read(found: Sequence[Judgement]) -> str:
    """Which explanations were seen on these networks."""
    groups: dict[str, list[str]] = {"supported": [], "refuted": [], "inconclusive": []}
    for (name, _), judgement in zip(EXPLANATIONS.items(), found, strict=True):
        groups[judgement.outcome].append(_LABELS[name])
    parts = [
        f"{verb}: {', '.join(groups[outcome])}"
        for outcome, verb in (
            ("supported", "Seen on these networks"),
            ("refuted", "the reverse was seen of"),
            ("inconclusive", "no clear difference in"),
        )
        if groups[outcome]
    ]
    return "; ".join(parts) + ". An effect that is present need not be the cause of better training."


def draw(rows: Rows) -> alt.LayerChart:
    """Every explanation's ratio, a dot a seed."""
    points = [
        {**row, "label": _LABELS[str(row["explanation"])], "times": math.exp(number(row["ratio"]))}
        for name in EXPLANATIONS
        for row in rows
        if row["explanation"] == name and row["ratio"] is not None
    ]
    return strips(
        points,
        Along("label", "explanation"),
        Along("times", "figure with batch norm over that without (1: no difference)", log=True),
        title="What batch norm changes on the same networks, one row for each explanation of why it works",
        subtitle="a dot a seed, a bar at their median; which side an explanation predicts is in the table",
    )


_HOME = "gainstage.lab.measurements.confrontations.why_it_works"
_LABELS = {
    "smoothness": "smoother loss",
    "rates": "larger learning rates",
    "scale": "scale invariance",
    "noise": "noise regularizes",
    "rank": "rank is kept",
    "identity": "branches near identity",
    "shift": "less covariate shift",
}
_SAYS = {
    "smoothness": (
        "The gradient changes less along a step.",
        "Santurkar et al. 2018",
        ("beta-smoothness", "gradient-predictiveness"),
    ),
    "rates": (
        "Larger learning rates can be used.",
        "Bjorck et al. 2018",
        ("bn-higher-lr", "lr-is-the-cause"),
    ),
    "scale": (
        "The scale of the weights does not change where the gradient points.",
        "Ioffe & Szegedy 2015",
        ("scale-invariance", "weight-growth"),
    ),
    "noise": (
        "The noise of small batches helps generalization.",
        "Ioffe & Szegedy 2015",
        ("bn-regularizes",),
    ),
    "rank": (
        "Representations keep their rank in depth.",
        "Daneshmand et al. 2020",
        ("rank-collapse", "rank-predicts"),
    ),
    "identity": (
        "Residual branches are small beside the stream.",
        "De & Smith 2020",
        ("identity-bias", "skipinit"),
    ),
    "shift": (
        "A layer's gradient changes less when the layers below step.",
        "Ioffe & Szegedy 2015, in the measure of Santurkar et al. 2018",
        ("bn-ics",),
    ),
}

CONFRONTATION = Confrontation(
    id="why-bn-works",
    title="Why does batch normalization work?",
    question=(
        "Seven explanations are given. Each was shown on networks of its own; here all are measured on the same ones, "
        "as the ratio of a figure with batch norm to the same figure without."
    ),
    sides=tuple(Side(_LABELS[name], *_SAYS[name], judge_by(name)) for name in EXPLANATIONS),
    scope=Scope(
        "ReLU perceptrons of eight hidden layers of 64 (for residual branches: twelve residual blocks), He "
        "initialization, SGD",
        "scikit-learn digits, not CIFAR-10",
        "at initialization (rank, scale, identity), after 0, 20 and 60 updates (smoothness, shift), or trained for 150 "
        "updates at each of seven rates (rates, noise)",
    ),
    caveats=(
        "That a figure differs shows that the effect is there, not that it is why training succeeds.",
        "Smoothness is relative to the weights' length, since batch norm makes the absolute one depend on it.",
    ),
    designs={
        "quick": WhyDesign(
            seeds=8, depth=8, blocks=12, width=64, batch=128, looks=(0, 20, 60), lr=0.1,
            lrs=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0), steps=150, batches=(16, 256), near=0.05,
        ),
        "full": WhyDesign(
            seeds=20, depth=16, blocks=50, width=256, batch=256, looks=(0, 20, 100, 500), lr=0.1,
            lrs=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0), steps=2000, batches=(16, 1024), near=0.05,
        ),
    },
    smoke=WhyDesign(
        seeds=2, depth=2, blocks=2, width=8, batch=32, looks=(0, 2), lr=0.1, lrs=(0.01, 0.1), steps=4, batches=(8, 32),
        near=0.05,
    ),
    measure=Deferred(_HOME, "measure"),
    reading=read,
    figure=draw,
)  # fmt: skip
