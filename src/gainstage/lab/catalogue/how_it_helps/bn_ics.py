"""Batch norm does not reduce internal covariate shift, by the definition of Santurkar et al.

Of a layer i at update t: G is the gradient of its parameters on a batch, G' the same on the same batch when the layers
in front of i have made their step and the others have not. The shift is ‖G - G'‖₂.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.catalogue.how_it_helps.along_training import AlongDesign, at_every_rate, draw_ratios, log_ratios
from gainstage.lab.claim import Claim, Control, Deferred, Rows, Scope
from gainstage.lab.judge import Judgement, described, equality, one_sided, paired_differences

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.how_it_helps.bn_ics"
# A shift that is smaller by a fifth or less (0.1 decades) is what the paper's figure calls similar.
SIMILAR = 0.1


@dataclass(frozen=True)
class ShiftDesign(AlongDesign):
    """Which layers to look at, from 0 among those with weights."""

    layers: tuple[int, ...] = (3,)


def judge_shift(rows: Rows, design: ShiftDesign) -> Judgement:
    """At every rate the mean of log10(shift with BN / without) lies above -0.1; cosine and relative shift are told."""

    def judged(lr: float) -> Judgement:
        found = one_sided(
            log_ratios(rows, "shift", "norm", "batch", "none", lr=lr),
            name="log10 of the shift with BN / without", seeds=design.seeds, side="above", limit=-SIMILAR,
        )  # fmt: skip
        relative = described(log_ratios(rows, "relative", "norm", "batch", "none", lr=lr), "the same of ‖G - G'‖/‖G‖")
        turned = paired_differences([row for row in rows if row["lr"] == lr], "cosine", "norm", "batch", "none")
        cosine = described(turned, "cosine(G, G') with BN - without")
        return replace(found, why=f"{found.why} Not judged: {relative}; {cosine}.")

    return at_every_rate(design.lrs, judged)


def judge_control(rows: Rows, design: ShiftDesign) -> Judgement:
    """An idle norm: at every rate the shift is as large as without, within the same tolerance."""
    return at_every_rate(
        design.lrs,
        lambda lr: equality(
            log_ratios(rows, "shift", "norm", "frozen", "none", lr=lr),
            name="log10 of the shift with an idle norm / without", seeds=design.seeds, target=0.0, tolerance=SIMILAR,
        ),
    )  # fmt: skip


def draw_shift(rows: Rows) -> alt.HConcatChart:
    """The ratio along training, by learning rate, and the control's."""
    return draw_ratios(
        rows, "shift", title="Internal covariate shift along training", of="shift ‖G - G'‖, ratio",
        control="Control: the same ratio with a norm that has no statistics",
        compared={"claim": ("norm", "batch", "none"), "control": ("norm", "frozen", "none")},
    )  # fmt: skip


CLAIM = Claim(
    id="bn-ics",
    group="how-it-helps",
    statement=(
        "Batch normalization does not reduce internal covariate shift: with G = ∇L by a layer's parameters and G' the "
        "same on the same batch after the layers in front have made their step, ‖G - G'‖ is no smaller with it by "
        "more than a fifth, at any learning rate from 0.01 to 0.1."
    ),
    source="Santurkar et al. 2018, How does batch normalization help optimization?, Definition 2.1 and Fig. 3",
    prediction=(
        "Similar or larger with BN: at every learning rate the mean of log10(with/without) over the training is above "
        "-0.1 (Santurkar et al., VGG on CIFAR-10, layers 5 and 10)."
    ),
    scope=Scope(
        "perceptron of 8 hidden ReLU layers of 64, He weights, layer 4 (quick); VGG with ten convolutions, layers 5 "
        "and 10 (full)",
        "scikit-learn's digits, batch 128 (quick), not CIFAR-10; CIFAR-10, batch 128 (full)",
        "plain gradient descent at rates 0.01, 0.03, 0.1 (quick), 0.01 and 0.1 (full), each judged by itself; mean "
        "over 140 updates (quick), 15,000 (full), networks compared after equally many",
    ),
    caveats=(
        "This is the definition by gradients. The one that batch normalization was proposed with, the change of the "
        "distribution of a layer's inputs, is another quantity, which BN fixes up to its first two moments.",
        "‖G - G'‖ grows with the gradient itself and with the learning rate, so the ratio relative to ‖G‖ and the "
        "cosine are given beside it.",
        "Networks are compared after equally many updates, when the one that learns faster has the lower loss and so "
        "other gradients.",
        "A layer's parameters are its weights, its biases and the scale and shift of the norm behind it.",
    ),
    designs={
        "quick": ShiftDesign(seeds=14, lrs=(0.01, 0.03, 0.1), steps=140, every=20),
        "full": ShiftDesign(
            seeds=14, lrs=(0.01, 0.1), steps=15_000, every=500, layers=(4, 9), device="auto",
            network="gainstage.lab.apparatus.convnets:vgg", data="gainstage.lab.apparatus.data:cifar10",
        ),
    },
    smoke=ShiftDesign(
        seeds=2, lrs=(0.03, 0.1), steps=4, every=2, batch_size=32, layers=(1, 2),
        options=(("depth", 2), ("width", 8)),
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_shift,
    control=Control(
        "With a norm that takes its statistics as 0 and 1 the shift must be as large as without, within a fifth, at "
        "every learning rate: else the learnt scale and shift, and not the statistics, decide.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_shift,
)  # fmt: skip
