"""Fixup trains very deep residual nets without normalization about as well as batch norm does.

L branches of m maps: all maps but the last of a branch are drawn as He's and scaled by L^(-1/(2m - 2)), the last one
and the read-out are zero; scalar biases before each map and activation, one scalar factor a branch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves
from gainstage.lab.judge import Judgement, combine, described, one_sided, paired_differences, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.depth.fixup"
NAMES: Mapping[str, str] = {"fixup": "Fixup", "batch": "batch norm, He", "he": "no norm, He (control)"}
# "As well as": not more than two points of accuracy behind; one test set of some 400 is uncertain by more than one.
_BEHIND = 0.02
# Of ten classes: most are learnt; and most are not.
TRAINS, FAILS = 0.8, 0.5


@dataclass(frozen=True)
class FixupDesign(Design):
    """Residual perceptrons of two maps a branch, each kind at each learning rate; the best rate counts.

    Attributes:
        blocks: Depths; the last is judged.
        lrs: Of plain gradient descent.
        scalar_rate: What the rate of scalar factors and biases is multiplied with; a tenth in the paper.
        data: A function that returns the data.
        device: ``auto`` is a GPU if there is one.
    """

    blocks: tuple[int, ...]
    width: int
    lrs: tuple[float, ...]
    steps: int
    batch: int
    scalar_rate: float = 0.1
    data: str = "gainstage.lab.apparatus.data:digits"
    device: str = "cpu"


def judge_fixup(rows: Rows, design: FixupDesign) -> Judgement:
    """In the deepest net Fixup is not behind batch norm by more than two points, and does learn."""
    deep = chosen(rows, blocks=design.blocks[-1])
    gap = one_sided(
        paired_differences(deep, "best_accuracy", "net", "fixup", "batch"), seeds=design.seeds, side="above",
        name=f"test accuracy of Fixup - batch norm, {design.blocks[-1]} blocks, each at its best rate", limit=-_BEHIND,
    )  # fmt: skip
    reached = list(per_seed(deep, "best_accuracy", net="fixup").values())
    learns = one_sided(reached, name="test accuracy of Fixup", seeds=design.seeds, side="above", limit=TRAINS)
    found = combine(gap, learns)
    normed = list(per_seed(deep, "best_accuracy", net="batch").values())
    return replace(found, why=f"{found.why} {described(normed, 'Batch norm reaches')}.")


def judge_control(rows: Rows, design: FixupDesign) -> Judgement:
    """The same net with He's weights as they are stays below 0.5 in the deepest net."""
    figures = list(per_seed(rows, "best_accuracy", net="he", blocks=design.blocks[-1]).values())
    name = f"test accuracy with {design.blocks[-1]} blocks ({NAMES['he']})"
    return one_sided(figures, name=name, seeds=design.seeds, side="below", limit=FAILS)


def draw_accuracies(rows: Rows) -> alt.LayerChart:
    """Best accuracy over depth."""
    points = [{**row, "what": NAMES[str(row["net"])]} for row in chosen(rows, kind="net")]
    return curves(
        points, Along("blocks", "residual blocks (two layers each)", log=True),
        Along("best_accuracy", "test accuracy at the best learning rate"), Along("what", "nets"),
        title="Accuracy of residual nets over depth: Fixup, batch norm, neither",
        subtitle="Faint: seeds; bold: their median; chance is 0.1",
    )  # fmt: skip


CLAIM = Claim(
    id="fixup",
    group="depth",
    statement=(
        "Fixup, which scales the first maps of L residual branches of m maps by L^(-1/(2m - 2)) and starts their last "
        "maps and the read-out at zero, trains very deep residual networks without normalization about as well as "
        "batch norm does."
    ),
    source="Zhang, Dauphin & Ma 2019, Fixup initialization: residual learning without normalization",
    citation="quoted",
    prediction="In the deepest net Fixup's test accuracy is within 2 points of batch norm's, or better.",
    scope=Scope(
        "fully connected residual network, two ReLU layers a branch, scalar biases and factors; against batch norm",
        "scikit-learn digits (not CIFAR-10 or ImageNet), plain SGD, the best of a grid of learning rates",
        "50 blocks, so 100 layers, of width 32, 50 updates (quick); 1000 blocks of width 64 on MNIST (full)",
    ),
    caveats=(
        "After a few epochs: the paper's ResNet-50 on ImageNet needed stronger regularization (mixup) to generalize as "
        "batch norm does, which digits cannot show.",
        "The best rate is the one with the lowest training loss after the last update. Batch norm's running statistics "
        "are taken anew after training.",
        "The quick preset has 50 blocks; that 200 of them or more train is left to the full one.",
    ),
    designs={
        "quick": FixupDesign(seeds=16, blocks=(5, 50), width=32, lrs=(0.1, 0.3, 1.0, 3.0), steps=50, batch=64),
        "full": FixupDesign(
            seeds=10, blocks=(10, 100, 1000), width=64, lrs=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0), steps=500, batch=64,
            data="gainstage.lab.apparatus.data:mnist_5k", device="auto",
        ),
    },
    smoke=FixupDesign(seeds=2, blocks=(2, 4), width=8, lrs=(0.1, 1.0), steps=4, batch=16, device="auto"),
    measure=Deferred(_HOME, "measure"),
    judge=judge_fixup,
    control=Control(
        "Without Fixup's scaling and zeros, at He's variance, the deepest net must fail at every learning rate.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_accuracies,
)  # fmt: skip
