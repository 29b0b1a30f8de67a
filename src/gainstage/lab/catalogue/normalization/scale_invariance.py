"""BN(aWu) = BN(Wu), with the gradients that follow, and the ε that sets the limit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.judge import Judgement, bound, identity, number, per_seed, worst_per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.scale_invariance"
STANDARD_EPS = 1e-5
ERRORS = {
    "output_error": "output",
    "input_gradient_error": "gradient of u",
    "weight_gradient_error": "a × gradient of aW",
    "alignment": "w · gradient of a unit",
}
# A relative error of 0 has no place on a logarithmic axis; half a rounding error of float64 stands for it.
_FLOOR = 1e-16


@dataclass(frozen=True)
class ScaleDesign(Design):
    """The layer, and the range of a.

    Attributes:
        eps: So small that ε/σ² is below the rounding of float64 at the smallest a; torch does not take 0.
        decades: a runs from 10^-decades to 10^decades in steps of half a decade.
        tolerance: Relative, in float64.
        broken: Relative error of the output that must be reached at every a ≠ 1 without normalization.
        low_precision: Also report float16 and bfloat16, which are not judged.
    """

    batch: int
    fan_in: int
    units: int
    decades: int
    eps: float
    tolerance: float
    broken: float
    low_precision: bool


def judge_identity(rows: Rows, design: ScaleDesign) -> Judgement:
    """Exact: the largest of the four errors over all a decides, in float64 with the tiny ε."""
    exact = {"dtype": "float64", "eps": design.eps}
    columns = [list(worst_per_seed(rows, name, **exact).values()) for name in ERRORS]
    errors = [figure for column in columns for figure in column]
    name = f"relative error of the four identities over a = 1e-{design.decades} ... 1e{design.decades}"
    found = replace(identity(errors, name=name, tolerance=design.tolerance), n=len(columns[0]))
    return replace(found, why=f"{found.why} {_limit(rows)}")


def judge_control(rows: Rows, design: ScaleDesign) -> Judgement:
    """Supported if without normalization the output changes at every a ≠ 1."""
    shortfalls = [design.broken - figure for row in rows for figure in per_seed([row], "output_error").values()]
    return bound(shortfalls, name=f"{design.broken:g} ≤ relative change of the output", tolerance=0.0)


def _limit(rows: Rows) -> str:
    scales = sorted({number(row["scale"]) for row in rows if row["eps"] == STANDARD_EPS})
    broken = [a for a in scales if _mean(rows, a) > 0.05]
    if not broken:
        return ""
    return (
        f"With PyTorch's ε = {STANDARD_EPS:g} the output is off by {_mean(rows, broken[-1]):.0%} at a = "
        f"{broken[-1]:.2g} and by {_mean(rows, broken[0]):.0%} at a = {broken[0]:.2g} (σ = 1 at a = 1)."
    )


def _mean(rows: Rows, scale: float) -> float:
    figures = per_seed(rows, "output_error", dtype="float64", eps=STANDARD_EPS, scale=scale).values()
    return sum(figures) / max(len(figures), 1)


def draw_errors(rows: Rows) -> alt.FacetChart:
    """Error over a: with a tiny ε, with PyTorch's, and without normalization."""
    import altair as alt

    names = {"0": "no normalization", f"{STANDARD_EPS:g}": "BatchNorm, ε = 1e-5 (PyTorch)"}
    seed = rows[0]["seed"]
    points = [
        {
            "scale": row["scale"],
            "error": max(number(row[column]), _FLOOR),
            "what": label,
            "norm": names.get(f"{row['eps']:g}", f"BatchNorm, ε = {row['eps']:g}"),
        }
        for row in rows
        if row["dtype"] == "float64" and row["seed"] == seed and row["scale"] != 1.0
        for column, label in ERRORS.items()
    ]
    x = (
        alt.X("scale:Q", title="scale a of the weights")
        .scale(type="log")
        .axis(format="e", values=[1e-6, 1e-3, 1, 1e3, 1e6])
    )
    y = (
        alt.Y("error:Q", title="relative error against a = 1 (0 drawn at 1e-16)")
        .scale(type="log")
        .axis(format="e", tickCount=6)
    )
    chart = alt.Chart(alt.InlineData(points)).mark_line(point=True).encode(
        x, y, alt.Color("what:N", title="identity", sort=list(ERRORS.values())).legend(orient="bottom")
    )  # fmt: skip
    title = "How far four identities of batch norm are off over the scale of the weights, by ε and without a norm"
    return (
        chart.properties(width=240, height=240).facet(column=alt.Column("norm:N", title=None)).properties(title=title)
    )


_QUICK = ScaleDesign(
    seeds=5,
    batch=64,
    fan_in=32,
    units=16,
    decades=6,
    eps=1e-30,
    tolerance=1e-9,
    broken=0.1,
    low_precision=False,
)

CLAIM = Claim(
    id="scale-invariance",
    group="normalization",
    statement=(
        "Batch normalization ignores the scale of the weights before it: for a > 0, BN(aWu) = BN(Wu), ∂/∂u "
        "is unchanged, and ∂/∂(aW) = (1/a) ∂/∂W, so larger weights get smaller gradients."
    ),
    source="Ioffe & Szegedy 2015, §3.3",
    prediction="All three hold, and ⟨w, ∂L/∂w⟩ = 0 for each unit: exact in float64, up to ε.",
    scope=Scope(
        "one linear layer, torch.nn.functional.batch_norm in training mode, squared error",
        "standard normal inputs, weights scaled so that σ = 1 at a = 1",
        "a from 1e-6 to 1e6 with ε = 1e-30; ε = 1e-5 (full: half precision too) is shown, not judged",
    ),
    caveats=(
        "ε breaks it: the output shrinks to 1/√(1 + ε/(a²σ²)) of itself, by 29 % at a²σ² = ε.",
        "a must be positive: a negative a flips the sign of the output.",
        "From ⟨w, g⟩ = 0 follows ‖w - ηg‖² = ‖w‖² + η²‖g‖²: under plain SGD the weights can only grow.",
    ),
    designs={
        "quick": _QUICK,
        "full": replace(_QUICK, seeds=10, batch=512, fan_in=256, units=128, low_precision=True),
    },
    smoke=replace(_QUICK, seeds=2, batch=8, fan_in=4, units=3, decades=1, low_precision=True),
    measure=Deferred(_HOME, "measure"),
    judge=judge_identity,
    control=Control(
        "Without normalization the output must change at every a ≠ 1.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_errors,
)
