"""What claims about other norms in the place of batch norm share: runs and their score.

A network's score is its accuracy at the learning rate of the grid that ends with the lowest training loss, for each
seed by itself; the mean over the initial weights is one number a seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gainstage.lab.catalogue.how_it_helps.along_training import HE_SCALE
from gainstage.lab.claim import Design, Rows
from gainstage.lab.figures import Along, side_by_side, strips
from gainstage.lab.judge import Row, described

if TYPE_CHECKING:
    import altair as alt

# Eight of the 397 test pictures, and about what the paper's curves differ by from run to run.
COMPARABLE = 0.02


@dataclass(frozen=True)
class TrialDesign(Design):
    """Runs of plain gradient descent.

    Attributes:
        network, data: As `gainstage.lab.apparatus.walk` knows them, or references ``package.module:function``.
        options: Keywords of the network but for its norm.
        scales: Of the weights that torch draws, with variance 1/(3 fan_in); √6 makes them He's.
        lrs: The grid.
        control_lrs: The grid of the control.
        steps: Updates of a run.
        batch_size: The paper's is 128.
        device: ``auto`` is a GPU if there is one.
    """

    lrs: tuple[float, ...]
    control_lrs: tuple[float, ...]
    steps: int
    network: str = "mlp"
    data: str = "digits"
    options: tuple[tuple[str, Any], ...] = ()
    scales: tuple[float, ...] = (1.0, HE_SCALE)
    batch_size: int = 128
    device: str = "cpu"


def gaps(rows: Rows, metric: str, norm: str, against: str, scale: float | None = None) -> list[float]:
    """One figure a seed: the score of ``norm`` minus that of ``against``, the mean over initial weights.

    Args:
        rows: With ``seed``, ``norm``, ``scale``, ``lr``, ``train_loss`` (None if it diverged) and the metric.
        metric: ``train_accuracy`` or ``test_accuracy``.
        norm, against: Two networks.
        scale: Of the only initial weights to count; None: all.

    Returns:
        NaN where a network has no partner.
    """
    first, second = (_scores(rows, metric, name, scale) for name in (norm, against))
    found: dict[int, list[float]] = {}
    for seed, weights in sorted(first.keys() | second.keys()):
        gap = first.get((seed, weights), math.nan) - second.get((seed, weights), math.nan)
        found.setdefault(seed, []).append(gap)
    return [sum(values) / len(values) for values in found.values()]


def by_weights(rows: Rows, metric: str, pairs: Sequence[tuple[str, str]], scales: Sequence[float]) -> str:
    """A note: the differences for each kind of initial weights by itself, which are not judged."""
    parts = [
        f"with {weights_name(scale)} weights {described(gaps(rows, metric, one, other, scale), f'{one} - {other}')}"
        for scale in scales
        for one, other in pairs
    ]
    return f"By initial weights, {'; '.join(parts)}."


def weights_name(scale: float) -> str:
    """What weights of a scale are called."""
    return {1.0: "torch's", HE_SCALE: "He's"}.get(scale, f"{scale:.3g} times torch's")


def draw_scores(rows: Rows, metric: str, names: Mapping[str, str], *, title: str, of: str) -> alt.HConcatChart:
    """The scores, a dot a seed, by network, a panel for each kind of initial weights.

    Args:
        rows: Of the claim and the control.
        metric: Of the score.
        names: What the networks are called, in order; others are left out.
        title: What was measured, as a sentence.
        of: The axis.
    """
    scales = sorted({float(str(row["scale"])) for row in rows})
    return side_by_side(
        *(
            strips(
                [
                    {"seed": seed, "norm": said, "score": score}
                    for name, said in names.items()
                    for (seed, _), score in _scores(rows, metric, name, scale).items()
                ],
                Along("norm", ""),
                Along("score", of),
                title=f"{title}, {weights_name(scale)} weights",
                subtitle="A dot: a seed, at its rate of the lowest training loss; bar: the median",
            ).properties(width=330)
            for scale in scales
        )
    )


def _scores(rows: Rows, metric: str, norm: str, scale: float | None) -> dict[tuple[int, float], float]:
    best: dict[tuple[int, float], Row] = {}
    for row in rows:
        if row["norm"] == norm and scale in (None, row["scale"]):
            place = int(str(row["seed"])), float(str(row["scale"]))
            if place not in best or _loss(row) < _loss(best[place]):
                best[place] = row
    return {place: _number(row[metric]) for place, row in best.items()}


def _loss(row: Row) -> float:
    loss = _number(row["train_loss"])
    return math.inf if math.isnan(loss) else loss


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
