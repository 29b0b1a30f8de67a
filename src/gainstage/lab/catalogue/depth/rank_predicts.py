"""The rank of a batch's representation at initialization goes with what a network of that depth learns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side
from gainstage.lab.judge import Judgement, combine, equality, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.depth.rank_predicts"
NAMES: Mapping[str, str] = {"none": "no norm", "batch": "batch norm"}
# Before training there is nothing to predict; a rank correlation below a quarter is no prediction.
_NOTHING = 0.25


@dataclass(frozen=True)
class PredictsDesign(Design):
    """ReLU perceptrons of several depths, each at each learning rate; the best rate counts.

    Attributes:
        depths: Hidden layers.
        lrs: Of plain gradient descent.
        samples: Training samples whose representation's rank is taken.
        untrained: Nets of each depth and seed in the control.
        within: The depths at which nets of one depth are compared.
        scales: Factors of He's weights of the nets without a norm that are compared there, beside one with batch norm.
        data: A function that returns the data.
        device: ``auto`` is a GPU if there is one.
    """

    depths: tuple[int, ...]
    width: int
    lrs: tuple[float, ...]
    steps: int
    batch: int
    samples: int
    untrained: int
    within: tuple[int, ...]
    scales: tuple[float, ...] = (0.7, 1.0, 1.4)
    data: str = "gainstage.lab.apparatus.data:digits"
    device: str = "cpu"


def judge_predicts(rows: Rows, design: PredictsDesign) -> Judgement:
    """Spearman's correlation of rank and accuracy is more than nothing over depths, and among nets of one depth.

    Depth drives rank and accuracy both, so that over depths alone anything that falls with depth would predict.
    """
    figures = list(per_seed(rows, "correlation", net="none").values())
    name = "Spearman's correlation of r at initialization and test accuracy over depths, no norm"
    over = one_sided(figures, name=name, seeds=design.seeds, side="above", limit=_NOTHING)
    within = one_sided(
        list(per_seed(rows, "within").values()), seeds=design.seeds, side="above", limit=_NOTHING,
        name="the same among nets of one depth that differ in initial scale and norm, mean over depths",
    )  # fmt: skip
    # What is left when depth is taken out is the effect that is shown.
    found = combine(within, over)
    return replace(found, why=f"{found.why} {_deepest(rows, design)}")


def judge_control(rows: Rows, design: PredictsDesign) -> Judgement:
    """Before training rank and accuracy have nothing to do with each other."""
    return equality(
        list(per_seed(rows, "correlation").values()), seeds=design.seeds, target=0.0, tolerance=_NOTHING,
        name="Spearman's correlation of r and test accuracy over depths, untrained",
    )  # fmt: skip


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """The correlation of ranks, ties at their mean; None where all of one side are equal."""
    return pearson(_ranked(x), _ranked(y))


def pearson(x: Sequence[float], y: Sequence[float]) -> float | None:
    """The correlation; None where one side is constant."""
    a, b = [v - sum(x) / len(x) for v in x], [v - sum(y) / len(y) for v in y]
    scale = math.sqrt(sum(v * v for v in a) * sum(v * v for v in b))
    return sum(v * w for v, w in zip(a, b, strict=True)) / scale if scale > 0 else None


def _ranked(values: Sequence[float]) -> list[float]:
    return [sum(v < value for v in values) + (sum(v == value for v in values) - 1) / 2 for value in values]


def _deepest(rows: Rows, design: PredictsDesign) -> str:
    """Rank and accuracy with and without batch norm: across the two, rank need not predict anything."""
    depth, texts = max(design.within), list[str]()
    for net, name in NAMES.items():
        figures = [list(per_seed(rows, key, net=net, depth=depth, scale=1.0).values()) for key in ("rank", "accuracy")]
        if all(figures):
            rank, accuracy = (sum(values) / len(values) for values in figures)
            texts.append(f"{name} r = {rank:.3g} and accuracy {accuracy:.2f}")
    return f"At {depth} layers: {', '.join(texts)}." if texts else ""


def draw_ranks(rows: Rows) -> alt.HConcatChart:
    """Rank at initialization, and accuracy after training, by depth."""
    points = [{**row, "what": NAMES[str(row["net"])]} for row in chosen(rows, kind="net", part="claim", scale=1.0)]
    depth, what = Along("depth", "hidden layers", log=True), Along("what", "network")
    before = curves(
        points, depth, Along("rank", "r = tr(M)²/‖M‖²_F of the last hidden layer", log=True), what,
        title="Rank of a batch at initialization by depth", subtitle="Faint: seeds; bold: their median",
    )  # fmt: skip
    after = curves(
        points, depth, Along("accuracy", "test accuracy at the best learning rate"), what,
        title="Accuracy of the same networks after training", subtitle="Faint: seeds; bold: their median",
    )  # fmt: skip
    return side_by_side(before, after)


CLAIM = Claim(
    id="rank-predicts",
    group="depth",
    statement=(
        "The rank of the hidden representation at initialization predicts how well a network can be trained: networks "
        "of a lower rank reach a lower accuracy, over depths and among networks of one depth."
    ),
    source="Daneshmand et al. 2020, Batch normalization provably avoids rank collapse",
    citation="quoted",
    prediction=(
        "Spearman's correlation of rank at initialization and accuracy is above 1/4 over depths to 64 layers, and "
        "among networks of one depth."
    ),
    scope=Scope(
        "fully connected ReLU network of width 32, He's variance (uniform), no norm; within depths "
        "also 0.7 and 1.4 times He's weights, and batch norm",
        "scikit-learn digits (not Fashion-MNIST), 256 samples for the rank, plain SGD, the best of three rates",
        "4 to 64 hidden layers, within depths 4 to 32, 60 updates (quick); MNIST, width 128, to 64 layers (full)",
    ),
    caveats=(
        "A correlation: it says nothing on whether rank is the cause. Over depths, depth drives both; so it is judged "
        "among networks of one depth too, four at each, whose scale or norm may act on the accuracy by other ways.",
        "The best rate of each network is the one with the lowest training loss after the last update.",
        "The rank is r = tr(M)²/‖M‖²_F of the last hidden layer, M = HHᵀ, not centered.",
    ),
    designs={
        "quick": PredictsDesign(
            seeds=5, depths=(4, 8, 16, 32, 64), within=(4, 8, 16, 32), width=32, lrs=(0.01, 0.03, 0.1), steps=60,
            batch=64, samples=256, untrained=20,
        ),
        "full": PredictsDesign(
            seeds=10, depths=(4, 8, 16, 24, 32, 48, 64), within=(4, 8, 16, 24, 32, 48, 64), width=128,
            lrs=(0.003, 0.01, 0.03, 0.1), steps=600, batch=64, samples=256, untrained=16,
            data="gainstage.lab.apparatus.data:mnist_5k", device="auto",
        ),
    },
    smoke=PredictsDesign(
        seeds=2, depths=(1, 2, 3), within=(2, 3), width=8, lrs=(0.1,), steps=4, batch=32, samples=32, untrained=2,
        device="auto",
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_predicts,
    control=Control(
        "Before training the correlation over depths must vanish.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_ranks,
)  # fmt: skip
