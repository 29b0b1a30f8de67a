"""Weights before a batch norm: orthogonal to their gradient, so that plain SGD can only lengthen them.

From f(aw) = f(w) follow ⟨w, g⟩ = 0 and g(aw) = g(w)/a, and for a step of plain SGD ‖w - ηg‖² = ‖w‖² + η²‖g‖².
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side, strips
from gainstage.lab.judge import Judgement, Row, combine, described, identity, one_sided, per_seed, worst_per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.weight_growth"
ERRORS = {
    "alignment": "|⟨w, g⟩|/(‖w‖‖g‖)",
    "length_error": "relative error of ‖w_T‖² = ‖w_0‖² + η² Σ ‖g_t‖²",
    "gradient_error": "relative error of a‖g(aw)‖ = ‖g(w)‖",
}


@dataclass(frozen=True)
class GrowthDesign(Design):
    """Networks trained by plain SGD, in float64.

    Attributes:
        data: Reference to the data.
        scales: Factors a of the hidden layers' initial weights; 1 is among them.
        eps: So small that ε/σ² is below the rounding of float64; torch does not take 0.
        tolerance: Of the three identities, relative: rounding, summed over the steps.
        broken: By how much the second must fail in the control.
        every: Steps between two points of the figure.
    """

    data: str
    depth: int
    width: int
    batch: int
    steps: int
    lr: float
    scales: tuple[float, ...]
    eps: float
    tolerance: float
    broken: float
    every: int


def judge_growth(rows: Rows, design: GrowthDesign) -> Judgement:
    """The layer that grows least grows, at a = 1, and the three identities hold at all scales."""
    least = list(per_seed(rows, "least_growth", kind="net", scale=1.0).values())
    name = f"‖w_T‖/‖w_0‖ - 1 of the layer that grows least, after {design.steps} steps from a = 1"
    grown = one_sided(least, name=name, seeds=design.seeds, side="above")
    exact = [_exact(rows, column, told, design) for column, told in ERRORS.items()]
    found = combine(grown, *exact)
    return replace(found, why=f"{found.why} {_notes(rows, design)}")


def judge_control(rows: Rows, design: GrowthDesign) -> Judgement:
    """Without a norm larger weights get larger gradients, and the lengths do not add up."""
    largest = max(design.scales)
    ratios = list(per_seed(rows, "log_gradient", kind="net", scale=largest).values())
    name = f"log10 of ‖g(aw)‖/‖g(w)‖ at a = {largest:g}, no norm"
    turned = one_sided(ratios, name=name, seeds=design.seeds, side="above")
    errors = list(per_seed(rows, "length_error", kind="net", scale=1.0).values())
    off = one_sided(errors, name=ERRORS["length_error"], seeds=design.seeds, side="above", limit=design.broken)
    return combine(turned, off)


def _exact(rows: Rows, column: str, told: str, design: GrowthDesign) -> Judgement:
    return identity(list(worst_per_seed(rows, column, kind="net").values()), name=told, tolerance=design.tolerance)


def _notes(rows: Rows, design: GrowthDesign) -> str:
    told = [
        described(list(per_seed(rows, "growth", kind="net", scale=a).values()), f"from a = {a:g}")
        for a in design.scales
    ]
    return f"‖w_T‖/‖w_0‖ - 1 of all hidden layers together, {'; '.join(told)}."


def draw_lengths(rows: Rows) -> alt.HConcatChart:
    """How much longer the hidden weights are after each step, and the first gradient at each scale."""
    grown = [
        {"what": _told(row), "step": row["step"], "growth": row["growth"], "seed": row["seed"]}
        for row in chosen(rows, kind="step")
    ]
    ratios = [
        {"what": _told(row), "ratio": row["log_gradient"], "seed": row["seed"]}
        for row in chosen(rows, kind="net")
        if row["scale"] != 1.0
    ]
    lengths = curves(
        grown, Along("step", "step of SGD"), Along("growth", "‖w‖/‖w_0‖ - 1", log=True), Along("what", "network"),
        title="Growth of the hidden weights by their initial scale",
        subtitle="Bold: median; faint: a seed; nothing is drawn where ‖w‖ ≤ ‖w_0‖",
    )  # fmt: skip
    gradients = strips(
        ratios, Along("what", "network"), Along("ratio", "log10 of ‖g(aw)‖/‖g(w)‖"),
        title="First gradient of weights times a, against that at a = 1",
        subtitle="A dot: a seed; bar: median",
    )  # fmt: skip
    return side_by_side(lengths, gradients)


def _told(row: Row) -> str:
    return f"{'batch norm' if row['norm'] == 'batch' else 'no norm (control)'}, a = {row['scale']:g}"


_QUICK = GrowthDesign(
    seeds=5,
    data="gainstage.lab.apparatus.data:digits",
    depth=4,
    width=64,
    batch=64,
    steps=150,
    lr=0.1,
    scales=(0.1, 1.0, 10.0),
    eps=1e-30,
    tolerance=1e-9,
    broken=1e-3,
    every=5,
)

CLAIM = Claim(
    id="weight-growth",
    group="normalization",
    statement=(
        "Before a batch norm larger weights get smaller gradients, ∂/∂(aW) = (1/a) ∂/∂W, and every step of plain SGD "
        "lengthens the weights, since the gradient is orthogonal to them: ‖W‖ only grows."
    ),
    source="Ioffe & Szegedy 2015, §3.3 (the gradient); Arora et al. 2019 (the growth)",
    citation="quoted",
    prediction="⟨w, g⟩ = 0 and a‖g(aw)‖ is constant, exact in float64; ‖w_t‖ rises, ‖w_T‖² = ‖w_0‖² + η² Σ ‖g_t‖².",
    scope=Scope(
        "ReLU network of four hidden layers of 64 with batch norm (full: eight of 256), plain SGD at lr 0.1, float64",
        "digits, 8×8 (full: 4000 images of MNIST)",
        "hidden weights at 0.1, 1 and 10 times He's; 150 steps (full: 1000); ε = 1e-30 in place of 1e-5",
    ),
    caveats=(
        "Longer weights turn more slowly, as with a rate of lr/‖W‖²: growth is a schedule that nobody set.",
        "Weight decay shortens them, momentum breaks the orthogonality of the step; both are left out.",
        "The read-out has no norm behind it and is not counted.",
        "Weights without a norm can grow too, where the loss asks for it; there they can also shrink.",
    ),
    designs={
        "quick": _QUICK,
        "full": replace(
            _QUICK, seeds=10, data="gainstage.lab.apparatus.data:mnist_5k", depth=8, width=256, steps=1000, every=25
        ),
    },
    smoke=replace(_QUICK, seeds=2, depth=2, width=8, batch=16, steps=6),
    measure=Deferred(_HOME, "measure"),
    judge=judge_growth,
    control=Control(
        "Without a norm larger weights must get larger gradients, and ‖w_0‖² + η² Σ ‖g_t‖² must not be ‖w_T‖².",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_lengths,
)
