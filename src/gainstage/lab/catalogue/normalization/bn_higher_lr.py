"""Batch normalization bears a larger learning rate, and with it a network learns in fewer steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.catalogue.designs import CIFAR, DIGITS, PLAIN, VGG, Net, RateDesign
from gainstage.lab.claim import Claim, Control, Deferred, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side
from gainstage.lab.judge import Judgement, combine, described, one_sided, paired_differences, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.bn_higher_lr"
# "Much higher": the smallest factor that Ioffe & Szegedy trained at and called so is five (BN-x5).
MUCH = math.log10(5)
# Half a step of a grid of half decades: less is no rise.
HALF_STEP = 0.25
_NAMES = {"none": "none", "batch": "batch norm", "affine": "γx + β, no norm (control)"}


@dataclass(frozen=True)
class HigherDesign(RateDesign):
    """Trainings with and without batch norm.

    Attributes:
        control_lrs: What the control is trained at: the upper part of the rates, a quarter of a decade apart, so that
            the steps of the grid do not hide how alike the two are.
        target: Test accuracy to be reached.
        every: Updates between two measurements of it.
    """

    control_lrs: tuple[float, ...]
    target: float
    every: int


def judge_higher(rows: Rows, design: HigherDesign) -> Judgement:
    """The largest usable rate is at least five times as large with the norm, and it reaches the target sooner."""
    rate = one_sided(
        paired_differences(rows, "log_largest_lr", "norm", "batch", "none"),
        name="log10 of the largest usable learning rate, batch norm minus none",
        seeds=design.seeds, side="above", limit=MUCH, resolution=hidden(design.lrs),
    )  # fmt: skip
    steps = one_sided(
        paired_differences(rows, "log_fewest_steps", "norm", "batch", "none"),
        name=f"log10 of the fewest steps to a test accuracy of {design.target:.0%}, batch norm minus none",
        seeds=design.seeds, side="below",
    )  # fmt: skip
    found = combine(rate, steps)
    note = described(list(per_seed(rows, "at_top", norm="batch").values()), "The share of seeds usable at the top rate")
    return Judgement(found.outcome, found.effect, found.interval, found.n, f"{found.why} {note} (batch norm).")


def judge_control(rows: Rows, design: HigherDesign) -> Judgement:
    """Without normalization γ and β alone do not raise the largest usable rate."""
    return one_sided(
        paired_differences(rows, "log_largest_lr", "norm", "affine", "none"),
        name="log10 of the largest usable learning rate, γx + β minus none",
        seeds=design.seeds, side="below", limit=HALF_STEP, resolution=hidden(design.control_lrs),
    )  # fmt: skip


def hidden(lrs: Sequence[float]) -> float:
    """What a grid of rates hides of the difference of two that are read from it, in decades."""
    return math.sqrt(2) * math.log10(lrs[1] / lrs[0])


def draw_rates(rows: Rows) -> alt.HConcatChart:
    """Test accuracy at the end over the learning rate; steps to the target over it."""
    points = [{**row, "what": _NAMES[str(row["norm"])]} for row in chosen(rows, kind="run")]
    mine = [point for point in points if point["part"] == "claim" or point["norm"] == "affine"]
    lr, told = Along("lr", "learning rate", log=True), Along("what", "normalization")
    left = curves(
        mine, lr, Along("test_accuracy", "test accuracy after the last step"), told,
        title="Test accuracy over the learning rate", subtitle="Thick: median; faint: one line a seed",
    )  # fmt: skip
    right = curves(
        [point for point in mine if point["reached"] is not None and point["norm"] != "affine"],
        lr, Along("reached", "steps to the target accuracy"), told,
        title="Steps to the target, where it was reached", subtitle="Thick: median; faint: one line a seed",
    )  # fmt: skip
    return side_by_side(left, right)


CLAIM = Claim(
    id="bn-higher-lr",
    group="normalization",
    statement="Batch normalization allows much higher learning rates, and so reaches the same accuracy in fewer steps.",
    source="Ioffe & Szegedy 2015, Fig. 3 (steps to 72.2 %: 31.0M without, 13.3M, 2.1M and 2.7M with it at ×1, ×5, ×30)",
    prediction=(
        "The largest usable learning rate is more than 5 times as large with batch norm, and the fewest steps to the "
        "target accuracy, over all rates, are fewer."
    ),
    scope=Scope(
        "perceptron of 8 hidden ReLU layers of 64 units, He's initialization (quick); VGG of width 64 (full)",
        "digits, 1400 to train, not ImageNet (quick); CIFAR-10 (full)",
        "SGD without momentum, batch 64 (full: 128), learning rates 3e-4 to 3 half a decade apart; 150 steps (full: "
        "4000); usable: at least 50 % test accuracy after the last step",
    ),
    caveats=(
        "Where batch norm is usable at the largest rate tried, the factor is a lower bound.",
        "The 14 times fewer steps of the paper's Fig. 3 bundle other changes (less dropout and weight decay, no local "
        "response normalization); batch norm alone, at the same rate, took 2.3 times fewer.",
        "A usable rate is not a good one: accuracy can fall well below its best before the network breaks down.",
    ),
    designs={
        "quick": HigherDesign(
            seeds=8, net=Net("MLP-8", PLAIN, (("depth", 8), ("width", 64))), data=DIGITS, device="cpu",
            init="he", lrs=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0), steps=150, batch=64,
            control_lrs=(0.1, 0.18, 0.3, 0.56, 1.0), target=0.9, every=5,
        ),
        "full": HigherDesign(
            seeds=10, net=Net("VGG", VGG, (("width", 64),)), data=CIFAR, device="auto",
            init="he", lrs=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0), steps=4000, batch=128,
            control_lrs=(1e-2, 1.8e-2, 3e-2, 5.6e-2, 0.1, 0.18, 0.3, 0.56, 1.0), target=0.7, every=100,
        ),
    },
    smoke=HigherDesign(
        seeds=2, net=Net("MLP-2", PLAIN, (("depth", 2), ("width", 16))), data=DIGITS, device="auto",
        init="he", lrs=(0.1, 0.3), steps=60, batch=64, control_lrs=(0.1, 0.3), target=0.5, every=10,
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_higher,
    control=Control(
        "With each batch norm's γ and β but without its normalization the largest usable rate must not rise.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_rates,
)  # fmt: skip
