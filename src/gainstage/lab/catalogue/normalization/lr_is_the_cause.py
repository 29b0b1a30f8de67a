"""Whether what batch normalization gains is the larger learning rate that it bears, and nothing at a small one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.catalogue.designs import CIFAR, DIGITS, PLAIN, RESNET, Net, RateDesign
from gainstage.lab.claim import Claim, Control, Deferred, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side, strips
from gainstage.lab.judge import Judgement, combine, described, equality, number, one_sided, paired_differences

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.lr_is_the_cause"
# Test accuracy. Two points are eight of the 397 test pictures; below that two seeds of one network differ as much.
TOLERANCE = 0.02
_NAMES = {"none": "none", "batch": "batch norm"}


@dataclass(frozen=True)
class CauseDesign(RateDesign):
    """Trainings with and without batch norm.

    Attributes:
        low, high: The two of the learning rates that are judged.
        momentum: Of SGD.
        control_scale: Of the initial weights of the control.
        copies: Trainings a seed at the low rate: there a difference of two points must be told from none.
    """

    low: float
    high: float
    momentum: float
    control_scale: float
    copies: int


def judge_cause(rows: Rows, design: CauseDesign) -> Judgement:
    """No gap at the low rate, within the tolerance, and one beyond the tolerance at the high rate."""
    high = one_sided(
        _gaps(rows, design.high), name=_name(f"at the learning rate {design.high:g}"), seeds=design.seeds,
        side="above", limit=TOLERANCE,
    )  # fmt: skip
    low = equality(
        _gaps(rows, design.low), name=_name(f"at the learning rate {design.low:g}"), seeds=design.seeds,
        target=0.0, tolerance=TOLERANCE,
    )  # fmt: skip
    best = paired_differences(rows, "best_accuracy", "norm", "batch", "none")
    found = combine(high, low)
    note = f"Not judged: {described(best, _name('at the best rate of each'))}."
    return Judgement(found.outcome, found.effect, found.interval, found.n, f"{found.why} {note}")


def judge_control(rows: Rows, design: CauseDesign) -> Judgement:
    """With bad initial weights there is a gap at the low rate."""
    name = _name(f"at the learning rate {design.low:g} with initial weights × {design.control_scale:g}")
    return one_sided(_gaps(rows, design.low), name=name, seeds=design.seeds, side="above", limit=TOLERANCE)


def draw_gaps(rows: Rows) -> alt.HConcatChart:
    """Test accuracy over the learning rate, and the gap at the judged rates and at the best ones."""
    runs = [{**row, "what": _NAMES[str(row["norm"])]} for row in chosen(rows, kind="run", part="claim", copy=0)]
    left = curves(
        runs, Along("lr", "learning rate", log=True), Along("test_accuracy", "test accuracy"),
        Along("what", "normalization"),
        title="Test accuracy after the last step over the learning rate",
        subtitle="Thick: median; faint: one line a seed",
    )  # fmt: skip
    right = strips(
        _gap_points(rows), Along("where", ""), Along("gap", "test accuracy with batch norm minus without"),
        title="The gap, at matched rates and at each one's best", subtitle="A dot a seed; the bar is the median",
    )  # fmt: skip
    return side_by_side(left, right)


def _gap_points(rows: Rows) -> list[dict[str, float | str]]:
    claim, control = chosen(rows, part="claim"), chosen(rows, part="control", kind="run")
    rates = sorted({number(row["lr"]) for row in chosen(claim, kind="run")})
    found = {f"both at {lr:g}": _gaps(claim, lr) for lr in rates}
    found["each at its best rate"] = paired_differences(claim, "best_accuracy", "norm", "batch", "none")
    for lr in sorted({number(row["lr"]) for row in control}):
        found[f"control: bad weights, {lr:g}"] = _gaps(control, lr)
    return [
        {"where": where, "gap": gap, "seed": seed} for where, gaps in found.items() for seed, gap in enumerate(gaps)
    ]


def _gaps(rows: Rows, lr: float) -> list[float]:
    return paired_differences([row for row in rows if row.get("lr") == lr], "test_accuracy", "norm", "batch", "none")


def _name(where: str) -> str:
    return f"test accuracy, batch norm minus none, {where}"


CLAIM = Claim(
    id="lr-is-the-cause",
    group="normalization",
    statement=(
        "Batch normalization helps because it bears a larger learning rate: at a small learning rate a network with it "
        "does as well as one without, and only at a large one better."
    ),
    source="Bjorck et al. 2018, Understanding batch normalization, Fig. 1 (learning rates .0001, .003 and .1)",
    citation="quoted",
    prediction=(
        "At the low rate the test accuracies with and without batch norm differ by less than 2 points, at the high "
        "rate by more than 2 points in favor of batch norm."
    ),
    scope=Scope(
        "perceptron of 8 hidden ReLU layers of 64 units, He's initialization (quick); ResNet-110 (full)",
        "digits, 1400 to train, not CIFAR-10 (quick); CIFAR-10 without augmentation (full)",
        "SGD with momentum 0.9, batch 64 (full: 128); low rate .003, high rate .1, 400 steps (full: .0001 and .1, "
        "30000 steps, no decay of the rate)",
    ),
    caveats=(
        "The verdict holds for these two rates; what counts as a low rate depends on how long one trains: in a short "
        "training a low rate leaves both networks unfinished.",
        "De & Smith 2020 (Batch normalization biases residual blocks towards the identity function) dissent: by their "
        "account the larger rate is a benefit of its own only in some regimes, such as large batches, and the main one "
        "is that deep residual networks become trainable at all.",
        "Accuracy of one network over several rates says nothing about why a rate is borne.",
    ),
    designs={
        "quick": CauseDesign(
            seeds=8, net=Net("MLP-8", PLAIN, (("depth", 8), ("width", 64))), data=DIGITS, device="cpu",
            init="he", lrs=(3e-3, 1e-2, 3e-2, 0.1, 0.3), steps=400, batch=64, low=3e-3, high=0.1, momentum=0.9,
            control_scale=0.3, copies=3,
        ),
        "full": CauseDesign(
            seeds=10, net=Net("ResNet-110", RESNET, (("depth", 110),)), data=CIFAR, device="auto",
            init="he", lrs=(1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1), steps=30000, batch=128, low=1e-4, high=0.1,
            momentum=0.9, control_scale=0.3, copies=1,
        ),
    },
    smoke=CauseDesign(
        seeds=2, net=Net("MLP-2", PLAIN, (("depth", 2), ("width", 8))), data=DIGITS, device="auto",
        init="he", lrs=(1e-2, 0.1), steps=10, batch=64, low=1e-2, high=0.1, momentum=0.9, control_scale=0.3, copies=2,
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_cause,
    control=Control(
        "With initial weights too small to train without a norm, the same measurement at the low rate must find a gap.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_gaps,
)  # fmt: skip
