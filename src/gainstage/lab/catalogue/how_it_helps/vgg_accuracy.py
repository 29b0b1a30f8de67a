"""The accuracies that Santurkar et al. report for a VGG on CIFAR-10, with batch normalization and without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, strips
from gainstage.lab.judge import Judgement, described, equality, one_sided, paired_differences, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.how_it_helps.vgg_accuracy"
PAPER = {"batch": 0.83, "none": 0.80}
# A point of a hundred, a third of what the paper reports.
LIMIT = 0.01


@dataclass(frozen=True)
class VggDesign(Design):
    """Plain SGD, as the paper has it.

    Attributes:
        width: Channels of the first convolution.
        data: Reference to a data set.
        shuffled: Reference to the same with the labels of its training pictures shuffled.
        lr, batch_size, steps: Of the training.
        control_steps: Of the control.
        device: ``cpu``, or ``auto`` for a GPU if there is one.
    """

    width: int
    data: str
    shuffled: str
    lr: float
    batch_size: int
    steps: int
    control_steps: int
    device: str


def judge_accuracy(rows: Rows, design: VggDesign) -> Judgement:
    """With BN the test accuracy is higher by more than a point; a diverged run has that of chance."""
    name = "test accuracy with BN - without"
    found = one_sided(_differences(rows), name=name, seeds=design.seeds, side="above", limit=LIMIT)
    notes = "; ".join(
        f"{described(list(per_seed(rows, 'test_accuracy', norm=norm).values()), f'accuracy with norm {norm}')} "
        f"(paper: {figure:.2f})"
        for norm, figure in PAPER.items()
    )
    return Judgement(found.outcome, found.effect, found.interval, found.n, f"{found.why} {notes}.")


def judge_control(rows: Rows, design: VggDesign) -> Judgement:
    """With shuffled labels there is nothing to learn that helps on test pictures, so no difference."""
    name = "test accuracy with BN - without, after training on shuffled labels"
    return equality(_differences(rows), name=name, seeds=design.seeds, target=0.0, tolerance=LIMIT)


def _differences(rows: Rows) -> list[float]:
    return paired_differences(rows, "test_accuracy", "norm", "batch", "none")


def draw_accuracies(rows: Rows) -> alt.LayerChart:
    """The test accuracy of each run, with the control."""
    labels = {"claim": "", "control": ", shuffled labels (control)"}
    points = [{**row, "what": f"norm: {row['norm']}{labels[str(row['part'])]}"} for row in rows]
    return strips(
        sorted(points, key=lambda point: str(point["part"])),
        Along("what", "network"),
        Along("test_accuracy", "test accuracy (share of pictures)"),
        title="Test accuracy of a VGG with batch normalization and without",
        subtitle="A dot a seed; bar: median; the paper reports 0.83 and 0.80",
    )


CLAIM = Claim(
    id="vgg-accuracy",
    group="how-it-helps",
    statement="A VGG on CIFAR-10 reaches 83 % test accuracy with batch normalization and 80 % without.",
    source="Santurkar et al. 2018, How Does Batch Normalization Help Optimization?",
    prediction="The test accuracy is higher with BN: 83 % against 80 %, without augmentation of the data.",
    scope=Scope(
        "VGG of ten 3×3 convolutions, BN before each ReLU or none; He's initial weights",
        "CIFAR-10 without augmentation",
        "SGD without momentum or weight decay, lr 0.1, batches of 128, 15,000 steps",
    ),
    caveats=(
        "The paper does not state its variant of VGG or its initial weights: the difference is judged, the two "
        "figures are shown beside the paper's.",
        "One learning rate for both is not each one's best.",
        "With augmentation the paper reports 92 % and 88 %, which was not measured.",
    ),
    designs={
        "full": VggDesign(
            seeds=10,
            width=64,
            data="gainstage.lab.apparatus.data:cifar10",
            shuffled="gainstage.lab.apparatus.label_noise:shuffled_cifar10",
            lr=0.1,
            batch_size=128,
            steps=15_000,
            control_steps=2_000,
            device="auto",
        )
    },
    smoke=VggDesign(
        seeds=2,
        width=4,
        data="gainstage.lab.apparatus.data:color_noise",
        shuffled="gainstage.lab.apparatus.label_noise:shuffled_color_noise",
        lr=0.1,
        batch_size=16,
        steps=4,
        control_steps=2,
        device="cpu",
    ),
    absent={"quick": "It takes a VGG, CIFAR-10 and 15,000 steps: hours on a processor, so it needs preset full."},
    measure=Deferred(_HOME, "measure"),
    judge=judge_accuracy,
    control=Control(
        "After training on shuffled labels the two must not differ by a point.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_accuracies,
)
