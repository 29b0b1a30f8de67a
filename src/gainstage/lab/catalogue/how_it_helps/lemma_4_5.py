"""Lemma 4.5, "BatchNorm leads to a favorable initialization", against two exact counterexamples.

One neuron, identity activation, no bias, γ = 1, β = 0, squared loss summed over three samples. Since Σẑ = 0
and ‖ẑ‖² = n, the normalized loss is const - 2⟨ẑ, y⟩: its optima are the ray of the least-squares slope *with*
intercept, while W* is the one *without*. Where these differ and W₀ = W*, only the right side is 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.judge import Judgement, bound, described, identity, number, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.how_it_helps.lemma_4_5"
_LABELS = ("start W0 = W* (plain optimum)", "nearest BN optimum")


@dataclass(frozen=True)
class Example:
    """A problem that is solved in closed form.

    Attributes:
        x, y: Samples and targets.
        start: W₀; it equals the optimum W* of the plain network.
        closed_form: Every quantity, derived by hand; the measurement derives them anew.
    """

    name: str
    x: tuple[tuple[float, float], ...]
    y: tuple[float, ...]
    start: tuple[float, float]
    closed_form: Mapping[str, float]


EXAMPLES = (
    Example(
        "A", ((1, 1), (1, 2), (2, 3)), (2, 5, 13), (1, 3),
        {
            "mean": 22 / 3, "variance": 74 / 9, "loss": 12, "gradient_1": 0, "gradient_2": 0,
            "bn_gradient_1": -54 * math.sqrt(74) / 1369, "bn_gradient_2": 18 * math.sqrt(74) / 1369,
            "bn_loss": 201 - 236 / math.sqrt(74), "bn_loss_on_ray": 201 - 2 * math.sqrt(194),
            "nearest_1": 35 / 17, "nearest_2": 21 / 17, "left": 72 / 17, "right": 0,
        },
    ),
    Example(
        "B", ((1, 0), (0, 1), (1, 1)), (2, 0, 5), (3, 1),
        {
            "mean": 8 / 3, "variance": 14 / 9, "loss": 3, "gradient_1": 0, "gradient_2": 0,
            "bn_gradient_1": 6 * math.sqrt(14) / 49, "bn_gradient_2": -18 * math.sqrt(14) / 49,
            "bn_loss": 32 - 44 / math.sqrt(14), "bn_loss_on_ray": 32 - 2 * math.sqrt(38),
            "nearest_1": 45 / 17, "nearest_2": 27 / 17, "left": 8 / 17, "right": 0,
        },
    ),
)  # fmt: skip


@dataclass(frozen=True)
class LemmaDesign(Design):
    """Random problems a seed, their size, and what rounding may cost."""

    problems: int
    samples: int
    features: int
    tolerance: float


def judge_lemma(rows: Rows, design: LemmaDesign) -> Judgement:
    """Refuted if an exact example breaks the inequality, provided that it was derived without error."""
    examples = {row["case"]: row for row in rows if row["kind"] == "example"}
    errors = list(per_seed(rows, "closed_form_error", kind="example").values())
    derived = identity(errors, name="distance from the closed forms", tolerance=design.tolerance)
    if derived.outcome != "supported":
        return Judgement("inconclusive", None, None, len(errors), f"The examples cannot be used. {derived.why}")
    excesses = [per_seed([row], "excess").popitem()[1] for row in examples.values()]
    found = bound(excesses, name="The lemma's inequality", tolerance=design.tolerance)
    rate = described(list(per_seed(rows, "violated", kind="random").values()), "the share in which it fails")
    return replace(found, why=f"{found.why} {derived.why} On random problems with an intercept {rate}.")


def judge_control(rows: Rows, design: LemmaDesign) -> Judgement:
    """Supported if the inequality holds on every problem with y = X W exactly."""
    excesses = [excess for row in rows for excess in per_seed([row], "excess").values()]
    return bound(excesses, name="The lemma's inequality", tolerance=design.tolerance)


def draw_lemma(rows: Rows) -> alt.HConcatChart:
    """Both examples in the plane of the weights: W₀ = W*, the ray of BN's optima, and the distance to it."""
    import altair as alt

    examples = {row["case"]: row for row in rows if row["kind"] == "example" and row["part"] == "claim"}
    panels = [_panel(row, name) for name, row in sorted(examples.items(), key=lambda item: str(item[0]))]
    title = alt.TitleParams(
        "Both sides of Lemma 4.5's inequality, and the optima of a network with and without BN, in two examples",
        subtitle="Solid: all optima of the network with BN. By the lemma the dashed line has length 0.",
    )
    return alt.hconcat(*panels).properties(title=title)


def _panel(row: Mapping[str, object], name: object) -> alt.LayerChart:
    import altair as alt

    start = {"w1": row["start_1"], "w2": row["start_2"], "label": _LABELS[0]}
    near = {"w1": row["nearest_1"], "w2": row["nearest_2"], "label": _LABELS[1]}
    reach = 3.5 / number(near["w1"])
    ray = [{"w1": t * number(near["w1"]), "w2": t * number(near["w2"])} for t in (0.0, reach)]
    x = alt.X("w1:Q", title="weight w1").scale(domain=[0, 4])
    y = alt.Y("w2:Q", title="weight w2").scale(domain=[0, 4])
    line = alt.Chart(alt.InlineData(ray)).mark_line(color="#4c78a8", strokeWidth=3).encode(x, y)
    step = alt.Chart(alt.InlineData([start, near])).mark_line(color="#e45756", strokeDash=[6, 4]).encode(x, y)
    points = alt.Chart(alt.InlineData([start, near])).mark_point(filled=True, size=90, opacity=1)
    legend = (
        alt.Color("label:N", title=None)
        .scale(domain=list(_LABELS), range=["#e45756", "#4c78a8"])
        .legend(orient="bottom", labelLimit=260)
    )
    title = f"Example {name}: left side {row['left']:.3f}, right side {abs(number(row['right'])):.3f}"
    return alt.layer(line, step, points.encode(x, y, legend)).properties(title=title, width=300, height=300)


CLAIM = Claim(
    id="lemma-4-5",
    group="how-it-helps",
    statement=(
        "BatchNorm leads to a favorable initialization: if ⟨W₀, W*⟩ > 0, with W* and Ŵ* the optima of the "
        "plain and of the normalized network that are nearest to W₀, "
        " ‖W₀ - Ŵ*‖² ≤ ‖W₀ - W*‖² - (‖W*‖² - ⟨W*, W₀⟩)²/‖W*‖²."
    ),
    source=(
        "Santurkar et al. 2018, Lemma 4.5; denied by Dannemann & Junike 2025, "
        "arXiv 2502.17913, whose construction is used (its own numbers could not be recovered; both examples "
        "satisfy all that it states)"
    ),
    prediction="Refuted as stated (Dannemann & Junike 2025): both examples have left side > 0 = right side.",
    predicted="refuted",
    scope=Scope(
        "one neuron, identity activation, no bias, batch normalization with γ = 1, β = 0 and no ε",
        "two exact sets of three samples in R²; random linear problems with an intercept for the rate",
        "the lemma as stated; says nothing about whether BN helps training in practice",
    ),
    caveats=(
        "The lemma is about one inequality; bn-init-sensitivity tests the empirical claim.",
        "The right side is the squared distance of W₀ from the line through 0 and W*, so the lemma says that "
        "BN's ray is never farther from W₀ than that line. For an isotropic W₀ on W*'s side this fails in a "
        "share of 1/2 + θ/2π, where θ > 0 is the angle between W* and the ray.",
    ),
    designs={"quick": LemmaDesign(seeds=5, problems=2000, samples=20, features=5, tolerance=1e-9)},
    smoke=LemmaDesign(seeds=2, problems=20, samples=8, features=3, tolerance=1e-9),
    absent={"full": "It is exact: a larger run would show the same."},
    measure=Deferred(_HOME, "measure"),
    judge=judge_lemma,
    control=Control(
        "With y = X W* exactly, slope with and without intercept agree and the inequality must hold.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_lemma,
)
