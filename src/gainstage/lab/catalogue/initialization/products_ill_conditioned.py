"""Products of M random Gaussian matrices are ill-conditioned, exponentially in M; of orthogonal ones they are not.

In the long run each factor of size N multiplies the condition number by exp ½(ψ(N/2) - ψ(1/2)) ≈ 2.7·√(N/2), the
ratio of the largest to the smallest Lyapunov exponent: 19 at N = 100, 60 at N = 1000. The first one has some 4N.
float64 cannot tell a condition number from 1/ε = 4.5e15; ``factors`` ends where this estimate is still a thousand
times below, and a median beyond `_CEILING` counts as not measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, curves
from gainstage.lab.judge import Judgement, combine, described, identity, number, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.initialization.products_ill_conditioned"
# A condition number that doubles with each factor is the least that is called exponential here.
_GROWTH = math.log(2)
# Slope of ln κ in the second half of the factors over that in the first: 1 if exponential; 0.34 for a power M^p over
# eight factors, 0.37 over six. The limit lies halfway.
_STEADY = 2 / 3
_CEILING = 1e15
# ψ(1/2) = -γ - 2 ln 2
_DIGAMMA_HALF = -1.9635100260214235


@dataclass(frozen=True)
class ProductsDesign(Design):
    """Products of up to ``factors`` matrices of size ``width``, ``draws`` of them a seed.

    Attributes:
        tolerance: Of the condition number of orthogonal products, above 1: what rounding may cost.
    """

    width: int
    factors: int
    draws: int
    tolerance: float = 1e-10

    @property
    def growth(self) -> float:
        """½(ψ(N/2) - ψ(1/2)), what theory adds to ln κ with each factor in the long run."""
        return 0.5 * (math.log(self.width / 2) - 1 / self.width - _DIGAMMA_HALF)


def judge_products(rows: Rows, design: ProductsDesign) -> Judgement:
    """ln of the median condition number rises by ln 2 a factor or more, and as steeply late as early."""
    logs = [_logs(rows, seed, design) for seed in sorted({int(number(row["seed"])) for row in rows})]
    slopes = [_slope(values) for values in logs]
    steady = [_steadiness(values) for values in logs]
    growth = one_sided(
        slopes, name="slope of ln(median condition number) a factor", seeds=design.seeds, side="above", limit=_GROWTH
    )
    shape = one_sided(
        steady, name="slope in the second half of the factors over that in the first", seeds=design.seeds,
        side="above", limit=_STEADY,
    )  # fmt: skip
    last = described([values[-1] / math.log(10) for values in logs], f"log₁₀ of it at {design.factors} factors")
    found = combine(growth, shape)
    return replace(found, why=f"{found.why} {last}. Theory's slope in the long run is {design.growth:.3f}.")


def judge_control(rows: Rows, design: ProductsDesign) -> Judgement:
    """Products of orthogonal matrices have a condition number of 1."""
    excesses = [abs(found - 1) for row in rows for found in per_seed([row], "condition").values()]
    return identity(excesses, name="|condition number - 1| of orthogonal products", tolerance=design.tolerance)


def _logs(rows: Rows, seed: int, design: ProductsDesign) -> list[float]:
    """ln of a seed's condition numbers by factors; NaN where there is none that float64 can tell."""
    found = [
        per_seed(rows, "condition", seed=seed, factors=m).get(seed, math.nan) for m in range(1, design.factors + 1)
    ]
    return [math.log(value) if 0 < value < _CEILING else math.nan for value in found]


def _steadiness(values: Sequence[float]) -> float:
    """The slope of the second half over that of the first; NaN where the first has none."""
    half = len(values) // 2
    early = _slope(values[:half])
    return _slope(values[half:]) / early if early else math.nan


def _slope(values: Sequence[float]) -> float:
    """Least-squares slope over equally spaced points."""
    middle = (len(values) - 1) / 2
    scale = sum((index - middle) ** 2 for index in range(len(values)))
    return sum((index - middle) * value for index, value in enumerate(values)) / scale


def draw_products(rows: Rows) -> alt.LayerChart:
    """The median condition number over the number of factors."""
    names = {"gaussian": "Gaussian", "orthogonal": "orthogonal (control)"}
    return curves(
        [{**row, "what": names[str(row["draw"])]} for row in rows],
        Along("factors", "factors of the product"),
        Along("condition", "median condition number", log=True),
        Along("what", "matrices"),
        title="Condition number of products of random square matrices",
        subtitle="Faint: one seed, the median of its draws; bold: median over seeds",
    )


CLAIM = Claim(
    id="products-ill-conditioned",
    group="initialization",
    statement=(
        "The product of M random Gaussian matrices is ill-conditioned: the ratio of its largest to its smallest "
        "singular value grows exponentially with M. So does that of a deep linear network at initialization."
    ),
    source="Bjorck et al. 2018, Understanding Batch Normalization, section 4",
    citation="unread",
    prediction="ln of the median condition number rises linearly with M; it stays 0 for orthogonal matrices.",
    scope=Scope(
        "products of independent square matrices, which are deep linear networks without biases",
        "normal entries; the condition number does not depend on their variance",
        "N = 100, 1 to 8 factors (quick); N = 1000, 1 to 6 factors (full): float64 ends there",
    ),
    caveats=(
        "float64 cannot tell a condition number beyond 4.5e15, so larger M was not measured.",
        "No variance mends it: He's and Xavier's rules set the scale, and all singular values take it alike.",
        "Single draws scatter over orders of magnitude, the smallest singular value most; so medians are judged.",
    ),
    designs={
        "quick": ProductsDesign(seeds=8, width=100, factors=8, draws=40),
        "full": ProductsDesign(seeds=10, width=1000, factors=6, draws=20),
    },
    smoke=ProductsDesign(seeds=2, width=6, factors=4, draws=3),
    measure=Deferred(_HOME, "measure"),
    judge=judge_products,
    control=Control(
        "Products of random orthogonal matrices must have a condition number of 1.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_products,
)
