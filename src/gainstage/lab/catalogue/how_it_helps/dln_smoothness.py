"""Batch norm helps a deep linear net in the same ways: its loss falls lower, and is smoother along the gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gainstage.lab.catalogue.how_it_helps.along_training import log_ratios
from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side
from gainstage.lab.judge import Judgement, Value, combine, described, one_sided

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.how_it_helps.dln_smoothness"
NAMES = {"none": "no norm", "batch": "batch norm", "fixed": "idle norm (control)"}
KINDS = tuple(NAMES)
MEASURES: Mapping[str, str] = {
    "loss_range": "the loss range",
    "predictiveness": "the gradient's change",
    "beta": "the effective β",
}
# Nets leave a saddle earlier or later by chance, which moves single losses by a factor of two; an idle norm that halved
# the mean would say that its learnt scales, and not the statistics, are what helps.
CONTROL_TOLERANCE = 0.3


@dataclass(frozen=True)
class DeepLinearDesign(Design):
    """Square layers, full-batch gradient descent.

    Attributes:
        layers: k of W₁...W_k.
        size: Of x and of each layer.
        samples: Standard normal x.
        lr: Of the loss summed over the samples.
        nets: With a task and weights of their own, for each seed.
        steps, every: Updates, and between two looks.
        control_steps: Updates of the control.
        reach: The smallest and the largest step along the gradient, in learning rates; the paper's.
        count: Steps, both ends among them.
    """

    layers: int
    size: int
    samples: int
    nets: int
    steps: int
    every: int
    control_steps: int
    lr: float = 1e-6
    reach: tuple[float, float] = (0.01, 30.0)
    count: int = 4


def judge_deep_linear(rows: Rows, design: DeepLinearDesign) -> Judgement:
    """The last loss is lower with batch norm, and so are the three measures on the mean over the training."""
    trained = _side(rows, design, "loss", "the last loss", "batch", design.steps)
    smooth = [_side(rows, design, key, f"{name}, mean over the training", "batch") for key, name in MEASURES.items()]
    found = combine(trained, *smooth)
    starts = [
        described(log_ratios(rows, key, "norm", "batch", "none", step=0), f"{name} {key}")
        for key, name in (("loss", "log10 ratio of the"), ("beta", "of the"))
    ]
    return replace(found, why=f"{found.why} Before the first update, {'; '.join(starts)}.")


def judge_control(rows: Rows, design: DeepLinearDesign) -> Judgement:
    """An idle norm does not halve the last loss."""
    ratios = log_ratios(rows, "loss", "norm", "fixed", "none", step=design.control_steps)
    name = "log10 of the last loss with an idle norm / without"
    return one_sided(ratios, name=name, seeds=design.seeds, side="above", limit=-CONTROL_TOLERANCE)


def _side(rows: Rows, design: DeepLinearDesign, key: str, name: str, over: str, step: int | None = None) -> Judgement:
    where = {} if step is None else {"step": step}
    ratios = log_ratios(rows, key, "norm", over, "none", **where)
    return one_sided(ratios, name=f"log10 of {name} with BN / without", seeds=design.seeds, side="below")


def draw_deep_linear(rows: Rows) -> alt.HConcatChart:
    """Loss and β along training, by norm."""
    kept = [row for row in rows if row["part"] == "claim"] + chosen(rows, part="control", norm="fixed")
    axes = {
        "loss": ("Loss of a deep linear net", "‖W₁...W_k x - Ax‖², summed over the samples"),
        "beta": ("How sharply its gradient turns", "effective β"),
    }
    return side_by_side(
        *(
            curves(
                _means(kept, key), Along("step", "updates"), Along(key, of, log=True), Along("norm", ""), title=title,
                subtitle="Faint: geometric mean over a seed's nets; bold: median over seeds",
            ).properties(width=380, height=280)
            for key, (title, of) in axes.items()
        )
    )  # fmt: skip


def _means(rows: Rows, key: str) -> list[dict[str, Any]]:
    """The geometric mean over the nets of a seed."""
    found: dict[tuple[Value, ...], list[float]] = {}
    for row in rows:
        value = row[key]
        if isinstance(value, float) and value > 0:
            found.setdefault((row["norm"], row["seed"], row["step"]), []).append(math.log(value))
    return [
        {"norm": NAMES[str(norm)], "seed": seed, "step": step, key: math.exp(sum(logs) / len(logs))}
        for (norm, seed, step), logs in found.items()
    ]


CLAIM = Claim(
    id="dln-smoothness",
    group="how-it-helps",
    statement=(
        "Batch normalization helps a deep linear net as it helps others: trained on ‖W₁...W_k x - Ax‖² its loss falls "
        "lower, varies less along the gradient, and its gradient predicts better and has a lower effective β."
    ),
    source="Santurkar et al. 2018, How does batch normalization help optimization?, appendix, deep linear networks",
    prediction=(
        "The loss after the last update, and the loss range, gradient change and effective β on the mean over the "
        "training, are all lower with BN (Santurkar et al.)."
    ),
    scope=Scope(
        "25 linear layers of 10 units without bias, Glorot's uniform weights; BN after every layer but the last",
        "1000 standard normal x, targets Ax with a standard normal 10×10 matrix A; generated",
        "full-batch gradient descent on the summed loss at rate 1e-6, 3000 updates (quick), 10,000 as in the paper "
        "(full); steps of 0.01 to 30 times the rate along the gradient",
    ),
    caveats=(
        "The paper does not say where its norms stand, nor how A is drawn.",
        "Glorot's weights keep the mean square of a product of 25 matrices, but the typical product is small: without "
        "a norm the net starts close to a saddle, where the loss is flat. A flat loss counts as smooth here.",
        "The largest steps lead a net without a norm far off, to changes of many decades; a ratio counts as three "
        "decades at most.",
        "The verdict needs all four figures; which of them hold is in its reasons.",
    ),
    designs={
        # Twelve nets a seed: between single nets, which leave saddles by chance, the ratios differ by decades.
        "quick": DeepLinearDesign(
            seeds=6, layers=25, size=10, samples=1000, nets=12, steps=3000, every=300, control_steps=900
        ),
        "full": DeepLinearDesign(
            seeds=20, layers=25, size=10, samples=1000, nets=12, steps=10_000, every=500, control_steps=10_000, count=8
        ),
    },
    smoke=DeepLinearDesign(
        seeds=2, layers=3, size=4, samples=50, nets=2, steps=20, every=10, control_steps=10, lr=1e-4
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_deep_linear,
    control=Control(
        "A norm that takes its statistics as 0 and 1, so that only its learnt scale remains, must not halve the loss.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_deep_linear,
)
