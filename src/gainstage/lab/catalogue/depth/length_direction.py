"""Descent on length and direction apart (GDNP) has a linear rate on a Gaussian halfspace problem.

With z ~ N(u, Σ), S = E zzᵀ and w̃ = g·w/√(wᵀSw), the batch norm of a linear unit, f(w̃) = E ln(1 + e^(zᵀw̃)) is minimized
by an exact line search in g and steps ‖w‖³/(L·|g·h|) in w, norms and eigenvalues L and μ of S. So w descends on
ρ(w) = -(uᵀw)²/wᵀSw, ρ(w_t) - ρ* ≤ (1 - μ/L)^(2t) (ρ(w_0) - ρ*). A linear rate is told from a slower one by the
slopes of ln error in the last and the middle third of the steps: equal if linear; for any power of t the last is 0.585
of the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves
from gainstage.lab.judge import Judgement, bound, combine, described, one_sided, per_seed, worst_per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.depth.length_direction"
NAMES: Mapping[str, str] = {
    "apart": "length and direction apart",
    "plain": "plain gradient descent",
    "decaying": "apart, steps / (t + 1) (control)",
}
# Midway between a linear rate, 1, and a power of t, ln(3/2)/ln 2 = 0.585.
_LINEAR = 0.8
_ROUNDING = 1e-6


@dataclass(frozen=True)
class HalfspaceDesign(Design):
    """Gaussian halfspace problems, one a seed.

    Attributes:
        dimension: Of the inputs.
        condition: Of Σ, whose eigenvalues are evenly spaced in the logarithm.
        separation: √(uᵀΣ⁻¹u): at 1 a sixth of the points lie on the wrong side of the best plane.
        steps: Many times the condition, so that the slowest direction decides; divisible by three.
    """

    dimension: int
    condition: float
    separation: float
    steps: int


def judge_linear(rows: Rows, design: HalfspaceDesign) -> Judgement:
    """The loss falls linearly, and the direction at least at the stated rate."""
    ratio = one_sided(
        list(per_seed(rows, "slope_ratio", run="apart").values()), seeds=design.seeds, side="above", limit=_LINEAR,
        name="slope of ln(f - f*), last / middle third of the steps",
    )  # fmt: skip
    rate = bound(
        list(worst_per_seed(rows, "excess", run="apart").values()), tolerance=_ROUNDING,
        name="ln[(ρ_t - ρ*)/(ρ_0 - ρ*)] ≤ 2t ln(1 - μ/L) at every step",
    )  # fmt: skip
    found = combine(ratio, rate)
    beside = [
        described(list(per_seed(rows, "slope", run=run).values()), f"slope of ln(f - f*) a step, {NAMES[run]},")
        for run in ("apart", "plain")
    ]
    return replace(found, why=f"{found.why} Beside it: {'; '.join(beside)}.")


def judge_control(rows: Rows, design: HalfspaceDesign) -> Judgement:
    """Steps that decay as 1/(t + 1) converge more slowly than linearly."""
    figures = list(per_seed(rows, "slope_ratio", run="decaying").values())
    name = "slope of ln(f - f*), last / middle third of the steps"
    return one_sided(figures, name=name, seeds=design.seeds, side="below", limit=_LINEAR)


def draw_errors(rows: Rows) -> alt.LayerChart:
    """f - f* by step."""
    points = [{**row, "what": NAMES[str(row["run"])]} for row in chosen(rows, kind="step")]
    return curves(
        points, Along("step", "step"), Along("gap", "f - f*", log=True), Along("what", "descent"),
        title="Excess loss of a Gaussian halfspace problem by step",
        subtitle="Faint: seeds; bold: their median. A straight line is a linear rate.",
    )  # fmt: skip


CLAIM = Claim(
    id="length-direction",
    group="depth",
    statement=(
        "Batch norm splits a weight vector into length and direction; gradient descent that treats the two apart "
        "(exact in the length, with an adapted step in the direction) converges at a linear rate when it learns a "
        "halfspace from Gaussian inputs: the error falls by a constant factor a step."
    ),
    source=(
        "Kohler et al. 2018, Exponential convergence rates for batch normalization: the power of length-direction "
        "decoupling in non-convex optimization"
    ),
    citation="unread",
    prediction="ln error falls on a straight line, and the direction's at least by 2 ln(1 - μ/L) a step.",
    scope=Scope(
        "one linear unit with batch norm (no centering), logistic loss, full expectations instead of batches",
        "Gaussian inputs of condition 20 with a mean; halves overlap",
        "20 dimensions, 201 steps (quick); 200 dimensions of condition 100, 999 steps (full)",
    ),
    caveats=(
        "It is an algorithm of its own (GDNP), with steps that know S, u and the best length: not batch norm as it is "
        "trained by stochastic gradient descent.",
        "Plain gradient descent on this loss, which is convex, is linear too; its slope stands beside. The claim is "
        "not that only the split is linear.",
        "Reconstructed from quotations of the theorem; the step size was derived anew from it.",
    ),
    designs={
        "quick": HalfspaceDesign(seeds=8, dimension=20, condition=20.0, separation=1.0, steps=201),
        "full": HalfspaceDesign(seeds=10, dimension=200, condition=100.0, separation=1.0, steps=999),
    },
    smoke=HalfspaceDesign(seeds=2, dimension=3, condition=3.0, separation=1.0, steps=12),
    measure=Deferred(_HOME, "measure"),
    judge=judge_linear,
    control=Control(
        "With steps that decay as 1/(t + 1) convergence must not be linear.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_errors,
)
