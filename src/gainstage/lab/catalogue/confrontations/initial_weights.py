"""Does batch normalization make the initial weights matter less, and does it start closer to its optimum?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.claim import Deferred, Design, Rows, Scope
from gainstage.lab.confrontation import Confrontation, Side
from gainstage.lab.figures import Along, chosen, curves, side_by_side
from gainstage.lab.judge import Judgement, number, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True)
class StartDesign(Design):
    """Perceptrons trained by SGD from initial weights of several scales.

    Attributes:
        scales: Equally spaced on a logarithmic axis, 1 among them.
        near: A scale trains if its accuracy is within this of the same network's best.
        decades: Difference of widths that counts: half a step of the grid.
    """

    depth: int
    width: int
    batch: int
    steps: int
    lr: float
    scales: tuple[float, ...]
    near: float
    decades: float


def judge_range(rows: Rows, design: StartDesign) -> Judgement:
    """Decades of the initial scale that train, batch norm minus none."""
    step = math.log10(design.scales[1] / design.scales[0])
    counts = [_trains(rows, norm, design.near) for norm in ("batch", "none")]
    gains = [step * (counts[0][seed] - counts[1].get(seed, math.nan)) for seed in counts[0]]
    name = "decades of initial scale that train, with batch norm minus without"
    # A width in decades is counted in steps of the grid; the difference of two has twice the variance.
    resolution = math.sqrt(2) * step
    return one_sided(gains, name=name, seeds=design.seeds, side="above", limit=design.decades, resolution=resolution)


def judge_distance(rows: Rows, design: StartDesign) -> Judgement:
    """ln of ‖W₀ - W*‖/‖W₀‖ at the scheme's own scale, batch norm over none; predicted below zero."""
    normed, bare = (per_seed(rows, "distance", norm=norm, scale=1.0) for norm in ("batch", "none"))
    ratios = [
        math.log(value / bare[seed]) if value > 0 and bare.get(seed, 0.0) > 0 else math.nan
        for seed, value in normed.items()
    ]
    name = "ln of the way from the initial to the trained weights, with batch norm over without"
    return one_sided(ratios, name=name, seeds=design.seeds, side="below")


def _trains(rows: Rows, norm: str, near: float) -> dict[int, int]:
    found: dict[int, int] = {}
    for seed in sorted({int(number(row["seed"])) for row in rows}):
        accuracies = [number(row["test_accuracy"]) for row in chosen(rows, seed=seed, norm=norm)]
        found[seed] = sum(value >= max(accuracies) - near for value in accuracies)
    return found


def read(found: Sequence[Judgement]) -> str:
    """What both mean together."""
    ranges = {
        "supported": "With batch norm a wider range of initial scales trained",
        "refuted": "With batch norm no wider range of initial scales trained",
        "inconclusive": "Whether a wider range of initial scales trains with batch norm stayed open",
    }
    distances = {
        "supported": "its solution lay closer to the initial weights",
        "refuted": "its solution did not lie closer to the initial weights",
        "inconclusive": "whether its solution lies closer to the initial weights stayed open",
    }
    first, second = (judgement.outcome for judgement in found)
    return (
        f"{ranges[first]}, and {distances[second]}. The lemma itself is an exact statement about one neuron and is "
        "refuted by a counterexample; what networks do is another question, answered here for these."
    )


def draw(rows: Rows) -> alt.HConcatChart:
    """Accuracy and way travelled over the initial scale, by norm."""
    scale, norm = Along("scale", "initial weights × (He = 1)", log=True), Along("norm", "norm")
    subtitle = "a faint line a seed; diverged runs are at chance"
    left = curves(
        rows, scale, Along("test_accuracy", "test accuracy"), norm, title="Accuracy over the initial scale",
        subtitle=subtitle,
    )  # fmt: skip
    right = curves(
        rows, scale, Along("distance", "‖W₀ - W‖/‖W₀‖ of the hidden layers", log=True), norm,
        title="The way from the initial to the trained weights",
        subtitle="with batch norm to the nearest point of the solution's rays",
    )  # fmt: skip
    return side_by_side(left.properties(width=330), right.properties(width=330))


_HOME = "gainstage.lab.measurements.confrontations.initial_weights"
_SCALES = (0.1, 10**-0.5, 1.0, 10**0.5, 10.0)

CONFRONTATION = Confrontation(
    id="initial-weights-matter-less",
    title="Does batch normalization make the initial weights matter less?",
    question=(
        "That batch norm makes training less sensitive to the initial weights is an observation on networks. A lemma "
        "was to explain it: that batch norm's optimum is closer to the initial weights. The lemma is false as it "
        "stands. Is the observation, and is what the lemma says in plain words, true of networks?"
    ),
    sides=(
        Side(
            "less sensitive",
            "With batch norm a wider range of initial scales trains.",
            "Ioffe & Szegedy 2015, abstract",
            ("bn-init-sensitivity", "scale-invariance"),
            judge_range,
        ),
        Side(
            "closer to the optimum",
            "With batch norm the trained weights are closer to the initial ones.",
            "Santurkar et al. 2018, Lemma 4.5, in plain words; denied by Dannemann & Junike 2025",
            ("lemma-4-5",),
            judge_distance,
        ),
    ),
    scope=Scope(
        "ReLU perceptrons of four hidden layers, He initialization, plain SGD at one learning rate",
        "scikit-learn digits, not CIFAR-10",
        "initial scale 0.1 to 10, learning rate 0.1, 300 updates (quick)",
    ),
    caveats=(
        "The way is measured after training, not to a global optimum, which nobody knows for a network.",
        "A unit before batch norm computes the same at any length of its weights: the nearest such point counts.",
    ),
    designs={
        "quick": StartDesign(
            seeds=8, depth=4, width=64, batch=64, steps=300, lr=0.1, scales=_SCALES, near=0.05, decades=0.25
        ),
        "full": StartDesign(
            seeds=20, depth=8, width=256, batch=128, steps=3000, lr=0.1,
            scales=tuple(10 ** (k / 4) for k in range(-6, 7)), near=0.05, decades=0.125,
        ),
    },
    smoke=StartDesign(
        seeds=2, depth=2, width=8, batch=32, steps=4, lr=0.1, scales=(0.1, 1.0, 10.0), near=0.05, decades=0.5
    ),
    measure=Deferred(_HOME, "measure"),
    reading=read,
    figure=draw,
)  # fmt: skip
