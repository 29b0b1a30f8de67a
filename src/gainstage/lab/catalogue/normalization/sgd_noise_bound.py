"""E‖α∇l - α∇_SGD‖² ≤ (α²/B)·C for batches of independent samples, by going through every batch there is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, strips
from gainstage.lab.judge import Judgement, Row, bound, described, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.sgd_noise_bound"
INDEPENDENT = ("with", "without")
ONE_CLASS = "one class"
NAMES = {
    "with": "independent draws",
    "without": "all different",
    ONE_CLASS: "one class (control)",
}


@dataclass(frozen=True)
class NoiseDesign(Design):
    """A data set so small that all of its batches can be gone through.

    Attributes:
        classes, per_class: Of the data set.
        batches: Sizes B.
        alpha: The step length, which cancels in the ratio.
        width, depth: Of the network.
        warmup: Steps of gradient descent on the data set after which it is measured again.
        tolerance: Of the ratio, for the rounding of float64.
    """

    classes: int
    per_class: int
    batches: tuple[int, ...]
    alpha: float
    width: int
    depth: int
    warmup: int
    tolerance: float


def judge_bound(rows: Rows, design: NoiseDesign) -> Judgement:
    """Exact: the largest ratio of the two sides over seeds, networks, batch sizes and both ways of drawing."""
    judged = [row for row in rows if row["norm"] == "none" and row["draw"] in INDEPENDENT]
    name = "E‖α∇l - α∇_SGD‖²/(α²C/B) ≤ 1"
    found = bound([_ratio(row) - 1 for row in judged], name=name, tolerance=design.tolerance)
    return Judgement(found.outcome, found.effect, found.interval, found.n, f"{found.why} {_notes(rows)}")


def judge_control(rows: Rows, _design: NoiseDesign) -> Judgement:
    """Supported if every ratio exceeds 1 where the samples of a batch belong together."""
    shortfalls = [1 - _ratio(row) for row in rows]
    return bound(shortfalls, name="1 ≤ E‖α∇l - α∇_SGD‖²/(α²C/B)", tolerance=0.0)


def _ratio(row: Row) -> float:
    value = row["ratio"]
    return float(value) if isinstance(value, float) else math.nan


def _notes(rows: Rows) -> str:
    noted = [
        described(list(per_seed(rows, "ratio", norm=norm, draw=draw).values()), f"the ratio for {what}")
        for norm, draw, what in (
            ("none", "with", "independent samples"),
            ("none", "without", "different samples"),
            ("batch", "without", "different samples and BN in training mode, not judged,"),
        )
    ]
    return f"On average {'; '.join(noted)}."


def draw_ratios(rows: Rows) -> alt.LayerChart:
    """The ratio of the two sides for each way of drawing a batch."""
    points = [{**row, "what": _label(row)} for row in rows]
    order = {label: place for place, label in enumerate(sorted({str(point["what"]) for point in points}))}
    return strips(
        sorted(points, key=lambda point: order[str(point["what"])]),
        Along("what", "batch"),
        Along("ratio", "variance of the batch gradient / (C/B); the bound says ≤ 1", log=True),
        title="Variance of a batch's gradient against the bound C/B, by how the batch is drawn",
        subtitle="A dot for each seed, before and after training; all batches there are, float64; bar: median",
    )


def _label(row: Row) -> str:
    norm = ", BN" if row["norm"] == "batch" else ""
    return f"{NAMES[str(row['draw'])]}, B = {row['batch']}{norm}"


CLAIM = Claim(
    id="sgd-noise-bound",
    group="normalization",
    statement=(
        "The noise of a stochastic gradient step falls with the batch size B: E‖α∇l - α∇_SGD‖² ≤ (α²/B)·C, "
        "where C is the variance of one sample's gradient and α the step length."
    ),
    source="Bjorck et al. 2018, Understanding Batch Normalization, §2",
    citation="quoted",
    prediction="The ratio of the two sides is at most 1: it is 1 if samples are drawn independently, (N - B)/(N - 1) "
    "if all of a batch are different.",
    scope=Scope(
        "ReLU perceptron without normalization, two hidden layers of 16 units; at the start and after 30 steps",
        "12 digits of 3 classes, drawn anew for each seed",
        "batches of 2 and 3, every one of them, gradients in float64",
    ),
    caveats=(
        "It is a statement about sampling, not about batch normalization: it holds for any loss that is a mean of "
        "terms of single samples.",
        "With BN in training mode it does not apply: a sample has no gradient without its batch. The figure for BN "
        "takes C with the statistics of the whole set frozen.",
        "Batches whose samples belong together, as from sorted data, exceed the bound.",
    ),
    designs={
        "quick": NoiseDesign(
            seeds=5, classes=3, per_class=4, batches=(2, 3), alpha=0.1, width=16, depth=2, warmup=30, tolerance=1e-9
        )
    },
    smoke=NoiseDesign(
        seeds=2, classes=2, per_class=2, batches=(2,), alpha=0.1, width=4, depth=1, warmup=2, tolerance=1e-9
    ),
    absent={"full": "The statement is exact; a larger network or set shows the same ratio."},
    measure=Deferred(_HOME, "measure"),
    judge=judge_bound,
    control=Control(
        "If all samples of a batch are of one class, the noise must exceed the bound in every case.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_ratios,
)
