"""Trainable depth follows the depth scale of mean-field theory over the variance of the weights.

The statistic was fixed before any seed that counts. For each σ_w² the trainable depth L* is where the training accuracy
falls through 55 %, halfway between chance and all, between depths by interpolation in ln depth, and within the range of
depths that were trained. Per seed, the least-squares slope of ln L* over ln 6ξ, with 6ξ held within the same range: 1
if L* is proportional to ξ, 0 if it does not depend on it. The limit lies halfway. The factor 6 is not judged: it
depends on how long networks train.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, curves, heat, side_by_side
from gainstage.lab.judge import Judgement, Row, described, number, one_sided

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.initialization.edge_of_chaos"
_LIMIT = 0.5
_TRAINED = 0.55


@dataclass(frozen=True)
class EdgeDesign(Design):
    """tanh perceptrons over the variance of their weights and their depth.

    Attributes:
        depths: Of the networks; the deepest alone is trained with skips.
        weight_vars, bias_var: σ_w² and σ_b²; the edge of chaos lies at σ_w² = 1.76 for σ_b² = 0.05.
        device: ``auto`` takes a GPU if there is one.
    """

    width: int
    depths: tuple[int, ...]
    steps: int
    lr: float = 0.05
    batch_size: int = 64
    weight_vars: tuple[float, ...] = (0.4, 0.6, 0.8, 1.1, 1.4, 1.76, 2.5, 4.0, 8.0, 16.0)
    bias_var: float = 0.05
    data: str = "gainstage.lab.apparatus.data:digits"
    device: str = "cpu"


def judge_edge(rows: Rows, design: EdgeDesign) -> Judgement:
    """ln of the trainable depth rises with ln of the depth scale, by more than half as much."""
    found = _following(rows, design, "above")
    shares = [_agreement(rows, seed) for seed in _seeds(rows)]
    ratios = [_ratio(rows, seed, design) for seed in _seeds(rows)]
    note = (
        f"Not judged: {described(shares, 'the share of cells that train just where depth ≤ 6ξ')}; "
        f"{described(ratios, 'L*/ξ (geometric mean), where L* and 6ξ lie within the range,')}."
    )
    return replace(found, why=f"{found.why} {note}")


def judge_control(rows: Rows, design: EdgeDesign) -> Judgement:
    """With skips it does not."""
    return _following(rows, design, "below")


def trainable_depth(accuracies: Mapping[int, float], depths: Sequence[int]) -> float:
    """Where the accuracy first falls through the limit, by interpolation in ln depth; NaN if one is missing.

    Args:
        accuracies: By depth.
        depths: The range: the shallowest is returned where nothing trains, the deepest where all does.
    """
    measured = sorted(accuracies)
    if not measured or any(math.isnan(accuracies[depth]) for depth in measured):
        return math.nan
    before: int | None = None
    for depth in measured:
        if accuracies[depth] < _TRAINED:
            return depths[0] if before is None else _crossing(before, depth, accuracies)
        before = depth
    return depths[-1]


def _crossing(shallow: int, deep: int, accuracies: Mapping[int, float]) -> float:
    share = (accuracies[shallow] - _TRAINED) / (accuracies[shallow] - accuracies[deep])
    return shallow * (deep / shallow) ** share


def _following(rows: Rows, design: EdgeDesign, side: str) -> Judgement:
    slopes = [_slope(_pairs(rows, seed, design)) for seed in _seeds(rows)]
    return one_sided(
        slopes, name="slope of ln(trainable depth) over ln(6ξ)", seeds=design.seeds,
        side="above" if side == "above" else "below", limit=_LIMIT,
    )  # fmt: skip


def _pairs(rows: Rows, seed: int, design: EdgeDesign) -> list[tuple[float, float]]:
    """ln 6ξ within the range, and ln L*, for each σ_w²."""
    low, high = design.depths[0], design.depths[-1]
    found = list[tuple[float, float]]()
    for weight_var in design.weight_vars:
        here = [row for row in rows if row["seed"] == seed and row["weight_var"] == weight_var]
        accuracies = {int(number(row["depth"])): number(row["accuracy"]) for row in here}
        scale = min(max(number(here[0]["six_xi"]), low), high) if here else math.nan
        found.append((math.log(scale), math.log(trainable_depth(accuracies, design.depths))))
    return found


def _slope(pairs: Sequence[tuple[float, float]]) -> float:
    x, y = (sum(pair[axis] for pair in pairs) / len(pairs) for axis in (0, 1))
    spread = sum((a - x) ** 2 for a, _ in pairs)
    return sum((a - x) * (b - y) for a, b in pairs) / spread if spread else math.nan


def _agreement(rows: Rows, seed: int) -> float:
    here = [row for row in rows if row["seed"] == seed]
    right = [(number(row["accuracy"]) >= _TRAINED) == (number(row["depth"]) <= number(row["six_xi"])) for row in here]
    return sum(right) / len(right)


def _ratio(rows: Rows, seed: int, design: EdgeDesign) -> float:
    ends = (math.log(design.depths[0]), math.log(design.depths[-1]))
    inside = [
        y - x + math.log(6) for x, y in _pairs(rows, seed, design) if ends[0] < x < ends[1] and ends[0] < y < ends[1]
    ]
    return math.exp(sum(inside) / len(inside)) if inside else math.nan


def _seeds(rows: Rows) -> list[int]:
    return sorted({int(number(row["seed"])) for row in rows})


def draw_edge(rows: Rows) -> alt.HConcatChart:
    """The accuracy over depth and weight variance, and the trainable depth beside 6ξ."""
    x = Along("weight_var", "weight variance σ_w² (times fan-in)", log=True)
    plain = [row for row in rows if row["part"] == "claim"]
    grid = heat(
        plain, replace(x, log=False), Along("depth", "hidden layers"), Along("accuracy", "training accuracy"),
        title="Training accuracy of tanh perceptrons", subtitle="Each field: mean over seeds",
    )  # fmt: skip
    lines = curves(
        [*_boundary(plain, "measured"), *_boundary(plain, "6ξ of theory"), *_boundary(rows, "with skips (control)")],
        x, Along("depth", "trainable depth, within the range trained (layers)", log=True), Along("what", "depth"),
        title="Trainable depth and six depth scales", subtitle="Faint: one seed; bold: median over seeds",
    )  # fmt: skip
    return side_by_side(grid, lines)


def _boundary(rows: Sequence[Row], what: str) -> list[Row]:
    depths = sorted({int(number(row["depth"])) for row in rows})
    part = [row for row in rows if (row["part"] == "control") == what.startswith("with skips")]
    found = list[Row]()
    for seed, weight_var in dict.fromkeys((row["seed"], row["weight_var"]) for row in part):
        here = [row for row in part if row["seed"] == seed and row["weight_var"] == weight_var]
        scale = min(max(number(here[0]["six_xi"]), depths[0]), depths[-1])
        measured = trainable_depth({int(number(row["depth"])): number(row["accuracy"]) for row in here}, depths)
        depth = scale if what.startswith("6ξ") else measured
        found.append({"seed": seed, "weight_var": weight_var, "what": what, "depth": depth})
    return found


CLAIM = Claim(
    id="edge-of-chaos",
    group="initialization",
    statement=(
        "How deep a network can be and still train grows in proportion to the depth scale ξ that mean-field theory "
        "derives from the variances of its weights and biases; most at the edge of chaos, where ξ diverges."
    ),
    source="Schoenholz et al. 2017, Deep Information Propagation",
    citation="quoted",
    prediction="The slope of ln(trainable depth) over ln(6ξ), within the range of depths, lies above 1/2.",
    scope=Scope(
        "tanh perceptrons, all weights N(0, σ_w²/n), biases N(0, 0.05)",
        "scikit-learn digits, not MNIST",
        "σ_w² from 0.4 to 16; width 64, 4 to 32 layers, 60 steps (quick); width 300, to 300 layers, 2000 steps (full); "
        "SGD at one learning rate",
    ),
    caveats=(
        "The paper's factor, up to about 6ξ layers, is not judged: networks that train longer are trainable to more "
        "multiples of ξ. The reason tells the factor that was measured.",
        "Proportional is judged by half: a slope above 1/2 in logarithms, where 1 would be exact.",
        "One learning rate for all. On the chaotic side gradients explode, and a smaller one may train deeper.",
        "Trainable depths, and 6ξ, beyond the deepest network count as its depth.",
    ),
    designs={
        "quick": EdgeDesign(seeds=5, width=64, depths=(4, 8, 16, 32), steps=60),
        "full": EdgeDesign(
            seeds=10, width=300, depths=(5, 10, 20, 40, 80, 150, 300), steps=2000, lr=0.01, device="auto"
        ),
    },
    smoke=EdgeDesign(seeds=2, width=8, depths=(1, 2), steps=2, weight_vars=(0.4, 1.76, 16.0)),
    measure=Deferred(_HOME, "measure"),
    judge=judge_edge,
    control=Control(
        "With a skip around each layer the slope must lie below 1/2: signals need not pass the layers there.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_edge,
)
