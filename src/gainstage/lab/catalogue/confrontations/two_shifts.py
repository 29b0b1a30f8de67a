"""Does batch normalization reduce internal covariate shift? There are two definitions of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Deferred, Design, Rows, Scope
from gainstage.lab.confrontation import Confrontation, Side
from gainstage.lab.figures import Along, chosen, curves, side_by_side
from gainstage.lab.judge import Judgement, described, number, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True)
class ShiftDesign(Design):
    """Perceptrons while they train by SGD; every ``every`` steps one step is looked at.

    Attributes:
        layer: Whose input and whose gradient are watched, counted from 1.
    """

    depth: int
    width: int
    batch: int
    steps: int
    every: int
    layer: int
    lrs: tuple[float, ...]


def judge_inputs(rows: Rows, design: ShiftDesign) -> Judgement:
    """ln of the movement of the layer's inputs, batch norm over none, mean over learning rates and steps."""
    name = "ln of the movement of a layer's inputs in one step, with batch norm over without"
    return one_sided(_ratios(rows, "inputs"), name=name, seeds=design.seeds, side="below")


def judge_gradients(rows: Rows, design: ShiftDesign) -> Judgement:
    """ln of ‖G - G'‖/‖G‖, batch norm over none, mean over learning rates and steps; predicted: not below zero."""
    name = "ln of ‖G - G'‖/‖G‖ of that layer, with batch norm over without"
    found = one_sided(_ratios(rows, "gradients"), name=name, seeds=design.seeds, side="above")
    by_rate = "; ".join(described(_ratios(rows, "gradients", lr=lr), f"at learning rate {lr:g}") for lr in design.lrs)
    return replace(found, why=f"{found.why} By rate: {by_rate}.")


def _ratios(rows: Rows, column: str, **where: float) -> list[float]:
    normed, bare = per_seed(rows, column, norm="batch", **where), per_seed(rows, column, norm="none", **where)
    return [value - bare.get(seed, math.nan) for seed, value in normed.items()]


def read(found: Sequence[Judgement]) -> str:
    """What both mean together."""
    words = {
        "supported": "does what its side says",
        "refuted": "does the opposite",
        "inconclusive": "shows no clear difference",
    }
    inputs, gradients = (words[judgement.outcome] for judgement in found)
    return (
        f"Measured as movement of the layer's inputs, batch norm {inputs}; measured as change of the layer's gradient "
        f"when the layers below step, it {gradients}. The two definitions are different quantities of one network."
    )


def draw(rows: Rows) -> alt.HConcatChart:
    """Both measures over the training, by norm."""
    points = [
        {**row, "inputs": math.exp(number(row["inputs"])), "gradients": math.exp(number(row["gradients"]))}
        for row in chosen(rows, lr=max(number(row["lr"]) for row in rows))
        if row["inputs"] is not None and row["gradients"] is not None
    ]
    step, norm = Along("step", "updates made"), Along("norm", "norm")
    left = curves(
        points, step, Along("inputs", "movement of the inputs (std)", log=True), norm,
        title="Ioffe & Szegedy: how far a layer's inputs move", subtitle="in one step, at the largest rate",
    )  # fmt: skip
    right = curves(
        points, step, Along("gradients", "‖G - G'‖/‖G‖", log=True), norm,
        title="Santurkar et al.: how its gradient changes", subtitle="when the layers below step; the same runs",
    )  # fmt: skip
    return side_by_side(left.properties(width=330), right.properties(width=330))


_HOME = "gainstage.lab.measurements.confrontations.two_shifts"

CONFRONTATION = Confrontation(
    id="two-covariate-shifts",
    title="Does batch normalization reduce internal covariate shift?",
    question=(
        "Batch normalization was introduced to reduce internal covariate shift: the movement of the distribution of a "
        "layer's inputs while the layers below train. Three years later it was measured as the change of the layer's "
        "gradient that the steps of the layers below cause, and found not to be reduced."
    ),
    sides=(
        Side(
            "inputs stay put",
            "A layer's inputs move less in a step with batch norm than without it.",
            "Ioffe & Szegedy 2015, §2",
            ("bn-saturation",),
            judge_inputs,
        ),
        Side(
            "gradients do not",
            "A layer's gradient changes no less through the steps of the layers below with batch norm than without.",
            "Santurkar et al. 2018, Definition 2.1 and Figure 3",
            ("bn-ics",),
            judge_gradients,
        ),
    ),
    scope=Scope(
        "ReLU perceptrons of four hidden layers, He initialization, SGD; the third layer is watched",
        "scikit-learn digits, not CIFAR-10",
        "learning rates 0.03, 0.1, 0.3; the first 60 steps (quick)",
    ),
    caveats=(
        "Movement of inputs: mean over units of the change of the unit's mean over a fixed batch, in its standard "
        "deviations; units that are zero on the whole batch are left out.",
        "Both depend on the learning rate and on how far training is.",
    ),
    designs={
        "quick": ShiftDesign(seeds=8, depth=4, width=64, batch=128, steps=60, every=4, layer=3, lrs=(0.03, 0.1, 0.3)),
        "full": ShiftDesign(
            seeds=20, depth=8, width=256, batch=128, steps=500, every=10, layer=5, lrs=(0.01, 0.03, 0.1, 0.3)
        ),
    },
    smoke=ShiftDesign(seeds=2, depth=3, width=8, batch=32, steps=4, every=2, layer=2, lrs=(0.1, 0.3)),
    measure=Deferred(_HOME, "measure"),
    reading=read,
    figure=draw,
)
