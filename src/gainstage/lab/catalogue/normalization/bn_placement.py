"""Whether batch normalization before or after the activation makes a difference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.catalogue.designs import DIGITS, MNIST, PLAIN, Net, RateDesign
from gainstage.lab.claim import Claim, Control, Deferred, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side, strips
from gainstage.lab.judge import Judgement, described, differs, equality, paired_differences

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.bn_placement"
# A point of test accuracy: what a user would change a network for.
TOLERANCE = 0.01
_NAMES = {"before": "before the activation", "after": "after the activation"}


@dataclass(frozen=True)
class PlacementDesign(RateDesign):
    """Trainings with the norm in both places.

    Attributes:
        control_lrs: What networks without activations are trained at.
        copies: Trainings of each kind a seed, averaged: accuracies of single networks scatter by more than a point.
    """

    control_lrs: tuple[float, ...]
    copies: int


def judge_placement(rows: Rows, design: PlacementDesign) -> Judgement:
    """The accuracies at the best rate of each differ by more than a point; the largest usable rate is reported."""
    gaps = paired_differences(rows, "best_accuracy", "placement", "after", "before")
    found = differs(gaps, name=f"{_GAP} at the best rate of each", seeds=design.seeds, tolerance=TOLERANCE)
    rates = paired_differences(rows, "log_largest_lr", "placement", "after", "before")
    note = f"Not judged: {described(rates, 'log10 of the largest usable learning rate, after minus before')}."
    return replace(found, why=f"{found.why} {note}")


def judge_control(rows: Rows, design: PlacementDesign) -> Judgement:
    """Without activations both places are one, and the accuracies the same."""
    gaps = paired_differences(rows, "test_accuracy", "placement", "after", "before")
    return equality(gaps, name=f"{_GAP}, no activations", seeds=design.seeds, target=0.0, tolerance=TOLERANCE)


_GAP = "test accuracy, norm after minus before the activation"


def draw_places(rows: Rows) -> alt.HConcatChart:
    """Test accuracy over the learning rate, and the gap at the best rate of each."""
    claim = chosen(rows, part="claim")
    points = [{**row, "what": _NAMES[str(row["placement"])]} for row in chosen(claim, kind="run", copy=0)]
    left = curves(
        points, Along("lr", "learning rate", log=True), Along("test_accuracy", "test accuracy after the last step"),
        Along("what", "batch norm"),
        title="Test accuracy over the learning rate, by the place of batch norm",
        subtitle="Thick: median; faint: one line a seed",
    )  # fmt: skip
    gaps = {
        "ReLU, each at its best rate": paired_differences(claim, "best_accuracy", "placement", "after", "before"),
        "no activation (control)": paired_differences(
            chosen(rows, part="control"), "test_accuracy", "placement", "after", "before"
        ),
    }
    dots = [{"where": where, "gap": gap, "seed": at} for where, found in gaps.items() for at, gap in enumerate(found)]
    right = strips(
        dots, Along("where", ""), Along("gap", "test accuracy, after minus before"),
        title="Difference in test accuracy between the two places", subtitle="A dot a seed; the bar is the median",
    )  # fmt: skip
    return side_by_side(left, right)


_QUICK = PlacementDesign(
    seeds=10, net=Net("MLP-8", PLAIN, (("depth", 8), ("width", 64))), data=DIGITS, device="cpu", init="he",
    lrs=(0.1, 0.3, 1.0, 3.0, 10.0), steps=150, batch=64, control_lrs=(0.1,), copies=2,
)  # fmt: skip

CLAIM = Claim(
    id="bn-placement",
    group="normalization",
    statement="It matters whether batch normalization stands before or after the activation.",
    source="a question-and-answer thread",
    citation="informal",
    prediction=(
        "None with a direction. It would matter if the test accuracies, each at its best learning rate, differed by "
        "more than one point; that they do is called supported, that they do not refuted."
    ),
    predicted=None,
    scope=Scope(
        "perceptron of 8 hidden ReLU layers, width 64 (full: 256), He's initialization, batch norm at each",
        "digits, 1400 to train (quick); 4000 pictures of MNIST (full); no convolutions",
        "SGD without momentum, batch 64, learning rates .1 to 10 half a decade apart, 150 steps (full: 1000)",
    ),
    caveats=(
        "The best rate of each is the one with the lowest training loss at the end, so the test set chooses nothing.",
        "After the activation the read-out sees normalized units, before it rectified ones: more than the order of "
        "two layers differs.",
        "ReLU only; saturating activations, which batch norm before them keeps out of saturation, may differ more.",
    ),
    designs={
        "quick": _QUICK,
        "full": replace(
            _QUICK, net=Net("MLP-8", PLAIN, (("depth", 8), ("width", 256), ("inputs", 784))), data=MNIST, device="auto",
            steps=1000,
        ),
    },
    smoke=replace(
        _QUICK, seeds=2, net=Net("MLP-2", PLAIN, (("depth", 2), ("width", 8))), lrs=(0.1, 0.3), steps=10, device="auto",
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_placement,
    control=Control(
        "Without activations both places are the same network, and the accuracies must be equal.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_places,
)  # fmt: skip
