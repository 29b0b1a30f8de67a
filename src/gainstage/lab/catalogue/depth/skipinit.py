"""A factor α = 0, or 1/√depth, on each residual branch trains deep nets that have no norm; α = 1 does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves
from gainstage.lab.judge import Judgement, combine, described, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.depth.skipinit"
NAMES: Mapping[str, str] = {"zero": "α = 0", "root": "α = 1/√blocks", "one": "α = 1 (control)"}
# Of ten classes: most are learnt; and most are not.
TRAINS, FAILS = 0.8, 0.5


@dataclass(frozen=True)
class SkipInitDesign(Design):
    """Residual perceptrons without norm, each kind at each learning rate; the best rate counts.

    Attributes:
        blocks: Depths; the last is judged.
        lrs: Of plain gradient descent.
        scalar_rate: What the rate of α and of the scalar biases is multiplied with; Fixup's tenth.
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


def judge_skipinit(rows: Rows, design: SkipInitDesign) -> Judgement:
    """Both factors reach 0.8 in the deepest net."""
    return combine(_trains(rows, design, "zero"), _trains(rows, design, "root"))


def judge_control(rows: Rows, design: SkipInitDesign) -> Judgement:
    """α = 1 stays below 0.5 in the deepest net; what it reaches in shallower ones is told."""
    found = one_sided(
        _deepest(rows, design, "one"), name=_name(design, "one"), seeds=design.seeds, side="below", limit=FAILS
    )
    shallow = list(per_seed(rows, "best_accuracy", start="one", blocks=design.blocks[0]).values())
    return replace(found, why=f"{found.why} {described(shallow, f'With {design.blocks[0]} blocks it')}.")


def _trains(rows: Rows, design: SkipInitDesign, start: str) -> Judgement:
    figures = _deepest(rows, design, start)
    return one_sided(figures, name=_name(design, start), seeds=design.seeds, side="above", limit=TRAINS)


def _deepest(rows: Rows, design: SkipInitDesign, start: str) -> list[float]:
    return list(per_seed(rows, "best_accuracy", start=start, blocks=design.blocks[-1]).values())


def _name(design: SkipInitDesign, start: str) -> str:
    return f"test accuracy with {design.blocks[-1]} blocks at the best rate ({NAMES[start]})"


def draw_accuracies(rows: Rows) -> alt.LayerChart:
    """Best accuracy over depth."""
    points = [{**row, "what": NAMES[str(row["start"])]} for row in chosen(rows, kind="net")]
    return curves(
        points, Along("blocks", "residual blocks (two layers each)", log=True),
        Along("best_accuracy", "test accuracy at the best learning rate"), Along("what", "factor of each branch"),
        title="Accuracy of residual nets without norm over depth, by the branches' first factor α",
        subtitle="Faint: seeds; bold: their median; chance is 0.1",
    )  # fmt: skip


CLAIM = Claim(
    id="skipinit",
    group="depth",
    statement=(
        "Deep residual networks train without normalization if each branch has a learnable factor α that starts at 0, "
        "or at 1/√depth, and learns at a tenth of the rate of the weights; with α = 1 they do not."
    ),
    source=(
        "De & Smith 2020, Batch normalization biases residual blocks towards the identity function in deep networks"
    ),
    citation="quoted",
    prediction="α = 0 and α = 1/√blocks reach 80 % on digits in the deepest net, α = 1 stays below 50 % at every rate.",
    scope=Scope(
        "fully connected residual network, two ReLU layers a branch, He's weights, no norm; α and scalar biases learn "
        "at a tenth of the rate",
        "scikit-learn digits (not CIFAR-10), plain SGD, one pass over a grid of learning rates",
        "100 blocks of width 32, rates 0.01 to 0.1 (quick); 1000 blocks of width 64 on MNIST (full)",
    ),
    caveats=(
        "'Trains' is 80 % test accuracy after a few epochs at the best rate: it says nothing on what accuracy is "
        "reached in the end, nor whether batch norm would do better.",
        "Scalar biases stand before each map and activation, as in Fixup, instead of a bias for each unit. The tenth "
        "of the rate is Fixup's too, not SkipInit's: while this was developed, α = 1/√blocks at the full rate failed "
        "at some seeds at this depth.",
        "The best rate is the one with the lowest training loss after the last update.",
    ),
    designs={
        "quick": SkipInitDesign(seeds=5, blocks=(10, 100), width=32, lrs=(0.01, 0.03, 0.1), steps=60, batch=64),
        "full": SkipInitDesign(
            seeds=10, blocks=(10, 100, 1000), width=64, lrs=(0.001, 0.003, 0.01, 0.03, 0.1), steps=500, batch=64,
            data="gainstage.lab.apparatus.data:mnist_5k", device="auto",
        ),
    },
    smoke=SkipInitDesign(seeds=2, blocks=(2, 4), width=8, lrs=(0.01, 0.1), steps=4, batch=16, device="auto"),
    measure=Deferred(_HOME, "measure"),
    judge=judge_skipinit,
    control=Control(
        "With α = 1 the deepest net must fail at every learning rate.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_accuracies,
)  # fmt: skip
