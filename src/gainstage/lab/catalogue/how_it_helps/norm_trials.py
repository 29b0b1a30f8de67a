"""What claims about other norms in the place of batch norm share: runs and their score.

A network's score is its accuracy at the learning rate of the grid that ends with the lowest training loss, for each
seed and kind of initial weights by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gainstage.lab.catalogue.how_it_helps.along_training import HE_SCALE
from gainstage.lab.claim import Design, Rows
from gainstage.lab.figures import Along, side_by_side, strips
from gainstage.lab.judge import Row, described, number

if TYPE_CHECKING:
    import altair as alt

# On seeds that are not judged the best rates of trained networks lay between 0.1 and 1; the grid has a step more on
# either side. Steps of five, as the budget of quick has room for four rates.
RATES = (0.02, 0.1, 0.5, 2.5)
# Eight of the 397 test pictures, and about what the paper's curves differ by from run to run.
COMPARABLE = 0.02


@dataclass(frozen=True)
class TrialDesign(Design):
    """Runs of plain gradient descent.

    Attributes:
        network, data: As `gainstage.lab.apparatus.walk` knows them, or references ``package.module:function``.
        options: Keywords of the network but for its norm.
        scales: Of the weights that torch draws, with variance 1/(3 fan_in); √6 makes them He's.
        lrs: The grid, wide enough that the best rate lies within it; `at_the_ends` tells where it did not.
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


def gaps(rows: Rows, metric: str, norm: str, against: str, scale: float) -> list[float]:
    """One figure a seed: the score of ``norm`` minus that of ``against``.

    Args:
        rows: With ``seed``, ``norm``, ``scale``, ``lr``, ``train_loss`` (None if it diverged) and the metric.
        metric: ``train_accuracy`` or ``test_accuracy``.
        norm, against: Two networks.
        scale: Of the initial weights.

    Returns:
        NaN where a network has no partner.
    """
    first, second = (_scores(rows, metric, name, scale) for name in (norm, against))
    return [first.get(seed, math.nan) - second.get(seed, math.nan) for seed in sorted(first.keys() | second.keys())]


def not_judged(rows: Rows, metric: str, pairs: Sequence[tuple[str, str]], scales: Sequence[float]) -> str:
    """A note: the differences with initial weights that no judge looks at."""
    parts = [
        f"with {weights_name(scale)} weights {described(gaps(rows, metric, one, other, scale), f'{one} - {other}')}"
        for scale in scales
        for one, other in pairs
    ]
    return f"Not judged: {'; '.join(parts)}."


def at_the_ends(rows: Rows, lrs: Sequence[float]) -> str:
    """A note: for which networks the best rate is the lowest or the highest of the grid, so that others may be better.

    Args:
        rows: As `gaps` takes them.
        lrs: The grid.
    """
    found: dict[tuple[str, float], list[bool]] = {}
    for norm, scale in sorted({(str(row["norm"]), number(row["scale"])) for row in rows}):
        chosen = _best(rows, norm, scale).values()
        found[norm, scale] = [row["lr"] in (min(lrs), max(lrs)) for row in chosen]
    told = [
        f"{norm} with {weights_name(scale)} weights ({sum(ends)} of {len(ends)} seeds)"
        for (norm, scale), ends in found.items()
        if any(ends)
    ]
    return f"The best rate is an end of the grid for: {'; '.join(told) or 'no network'}."


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
    scales = sorted({number(row["scale"]) for row in rows})
    return side_by_side(
        *(
            strips(
                [
                    {"seed": seed, "norm": said, "score": score}
                    for name, said in names.items()
                    for seed, score in _scores(rows, metric, name, scale).items()
                ],
                Along("norm", ""),
                Along("score", of),
                title=f"{title}, {weights_name(scale)} weights",
                subtitle="A dot: a seed, at its rate of the lowest training loss; bar: the median",
            ).properties(width=330)
            for scale in scales
        )
    )


def _scores(rows: Rows, metric: str, norm: str, scale: float) -> dict[int, float]:
    return {seed: number(row[metric]) for seed, row in _best(rows, norm, scale).items()}


def _best(rows: Rows, norm: str, scale: float) -> dict[int, Row]:
    best: dict[int, Row] = {}
    for row in rows:
        if row["norm"] == norm and row["scale"] == scale:
            seed = int(number(row["seed"]))
            if seed not in best or _loss(row) < _loss(best[seed]):
                best[seed] = row
    return best


def _loss(row: Row) -> float:
    loss = number(row["train_loss"])
    return math.inf if math.isnan(loss) else loss
