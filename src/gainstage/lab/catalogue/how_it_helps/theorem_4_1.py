"""Theorem 4.1: what batch norm takes from the gradient of a unit's preactivations over a batch.

For one unit: y its m preactivations, ŷ = (y - μ)/√(σ² + ε), z = γŷ + β, g = ∇_z L. The backward pass is
∇_y L̂ = (γ/σ)(g - ⟨1, g⟩/m - ŷ⟨g, ŷ⟩/m), so with ε = 0, where ‖ŷ‖² = m, ‖∇_y L̂‖² equals the theorem's right side
(γ²/σ²)(‖g‖² - ⟨1, g⟩²/m - ⟨g, ŷ⟩²/m); with ε > 0, where ‖ŷ‖² < m, it is below it. Both sides are divided by
(γ²/σ²)‖g‖², so that an excess is a share of what there would be without the batch's statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, strips
from gainstage.lab.judge import Judgement, Value, bound, described, identity, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.how_it_helps.theorem_4_1"
STANDARD_EPS = 1e-5


@dataclass(frozen=True)
class BoundDesign(Design):
    """Random networks with one normalized layer.

    Attributes:
        problems: Networks for each batch size and ε; each unit of a network is one inequality.
        batches: Sizes m.
        features, units: Of the layer.
        tolerance: Relative, in float64.
    """

    problems: int
    batches: tuple[int, ...]
    features: int
    units: int
    tolerance: float


def judge_bound(rows: Rows, design: BoundDesign) -> Judgement:
    """The inequality holds for every unit; that it is an equality for ε = 0 is reported, with the other reading."""
    excesses = [figure for row in rows for figure in per_seed([row], "excess").values()]
    found = bound(excesses, name="Theorem 4.1's inequality (largest of a network's units)", tolerance=design.tolerance)
    if found.effect is None:
        return found
    return replace(found, why=f"{found.why} {_equality(rows, design)} {_readings(rows)}")


def judge_control(rows: Rows, design: BoundDesign) -> Judgement:
    """Supported if the inequality fails for every unit where the statistics are constants."""
    shortfalls = [design.tolerance - figure for row in rows for figure in per_seed([row], "least_excess").values()]
    return bound(shortfalls, name="The reverse inequality, left > right,", tolerance=0.0)


def _equality(rows: Rows, design: BoundDesign) -> str:
    gaps = list(per_seed([row for row in rows if row["eps"] == 0], "gap").values())
    return f"With ε = 0 it is an equality: {identity(gaps, name='mean gap', tolerance=design.tolerance).why}"


def _readings(rows: Rows) -> str:
    literal = described(list(per_seed(rows, "literal_violated").values()), "the share of units that break it")
    longer = described(list(per_seed(rows, "longer", wide=True).values()), "is longer than ‖∇_z L‖ in a share")
    shorter = described(list(per_seed(rows, "longer", wide=False).values()), "is longer in a share")
    return (
        f"Read with ∇_y L of the network without the norm in the place of ∇_z L, {literal}. Not judged either: where "
        f"γ > σ, ‖∇_y L̂‖ {longer}; where γ ≤ σ it {shorter}."
    )


def draw_bound(rows: Rows) -> alt.LayerChart:
    """Left side over the unnormalized gradient's, by case: what is left, and what the theorem allows."""
    points = [point for row in rows for point in _points(row)]
    return strips(
        points,
        Along("case", ""),
        Along("share", "share of (γ²/σ²)‖∇L‖²"),
        title="Squared gradient of the preactivations, and the theorem's right side",
        subtitle="A dot: the mean over the units of one network; the smallest batches only",
    )


def _points(row: Mapping[str, Value]) -> list[dict[str, Value]]:
    if not row["smallest"]:
        return []
    kind = f"ε = {row['eps']:g}" if row["part"] == "claim" else "statistics held constant (control)"
    return [
        {"seed": row["seed"], "case": f"{side}, {kind}", "share": row[column]}
        for side, column in (("left side", "left"), ("right side", "right"))
    ]


CLAIM = Claim(
    id="theorem-4-1",
    group="how-it-helps",
    statement=(
        "Batch normalization shortens the gradient of a unit's preactivations y over a batch of m: ‖∇_y L̂‖² ≤ "
        "(γ²/σ²)(‖∇L‖² - ⟨1, ∇L⟩²/m - ⟨∇L, ŷ⟩²/m), with ŷ the normalized preactivations and ∇L the gradient at the "
        "norm's output."
    ),
    source="Santurkar et al. 2018, How does batch normalization help optimization?, Theorem 4.1",
    prediction="Holds for every unit, as the exact backward pass says: with equality at ε = 0 (Santurkar et al.).",
    scope=Scope(
        "one normalized linear layer of 8 units with random γ and β, a random tanh or ReLU network behind it",
        "normal inputs with a random mean, random targets; cross-entropy or squared error",
        "batches of 4, 16 and 64, ε = 0 and 1e-5, float64",
    ),
    caveats=(
        "∇L is taken where the norm's output enters the rest of the network. For the network without the norm, whose "
        "rest is entered by y itself, the gradient is another, and the inequality need not hold.",
        "The right side has the factor γ²/σ²: with γ > σ it may exceed ‖∇L‖², and the gradient may be longer for the "
        "norm. What is always shortened is the gradient that has the factor already.",
    ),
    designs={"quick": BoundDesign(seeds=5, problems=20, batches=(4, 16, 64), features=12, units=8, tolerance=1e-10)},
    smoke=BoundDesign(seeds=2, problems=2, batches=(4, 8), features=3, units=2, tolerance=1e-10),
    absent={"full": "It is exact: a larger run would show the same."},
    measure=Deferred(_HOME, "measure"),
    judge=judge_bound,
    control=Control(
        "With μ and σ held constant in the backward pass nothing is taken from the gradient, and the inequality must "
        "fail for every unit.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_bound,
)
