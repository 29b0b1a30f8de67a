"""Does batch normalization degrade at small batches, where group normalization does not? Wu & He's protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, curves
from gainstage.lab.judge import Judgement, combine, described, number, one_sided, paired_differences

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.numbers.small_batch"
NORMS = ("batch", "group", "layer")
# The smallest change of the error that matters: one point of a hundred.
LIMIT = 0.01


@dataclass(frozen=True)
class SmallBatchDesign(Design):
    """Training runs of the same number of epochs, with a learning rate in proportion to the batch.

    Attributes:
        network: Reference to a factory with ``depth``, ``width`` and ``norm``.
        depth, width: Of it.
        data: Reference to a data set.
        batches: Sizes, from the smallest to the largest.
        epochs: Of each run.
        lr_at_32: The learning rate starts at lr_at_32·B/32 and falls to 0 by a cosine; Wu & He let it fall in steps.
        momentum, weight_decay: Of SGD; Wu & He's.
        device: ``cpu``, or ``auto`` for a GPU if there is one.
    """

    network: str
    depth: int
    width: int
    data: str
    batches: tuple[int, ...]
    epochs: int
    lr_at_32: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    device: str = "cpu"


def judge_small_batch(rows: Rows, design: SmallBatchDesign) -> Judgement:
    """From the largest to the smallest batch BN's error rises by more than a point, GN's by less."""
    found = combine(
        _rise(rows, design, "batch", design.batches[0], "above"),
        _rise(rows, design, "group", design.batches[0], "below"),
    )
    notes = [
        described(_rises(rows, norm, size, design.batches[-1]), f"the rise of {norm} norm at B = {size}")
        for norm in NORMS
        for size in design.batches[:-1]
        if (norm, size) not in (("batch", design.batches[0]), ("group", design.batches[0]))
    ]
    return Judgement(
        found.outcome, found.effect, found.interval, found.n, f"{found.why} Not judged: {'; '.join(notes)}."
    )


def judge_control(rows: Rows, design: SmallBatchDesign) -> Judgement:
    """Without a norm the error must not rise by a point from the largest to the smallest batch."""
    return _rise(rows, design, "none", design.batches[0], "below")


def _rise(rows: Rows, design: SmallBatchDesign, norm: str, size: int, side: str) -> Judgement:
    name = f"rise of the test error from B = {design.batches[-1]} to {size} with {norm} norm"
    return one_sided(
        _rises(rows, norm, size, design.batches[-1]), name=name, seeds=design.seeds,
        side="above" if side == "above" else "below", limit=LIMIT,
    )  # fmt: skip


def _rises(rows: Rows, norm: str, size: int, largest: int) -> list[float]:
    own = [row for row in rows if row["norm"] == norm]
    return paired_differences(own, "test_error", "batch_size", size, largest)


def draw_errors(rows: Rows) -> alt.LayerChart:
    """The error over the batch size for each norm; none is the control."""
    points = [{**row, "percent": 100 * number(row["test_error"])} for row in rows]
    return curves(
        points,
        Along("batch_size", "samples of a batch B; learning rate in proportion to B", log=True),
        Along("percent", "test error in %", log=True),
        Along("norm", "norm"),
        title="Test error over the batch size, with each norm and without",
        subtitle="Thick lines: medians over seeds; thin ones: seeds; the same number of epochs everywhere",
    )


_MLP = "gainstage.lab.apparatus.networks:mlp"
_QUICK = SmallBatchDesign(
    seeds=5, network=_MLP, depth=2, width=64, data="gainstage.lab.apparatus.data:digits", batches=(2, 4, 32), epochs=2
)
_FULL = SmallBatchDesign(
    seeds=10,
    network="gainstage.lab.apparatus.convnets:resnet",
    depth=20,
    width=16,
    data="gainstage.lab.apparatus.data:cifar10",
    batches=(2, 8, 32),
    epochs=5,
    device="auto",
)

CLAIM = Claim(
    id="small-batch",
    group="numbers",
    statement=(
        "Batch normalization gets worse as the batch gets small, because its statistics get noisy; group "
        "normalization, which does not use the batch, does not."
    ),
    source="Wu & He 2018, Group Normalization, table 2",
    citation="quoted",
    prediction=(
        "The error rises with BN and stays with GN. Wu & He's ResNet-50 at 32, 16, 8, 4, 2 samples a GPU: BN 23.6, "
        "23.7, 24.8, 27.3, 34.7 %, GN 24.1, 24.2, 24.0, 24.2, 24.1 %."
    ),
    scope=Scope(
        "ReLU perceptron, two hidden layers of 64 units (quick); ResNet-20 (full); He's initial weights",
        "digits, not ImageNet (quick); CIFAR-10 (full)",
        "B from 2 to 32, lr = 0.1·B/32 falling to 0, momentum 0.9, weight decay 1e-4; 2 epochs (quick), 5 (full)",
    ),
    caveats=(
        "A fully connected layer has B values for each statistic; a convolution has B times the number of positions, "
        "so that the same B harms it less.",
        "Group norm has groups of 8 features here, as 32 groups of 256 channels have.",
        "Quick takes B = 2, 4 and 32, full 2, 8 and 32; B = 16 and 64 are in neither.",
        "So few epochs do not train to the end: each point is at the same number of samples, not at the best.",
    ),
    designs={"quick": _QUICK, "full": _FULL},
    smoke=SmallBatchDesign(
        seeds=2,
        network="gainstage.lab.apparatus.convnets:resnet",
        depth=8,
        width=4,
        data="gainstage.lab.apparatus.data:color_noise",
        batches=(8, 16),
        epochs=1,
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_small_batch,
    control=Control(
        "Without a norm the error must not rise by a point: small batches and their rates do no harm by themselves.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_errors,
)
