"""Batch norm does not reduce internal covariate shift, by the definition of Santurkar et al.

Of a layer i at update t: G is the gradient of its parameters on a batch, G' the same on the same batch when the layers
in front of i have made their step and the others have not. The shift is ‖G - G'‖₂.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.catalogue.how_it_helps.along_training import AlongDesign, by_rate, draw_ratios, log_ratios
from gainstage.lab.claim import Claim, Control, Deferred, Rows, Scope
from gainstage.lab.judge import Judgement, described, one_sided, paired_differences

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.how_it_helps.bn_ics"
# A shift that is smaller by a fifth or less (0.1 decades) is what the paper's figure calls similar.
SIMILAR = 0.1
# The control's steps are a tenth as long; the shift, about linear in the step, must fall to less than half.
SHORTER, HALVED = 0.1, math.log10(0.5)


@dataclass(frozen=True)
class ShiftDesign(AlongDesign):
    """Which layers to look at, from 0 among those with weights."""

    layers: tuple[int, ...] = (3,)


def judge_shift(rows: Rows, design: ShiftDesign) -> Judgement:
    """The mean of log10(shift with BN / without) lies above -0.1; cosine and relative shift are reported."""
    ratios = log_ratios(rows, "shift", "norm", "batch", "none")
    found = one_sided(
        ratios, name="log10 of the shift with BN / without", seeds=design.seeds, side="above", limit=-SIMILAR
    )
    relative = described(
        log_ratios(rows, "relative", "norm", "batch", "none"), "log10 of ‖G - G'‖/‖G‖ with BN / without"
    )
    cosine = described(paired_differences(rows, "cosine", "norm", "batch", "none"), "cosine(G, G') with BN - without")
    notes = f"{by_rate(rows, 'shift', 'log10 ratio', design.lrs)} Not judged: {relative}; {cosine}."
    return replace(found, why=f"{found.why} {notes}")


def judge_control(rows: Rows, design: ShiftDesign) -> Judgement:
    """Steps a tenth as long: the shift falls to less than half."""
    ratios = log_ratios(rows, "shift", "stride", SHORTER, 1.0)
    name = f"log10 of the shift of steps {SHORTER:g} times as long / of whole ones"
    return one_sided(ratios, name=name, seeds=design.seeds, side="below", limit=HALVED)


def draw_shift(rows: Rows) -> alt.HConcatChart:
    """The ratio along training, by learning rate, and the control's."""
    return draw_ratios(
        rows, "shift", title="Internal covariate shift along training", of="shift ‖G - G'‖, ratio",
        control="Control: a step a tenth as long / a whole one, without BN",
        compared={"claim": ("norm", "batch", "none"), "control": ("stride", SHORTER, 1.0)},
    )  # fmt: skip


CLAIM = Claim(
    id="bn-ics",
    group="how-it-helps",
    statement=(
        "Batch normalization does not reduce internal covariate shift: with G = ∇L by a layer's parameters and G' the "
        "same on the same batch after the layers in front have made their step, ‖G - G'‖ is no smaller with it."
    ),
    source="Santurkar et al. 2018, How does batch normalization help optimization?, Definition 2.1 and Fig. 3",
    prediction=(
        "Similar or larger with BN: the mean of log10(with/without) over the training and the rates is above -0.1 "
        "(Santurkar et al., VGG on CIFAR-10, layers 5 and 10)."
    ),
    scope=Scope(
        "perceptron of 8 hidden ReLU layers of 64, He weights, layer 4 (quick); VGG with ten convolutions, layers 5 "
        "and 10 (full)",
        "scikit-learn's digits, batch 128 (quick), not CIFAR-10; CIFAR-10, batch 128 (full)",
        "plain gradient descent at rates 0.01, 0.03, 0.1, 140 updates (quick); 0.01 and 0.1, 15,000 updates (full)",
    ),
    caveats=(
        "This is the definition by gradients. The one that batch normalization was proposed with, the change of the "
        "distribution of a layer's inputs, is another quantity, which BN fixes up to its first two moments.",
        "‖G - G'‖ grows with the gradient itself and with the learning rate, so the ratio relative to ‖G‖ and the "
        "cosine are given beside it.",
        "A layer's parameters are its weights, its biases and the scale and shift of the norm behind it.",
    ),
    designs={
        "quick": ShiftDesign(seeds=6, lrs=(0.01, 0.03, 0.1), control_lr=0.03, steps=140, every=20),
        "full": ShiftDesign(
            seeds=10, lrs=(0.01, 0.1), control_lr=0.1, steps=15_000, every=500, layers=(4, 9), device="auto",
            network="gainstage.lab.apparatus.convnets:vgg", data="gainstage.lab.apparatus.data:cifar10",
        ),
    },
    smoke=ShiftDesign(
        seeds=2, lrs=(0.03, 0.1), control_lr=0.03, steps=4, every=2, batch_size=32, layers=(1, 2),
        options=(("depth", 2), ("width", 8)),
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_shift,
    control=Control(
        "The shift of a step a tenth as long must be less than half as large: the measure sees a reduction.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_shift,
)  # fmt: skip
