"""Is the larger learning rate what batch normalization is good for, and does it need batch normalization?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.claim import Deferred, Design, Rows, Scope
from gainstage.lab.confrontation import Confrontation, Side
from gainstage.lab.figures import Along, chosen, curves, side_by_side
from gainstage.lab.judge import Judgement, Row, number, one_sided

if TYPE_CHECKING:
    import altair as alt

VARIANTS = {"none": "no norm", "batch": "batch norm", "scaled": "no norm, branches × 1/√blocks"}


@dataclass(frozen=True)
class RateDesign(Design):
    """Residual perceptrons trained by SGD over learning rates and batch sizes, each with the same number of updates.

    Attributes:
        batches: A small and a large size.
        near: A rate is usable if its accuracy is within this of the network's best.
        decades: Difference of log10 rates that counts: half a step of the grid.
        points: Difference of accuracies that counts.
    """

    blocks: int
    width: int
    steps: int
    batches: tuple[int, int]
    lrs: tuple[float, ...]
    near: float
    decades: float
    points: float

    @property
    def resolution(self) -> float:
        """Of the difference of two rates that are read from the grid, in decades."""
        return math.sqrt(2) * math.log10(self.lrs[1] / self.lrs[0])


def judge_rates(rows: Rows, design: RateDesign) -> Judgement:
    """log10 of the largest usable rate at the large batch, batch norm over none."""
    gains = _rate_gains(rows, design, design.batches[1])
    name = f"decades by which batch norm raises the largest usable rate at batch size {design.batches[1]}"
    return one_sided(
        gains, name=name, seeds=design.seeds, side="above", limit=design.decades, resolution=design.resolution
    )


def judge_without(rows: Rows, design: RateDesign) -> Judgement:
    """Best accuracy at the large batch, batch norm minus scaled branches: not above the difference that counts."""
    size = design.batches[1]
    best = [_best(rows, variant, size) for variant in ("batch", "scaled")]
    gaps = [best[0][seed] - best[1].get(seed, math.nan) for seed in best[0]]
    name = "best accuracy of batch norm minus that of scaled branches without a norm"
    return one_sided(gaps, name=name, seeds=design.seeds, side="below", limit=design.points)


def judge_batches(rows: Rows, design: RateDesign) -> Judgement:
    """What batch norm gains in rate at the large batch minus what it gains at the small one."""
    small, large = (_rate_gains(rows, design, size) for size in design.batches)
    gains = [one - other for one, other in zip(large, small, strict=True)]
    name = f"decades of rate that batch norm gains more at batch size {design.batches[1]} than at {design.batches[0]}"
    # Two such differences, so twice their variance.
    resolution = math.sqrt(2) * design.resolution
    return one_sided(gains, name=name, seeds=design.seeds, side="above", resolution=resolution)


def largest_usable(rows: Sequence[Row], near: float) -> float:
    """The largest rate whose accuracy is within ``near`` of the best of these rows; NaN without rows."""
    best = max((number(row["test_accuracy"]) for row in rows), default=math.nan)
    usable = [number(row["lr"]) for row in rows if number(row["test_accuracy"]) >= best - near]
    return max(usable, default=math.nan)


def _rate_gains(rows: Rows, design: RateDesign, size: int) -> list[float]:
    gains: list[float] = []
    for seed in _seeds(rows):
        pair = [chosen(rows, seed=seed, batch_size=size, variant=variant) for variant in ("batch", "none")]
        normed, bare = (largest_usable(found, design.near) for found in pair)
        gains.append(math.log10(normed / bare))
    return gains


def _best(rows: Rows, variant: str, size: int) -> dict[int, float]:
    found: dict[int, float] = {}
    for seed in _seeds(rows):
        own = chosen(rows, seed=seed, batch_size=size, variant=variant)
        found[seed] = max((number(row["test_accuracy"]) for row in own), default=math.nan)
    return found


def _seeds(rows: Rows) -> list[int]:
    return sorted({int(number(row["seed"])) for row in rows})


def read(found: Sequence[Judgement]) -> str:
    """What the three mean together."""
    rates = {
        "supported": "Batch norm did raise the largest usable rate",
        "refuted": "Batch norm did not raise the largest usable rate",
        "inconclusive": "Whether batch norm raises the largest usable rate stayed open",
    }
    without = {
        "supported": "scaled branches without any norm reached its accuracy",
        "refuted": "scaled branches without a norm did not reach its accuracy",
        "inconclusive": "whether scaled branches reach its accuracy stayed open",
    }
    sizes = {
        "supported": "the gain in rate was larger at the large batch",
        "refuted": "the gain in rate was no larger at the large batch",
        "inconclusive": "whether the gain in rate depends on the batch size stayed open",
    }
    first, second, third = (judgement.outcome for judgement in found)
    return f"{rates[first]}; {without[second]}; {sizes[third]}."


def draw(rows: Rows) -> alt.HConcatChart:
    """Accuracy over the learning rate, a panel for each batch size."""
    sizes = sorted({int(number(row["batch_size"])) for row in rows})
    panels = [
        curves(
            [{**row, "which": VARIANTS[str(row["variant"])]} for row in chosen(rows, batch_size=size)],
            Along("lr", "learning rate", log=True), Along("test_accuracy", "test accuracy"), Along("which", "network"),
            title=f"Accuracy over the learning rate, batch size {size}",
            subtitle="a faint line a seed; diverged runs are at chance",
        ).properties(width=330)
        for size in sizes
    ]  # fmt: skip
    return side_by_side(*panels)


_HOME = "gainstage.lab.measurements.confrontations.large_rates"
_LRS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)

CONFRONTATION = Confrontation(
    id="is-it-the-learning-rate",
    title="Is the larger learning rate the benefit of batch normalization?",
    question=(
        "One side says that batch norm helps because it lets networks train at larger rates, and that at equal small "
        "rates it is worth nothing. The other says that its benefit to residual networks is a smaller residual branch, "
        "which a constant provides as well, and that larger rates only help where the batch is large."
    ),
    sides=(
        Side(
            "larger rates",
            "With batch norm a larger learning rate can be used.",
            "Bjorck et al. 2018",
            ("lr-is-the-cause", "bn-higher-lr"),
            judge_rates,
        ),
        Side(
            "smaller branches",
            "Residual branches scaled by 1/√blocks train as well without any norm.",
            "De & Smith 2020",
            ("identity-bias", "skipinit"),
            judge_without,
        ),
        Side(
            "large batches only",
            "What batch norm gains in rate is larger at a large batch than at a small one.",
            "De & Smith 2020",
            ("lr-is-the-cause",),
            judge_batches,
        ),
    ),
    scope=Scope(
        "residual ReLU perceptrons in preactivation form, He initialization, plain SGD",
        "scikit-learn digits, not CIFAR-10",
        "learning rates 0.003 to 3 in half decades, batch sizes 16 and 256, 100 updates of 8 blocks (quick)",
    ),
    caveats=(
        "Every run has the same number of updates, so large batches see more samples.",
        "A rate is usable if its accuracy is within 5 points of the same network's best rate.",
    ),
    designs={
        "quick": RateDesign(
            seeds=8, blocks=8, width=32, steps=100, batches=(16, 256), lrs=_LRS, near=0.05, decades=0.25, points=0.02
        ),
        "full": RateDesign(
            seeds=20, blocks=50, width=128, steps=2000, batches=(16, 1024), lrs=_LRS, near=0.05, decades=0.25,
            points=0.01,
        ),
    },
    smoke=RateDesign(
        seeds=2, blocks=2, width=8, steps=4, batches=(8, 32), lrs=(0.01, 0.1), near=0.05, decades=0.25, points=0.02
    ),
    measure=Deferred(_HOME, "measure"),
    reading=read,
    figure=draw,
)  # fmt: skip
