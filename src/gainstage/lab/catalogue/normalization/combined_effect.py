"""Accuracy and range of learning rates over {bad, good initialization} × {no norm, batch norm}."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.apparatus.tuning import at_best, differences
from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side, strips
from gainstage.lab.judge import Judgement, Value, combine, described, number, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.combined_effect"
# Below a network's own best accuracy: a learning rate within counts as one that trains it.
MARGIN = 0.05
Options = tuple[tuple[str, int | str], ...]


@dataclass(frozen=True)
class CombinedDesign(Design):
    """Networks at each one's best learning rate.

    Attributes:
        network: Reference to the factory, which takes ``norm`` and the options.
        options: Keywords of the factory.
        data: Reference to the data.
        bad: Factors of He's weights that stand for bad initialization, too small and too large; good is 1.
        lrs: A grid of equal steps on a logarithmic axis.
        better: Test accuracy that counts as better: one point.
    """

    network: str
    options: Options
    data: str
    bad: tuple[float, ...]
    lrs: tuple[float, ...]
    steps: int
    batch_size: int
    device: str
    better: float


def judge_combined(rows: Rows, design: CombinedDesign) -> Judgement:
    """Both together reach more than good initialization alone, and than batch norm alone from each bad one."""
    both = _accuracy(rows, "batch", 1.0)
    alone = [("none", 1.0), *(("batch", bad) for bad in design.bad)]
    parts = [
        one_sided(
            differences(both, _accuracy(rows, *other)), seeds=design.seeds, side="above", limit=design.better,
            name=f"accuracy of both together, less that of {_told(*other)}",
        )
        for other in alone
    ]  # fmt: skip
    # The smallest difference decides, so it is the effect that is shown.
    found = combine(*sorted(parts, key=lambda part: -math.inf if part.effect is None else part.effect))
    return replace(found, why=f"{found.why} {_notes(rows, design)}")


def judge_control(rows: Rows, design: CombinedDesign) -> Judgement:
    """Neither of both reaches less than good initialization alone: there the effect turns round."""
    alone = _accuracy(rows, "none", 1.0)
    parts = [
        one_sided(
            differences(_accuracy(rows, "none", bad), alone), seeds=design.seeds, side="below", limit=-design.better,
            name=f"accuracy with neither (a = {bad:g}), less that of good initialization alone",
        )
        for bad in design.bad
    ]  # fmt: skip
    return combine(*parts)


def _accuracy(rows: Rows, norm: str, scale: float) -> dict[int, float]:
    return at_best(rows, "test_accuracy", "lr", norm=norm, scale=scale)


def _decades(rows: Rows, design: CombinedDesign, norm: str, scale: float) -> list[float]:
    """By seed: how much of the grid of rates has a test accuracy within the margin of the network's best."""
    by_rate = [per_seed(rows, "test_accuracy", norm=norm, scale=scale, lr=lr) for lr in design.lrs]
    seeds = sorted({seed for figures in by_rate for seed in figures})
    found: list[float] = []
    for seed in seeds:
        accuracies = [figures.get(seed, 0.0) for figures in by_rate]
        found.append(float(sum(accuracy >= max(accuracies) - MARGIN for accuracy in accuracies)))
    return found


def _notes(rows: Rows, design: CombinedDesign) -> str:
    cases = [("batch", 1.0), ("none", 1.0), *(("batch", bad) for bad in design.bad)]
    best = [described(list(_accuracy(rows, *case).values()), _told(*case)) for case in cases]
    ranges = [described(_decades(rows, design, *case), _told(*case)) for case in cases]
    return (
        f"Accuracy at the best rate: {'; '.join(best)}. Not judged, of {len(design.lrs)} learning rates those within "
        f"{MARGIN:g} of its own best: {'; '.join(ranges)}."
    )


def _told(norm: str, scale: float) -> str:
    return f"{'batch norm' if norm == 'batch' else 'no norm'}, {scale:g} × He"


def draw_accuracies(rows: Rows) -> alt.HConcatChart:
    """Accuracy at the best rate, one dot a seed, beside accuracy over the rate."""
    rows = [*chosen(rows, part="claim"), *(row for row in chosen(rows, part="control") if row["scale"] != 1.0)]
    cases = sorted({(str(row["norm"]), number(row["scale"])) for row in rows})
    best: list[dict[str, Value]] = [
        {"what": _told(*case), "accuracy": accuracy, "seed": seed}
        for case in cases
        for seed, accuracy in _accuracy(rows, *case).items()
    ]
    over: list[dict[str, Value]] = [
        {"what": _told(norm, scale), "lr": row["lr"], "accuracy": row["test_accuracy"], "seed": row["seed"]}
        for norm, scale in cases
        for row in chosen(rows, norm=norm, scale=scale)
    ]
    accuracy, what = Along("accuracy", "test accuracy"), Along("what", "network")
    return side_by_side(
        strips(
            best, what, accuracy, title="Accuracy by initialization and norm",
            subtitle="At the learning rate that trains best; a dot: a seed; bar: median",
        ),
        curves(
            over, Along("lr", "learning rate", log=True), accuracy, what,
            title="Accuracy over the learning rate", subtitle="Bold: median; faint: a seed; diverged: 0.1",
        ),
    )  # fmt: skip


_QUICK = CombinedDesign(
    seeds=10,
    network="gainstage.lab.apparatus.networks:mlp",
    options=(("depth", 6), ("width", 64)),
    data="gainstage.lab.apparatus.data:digits",
    bad=(0.3, 3.0),
    lrs=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    steps=120,
    batch_size=64,
    device="cpu",
    better=0.01,
)

CLAIM = Claim(
    id="combined-effect",
    group="normalization",
    statement=(
        "Proper initialization and batch normalization complement each other: together they train better than "
        "either alone."
    ),
    source="an overview article",
    citation="informal",
    prediction=(
        "At each one's best learning rate, He's weights with batch norm reach a test accuracy more than a point above "
        "that of He's weights without it, and of weights 0.3 and 3 times He's with it."
    ),
    scope=Scope(
        "ReLU network of six layers of 64 (full: VGG), SGD, 120 steps of batches of 64 (full: 4000 of 128)",
        "digits, 8×8, not CIFAR-10 (full: CIFAR-10)",
        "bad weights: 0.3 and 3 times He's; learning rates 0.003 to 1, each network at its best",
    ),
    caveats=(
        "The effect is the smallest of the differences: all must be positive.",
        "'Better' is the accuracy after a fixed number of steps, so speed counts; the range of learning rates is in "
        "the reason, not judged.",
        "The grid of rates ends at 1, where batch norm from 3 times He's weights still gains: more may serve it.",
        "Bad means a wrong scale. Weights that are bad in other ways, such as equal ones, are another matter.",
        "With batch norm the scale of the weights acts as the learning rate does, lr/a², and a grid of rates makes up "
        "for it.",
    ),
    designs={
        "quick": _QUICK,
        "full": replace(
            _QUICK, network="gainstage.lab.apparatus.convnets:vgg", options=(("width", 64),),
            data="gainstage.lab.apparatus.data:cifar10", lrs=(0.003, 0.01, 0.03, 0.1, 0.3), steps=4000,
            batch_size=128, device="auto",
        ),
    },
    smoke=replace(_QUICK, seeds=2, options=(("depth", 2), ("width", 8)), bad=(0.3,), lrs=(0.03, 0.3), steps=5),
    measure=Deferred(_HOME, "measure"),
    judge=judge_combined,
    control=Control(
        "Bad initialization without batch norm must reach less than good initialization without it.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_accuracies,
)  # fmt: skip
