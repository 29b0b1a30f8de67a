"""Batch norm keeps the rank of a batch's representation up at any depth; without it the rank falls to one.

Three measures are called rank here, of H with one column a sample and M = HHᵀ: the judged one is r = tr(M)²/‖M‖²_F, the
lower bound that the theorem is about; rank_τ, the number of eigenvalues of M/N that are at least τ; and the stable rank
‖H‖²_F/‖H‖²_2. They are reported side by side, with Roy and Vetterli's effective rank.

How deep. In H + γWH with Var W = 1/d the logarithms of neighboring singular values part by about γ²/d a layer, so depth
is counted in d: after 150·d layers at γ = 1/4 without a norm the second is below the first by e^-9, and r - 1 of
the order e^-19.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves
from gainstage.lab.judge import Judgement, combine, described, equality, number, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.depth.rank_collapse"
NAMES: Mapping[str, str] = {
    "batch": "batch norm",
    "centered": "batch norm, centered",
    "none": "no norm",
    "layer": "layer norm (control)",
}
RANKS = ("trace_rank", "tau_rank", "stable_rank", "effective_rank")
# Ω(√d): an exponent of at least 1/2, with nothing granted. What widths below a hundred do to it is taken out where it
# comes from: r is at least 1 at any width, also where it has collapsed. r = 1 + c√d satisfies the theorem, and r itself
# has there an exponent of (1 - 1/r)/2, which nears 1/2 from below as d grows; r - 1 has 1/2 at every d.
_EXPONENT = 0.5
# "Flat": the mean over the last quarter within a quarter of that over the second; a collapse to 1 is ln 4 or more.
_FLAT = 0.25
_COLLAPSED = 0.1


@dataclass(frozen=True)
class CollapseDesign(Design):
    """Linear residual nets H ← norm(H + γWH), as many samples as units.

    Attributes:
        widths: d = N.
        layers_a_unit: Layers are this times d.
        gamma: γ, the strength of the residual branch, small in the theorem.
        plain_width, plain_layers: Of nets without skips, H ← norm(WH), which are reported beside.
        tau: Of rank_τ.
        points: How often ranks are taken on the way, evenly spaced.
    """

    widths: tuple[int, ...]
    layers_a_unit: int
    gamma: float
    plain_width: int
    plain_layers: int
    tau: float = 0.01
    points: int = 40


def judge_rank(rows: Rows, design: CollapseDesign) -> Judgement:
    """r - 1 with batch norm grows with the width by an exponent of 1/2 or more, r is flat in depth; without it 1."""
    exponents = list(per_seed(rows, "exponent", net="batch").values())
    growth = one_sided(
        exponents, name="exponent of r - 1 over the width d, batch norm", seeds=design.seeds, side="above",
        limit=_EXPONENT,
    )  # fmt: skip
    flat = equality(
        list(per_seed(rows, "change", net="batch").values()), seeds=design.seeds, target=0.0, tolerance=_FLAT,
        name="ln of r over the last quarter of layers / over the second, batch norm",
    )  # fmt: skip
    gone = _collapsed(rows, design, "none")
    found = combine(growth, flat, gone)
    return replace(found, why=f"{found.why} {_other_ranks(rows, design)}")


def judge_control(rows: Rows, design: CollapseDesign) -> Judgement:
    """Layer norm rescales columns only, which commutes with linear maps: r falls to 1 as without a norm."""
    return _collapsed(rows, design, "layer")


def _collapsed(rows: Rows, design: CollapseDesign, net: str) -> Judgement:
    figures = list(per_seed(rows, "trace_rank", net=net, kind="end").values())
    name = f"r in the last layer, mean over widths ({NAMES[net]})"
    return equality(figures, name=name, seeds=design.seeds, target=1.0, tolerance=_COLLAPSED)


def _other_ranks(rows: Rows, design: CollapseDesign) -> str:
    """All measures, at the largest width and without skips."""
    width = max(design.widths)
    texts = [
        f"{name} {_mean(rows, name, net='batch', width=width):.3g} with batch norm, "
        f"{_mean(rows, name, net='none', width=width):.3g} without"
        for name in RANKS
    ]
    plain = [_mean(rows, "trace_rank", net=net, kind="plain") for net in ("batch", "centered", "none")]
    over = described(list(per_seed(rows, "over_root", net="batch").values()), "r/√d with batch norm, mean over widths,")
    own = described(list(per_seed(rows, "rank_exponent", net="batch").values()), "The exponent of r itself")
    return (
        f"At d = {width}, last quarter: {'; '.join(texts)}. {over}. {own}. Without skips, d = {design.plain_width} "
        f"after {design.plain_layers} layers: r = {plain[0]:.3g} with batch norm, {plain[1]:.3g} if it is centered, "
        f"{plain[2]:.3g} without."
    )


def _mean(rows: Rows, name: str, *, net: str, kind: str = "late", width: int | None = None) -> float:
    where: dict[str, str | int] = {"net": net, "kind": kind}
    figures = list(per_seed(rows, name, **where, **({"width": width} if width else {})).values())
    return sum(figures) / len(figures) if figures else float("nan")


def draw_ranks(rows: Rows) -> alt.LayerChart:
    """r by depth, at the middle width."""
    widths = sorted({int(number(row["width"])) for row in chosen(rows, kind="depth")})
    width = widths[len(widths) // 2]
    points = [{**row, "what": NAMES[str(row["net"])]} for row in chosen(rows, kind="depth", width=width)]
    return curves(
        points, Along("layer", "layer"), Along("trace_rank", "r = tr(M)²/‖M‖²_F", log=True), Along("what", "norm"),
        title=f"The rank r of a batch by depth, linear residual nets of width {width}",
        subtitle=f"Faint: seeds; bold: their median; √d = {width**0.5:.2g}; as many samples as units",
    )  # fmt: skip


CLAIM = Claim(
    id="rank-collapse",
    group="depth",
    statement=(
        "At random weights batch norm keeps the rank of a batch's hidden representation at order √d (a constant times "
        "√d, or more) at any depth (d units), where without it the rank falls to one: all samples come to point the "
        "same way."
    ),
    source="Daneshmand et al. 2020, Batch normalization provably avoids rank collapse (Theorem 2)",
    prediction=(
        "For r = tr(M)²/‖M‖²_F, r - 1 grows with d by an exponent of at least 1/2; r is flat in depth; without a norm "
        "it is 1."
    ),
    scope=Scope(
        "linear residual network H + γWH with γ = 1/4, at initialization; batch norm without centering, as the theorem",
        "standard normal inputs, as many samples as units",
        "d = 16, 32, 64 and 150·d layers (quick), d to 256 (full)",
    ),
    caveats=(
        "'Rank' is r, a lower bound of the algebraic rank; rank_τ and the stable rank are other numbers, given beside.",
        "The theorem is for linear nets with a small residual branch. Behind a ReLU all samples share a mean, which "
        "is a large direction of its own.",
        "The constant in Ω(√d) is not stated, so the exponent is judged, over a small range of widths; of r - 1, since "
        "r is 1 at the least. The reason tells that of r, and r/√d.",
    ),
    designs={
        "quick": CollapseDesign(
            seeds=5, widths=(16, 32, 64), layers_a_unit=150, gamma=0.25, plain_width=32, plain_layers=1000
        ),
        "full": CollapseDesign(
            seeds=10, widths=(16, 32, 64, 128, 256), layers_a_unit=150, gamma=0.25, plain_width=32, plain_layers=1000
        ),
    },
    smoke=CollapseDesign(
        seeds=2, widths=(4, 8), layers_a_unit=20, gamma=0.25, plain_width=4, plain_layers=20, points=20
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_rank,
    control=Control(
        "Layer norm instead of batch norm must not help in a linear net: r falls to 1.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_ranks,
)
