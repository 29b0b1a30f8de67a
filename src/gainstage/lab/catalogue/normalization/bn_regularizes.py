"""Does the noise of batch statistics regularize? Normalization by small groups within one full-batch gradient step.

Small batches bring two noises: that of the gradient, whose size depends on the learning rate too, and that of the
statistics. Here every step uses the gradient of the whole training set at one learning rate, and only the groups over
which BN takes its statistics differ, drawn anew in each step: the noise of the statistics alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, strips
from gainstage.lab.judge import Judgement, described, equality, number, one_sided, paired_differences, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.bn_regularizes"
# Of the groups: 0 is the whole training set.
WHOLE = 0
# What counts as no difference in the control: one point of a hundred. The claim itself names no size, only a side.
TOLERANCE = 0.01


@dataclass(frozen=True)
class RegularizesDesign(Design):
    """Full-batch gradient descent on a set with wrong labels.

    Attributes:
        network: Reference to a factory of a sequence with batch norms; ``options`` are its keywords.
        data: Reference to a data set.
        samples: Of its training samples that are used, drawn for each seed; the others are for testing.
        wrong: Share of them with a wrong label.
        groups: Sizes of the groups, divisors of ``samples``; the first is judged against the whole.
        lr, momentum: Of the descent.
        steps: At the most.
        every: Steps between two looks at the loss.
        level: Of the training loss at which tests are compared. The best that ignores which labels are wrong has
            0.94 nats at a share of 0.2 of 10 classes; below that, wrong labels are learnt by heart.
        device: ``cpu``, or ``auto`` for a GPU if there is one.
    """

    network: str
    options: tuple[tuple[str, int | str], ...]
    data: str
    samples: int
    wrong: float
    groups: tuple[int, ...]
    lr: float
    momentum: float
    steps: int
    every: int
    level: float
    device: str


def judge_gap(rows: Rows, design: RegularizesDesign) -> Judgement:
    """At the level of the training loss, the smallest groups have the higher test accuracy."""
    first = design.groups[0]
    name = f"test accuracy at matched training loss with groups of {first} - with the whole set"
    found = one_sided(_gains(rows, first), name=name, seeds=design.seeds, side="above")
    notes = [described(_gains(rows, size), f"the same with groups of {size}") for size in design.groups[1:]]
    losses = paired_differences(rows, "test_loss", "group", WHOLE, first)
    notes.append(described(losses, f"test loss with the whole set - with groups of {first} (nats)"))
    steps = [described(list(per_seed(rows, "step", group=size).values()), f"steps to the level with {_called(size)}")
             for size in (first, WHOLE)]  # fmt: skip
    missed = sum(row["reached"] is False for row in rows)
    why = f"{found.why} {'; '.join([*notes, *steps])}; {missed} of {len(rows)} runs never reached the level."
    return Judgement(found.outcome, found.effect, found.interval, found.n, why)


def judge_control(rows: Rows, design: RegularizesDesign) -> Judgement:
    """Halves of the set have next to no noise: the accuracy stays within a point."""
    half = design.samples // 2
    name = f"test accuracy at matched training loss with groups of {half} - with the whole set"
    return equality(_gains(rows, half), name=name, seeds=design.seeds, target=0.0, tolerance=TOLERANCE)


def _gains(rows: Rows, size: int) -> list[float]:
    return paired_differences(rows, "test_accuracy", "group", size, WHOLE)


def _called(size: int) -> str:
    return f"groups of {size}" if size else "the whole set"


def draw_accuracies(rows: Rows) -> alt.LayerChart:
    """The test accuracy at the level of the training loss, by the size of the groups."""
    claimed = [row for row in rows if row["part"] == "claim" or row["group"] != WHOLE]
    shown = sorted(claimed, key=lambda row: number(row["group"]) or float("inf"))
    return strips(
        [{**row, "what": _called(int(number(row["group"])))} for row in shown],
        Along("what", "BN's statistics over"),
        Along("test_accuracy", "test accuracy (share of pictures)"),
        title="Test accuracy at the same training loss, by the groups that BN normalizes",
        subtitle="A dot a seed; bar: median; the largest groups before the whole set are the control",
    )


CLAIM = Claim(
    id="bn-regularizes",
    group="normalization",
    statement=(
        "Batch normalization regularizes: a sample is normalized by statistics that depend on the others in its batch, "
        "and this noise, which is larger for smaller batches, makes the network generalize better."
    ),
    source="Ioffe & Szegedy 2015, §3.4",
    prediction="At the same training loss the gap to the test is smaller with statistics of 8 samples than of all.",
    scope=Scope(
        "ReLU perceptron, two hidden layers of 64 units, BN before each ReLU (quick); VGG (full)",
        "512 pictures of MNIST at 14×14, a fifth with wrong labels, 4488 for testing (quick); 2048 of CIFAR-10 (full)",
        "full-batch gradient descent, momentum 0.9, one learning rate; groups of 8 and 32 against the whole set",
    ),
    caveats=(
        "The gradient is that of all samples, so this is the noise of the statistics alone; small batches in training "
        "bring noise of the gradient as well, which was not measured.",
        "Training losses are equal to within a step, so that a smaller gap is a higher test accuracy; tests use the "
        "statistics of the whole training set for all.",
        "Statistics of few samples also have a bias: the variance is too small by 1/B on average.",
        "Wrong labels make memorizing visible; with clean ones the effect may be smaller.",
    ),
    designs={
        "quick": RegularizesDesign(
            seeds=20, network="gainstage.lab.apparatus.networks:mlp",
            options=(("depth", 2), ("width", 64), ("norm", "batch"), ("inputs", 196)),
            data="gainstage.lab.apparatus.label_noise:small_mnist", samples=512, wrong=0.2, groups=(8, 32), lr=0.05,
            momentum=0.9, steps=400, every=2, level=0.5, device="cpu",
        ),
        "full": RegularizesDesign(
            seeds=10, network="gainstage.lab.apparatus.convnets:vgg", options=(("norm", "batch"), ("width", 64)),
            data="gainstage.lab.apparatus.data:cifar10", samples=2048, wrong=0.2, groups=(8, 32), lr=0.05,
            momentum=0.9, steps=1000, every=5, level=0.5, device="auto",
        ),
    },
    smoke=RegularizesDesign(
        seeds=2, network="gainstage.lab.apparatus.convnets:vgg", options=(("norm", "batch"), ("width", 4)),
        data="gainstage.lab.apparatus.data:color_noise", samples=16, wrong=0.2, groups=(4, 8), lr=0.05,
        momentum=0.9, steps=2, every=1, level=2.5, device="cpu",
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_gap,
    control=Control(
        "With groups of half the set, whose statistics have next to no noise, the accuracy must stay within a point.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_accuracies,
)  # fmt: skip
