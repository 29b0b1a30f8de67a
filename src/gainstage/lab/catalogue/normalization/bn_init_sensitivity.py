"""Over how many decades of the initial scale a network trains, with batch norm and without."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.apparatus.tuning import best_value, differences
from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side
from gainstage.lab.judge import Judgement, Value, described, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.bn_init_sensitivity"
# Of the test accuracy, below a network's own best: a scale within counts as one at which it trains.
MARGIN = 0.05
NAMES = {"none": "no norm", "batch": "batch norm", "centered": "batch mean only"}
Options = tuple[tuple[str, int | str], ...]


@dataclass(frozen=True)
class SensitivityDesign(Design):
    """Networks over a grid of scales a and learning rates.

    Attributes:
        network: Reference to the factory, which takes ``norm`` and the options.
        options: Keywords of the factory.
        data: Reference to the data.
        low, high: Decades that a runs over.
        per_decade: Scales a decade.
        lrs: Each norm has the one that trains it best at a = 1.
    """

    network: str
    options: Options
    data: str
    low: float
    high: float
    per_decade: int
    lrs: tuple[float, ...]
    steps: int
    batch_size: int
    device: str

    @property
    def scales(self) -> tuple[float, ...]:
        """The grid of a; 1 is on it."""
        steps = range(round(self.low * self.per_decade), round(self.high * self.per_decade) + 1)
        return tuple(10.0 ** (step / self.per_decade) for step in steps)

    @property
    def resolution(self) -> float:
        """Decades between two scales: a range that is wider by less cannot be told apart."""
        return 1 / self.per_decade


def judge_width(rows: Rows, design: SensitivityDesign) -> Judgement:
    """Seed by seed: the range with batch norm, less that without, exceeds a step of the grid."""
    gained = differences(_widths(rows, design, "batch"), _widths(rows, design, "none"))
    name = "decades of scale that batch norm trains at, less those without it"
    found = one_sided(
        gained, name=name, seeds=design.seeds, side="above", limit=design.resolution, resolution=hidden(design)
    )
    return replace(found, why=f"{found.why} {_notes(rows, design)}")


def judge_control(rows: Rows, design: SensitivityDesign) -> Judgement:
    """The range with the mean alone taken away is not wider than without a norm by a step of the grid."""
    gained = differences(_widths(rows, design, "centered"), _widths(rows, design, "none"))
    name = "decades that taking the batch mean away gains"
    return one_sided(
        gained, name=name, seeds=design.seeds, side="below", limit=design.resolution, resolution=hidden(design)
    )


def hidden(design: SensitivityDesign) -> float:
    """What the grid hides of the difference of two ranges that are counted in its steps."""
    return math.sqrt(2) * design.resolution


def _widths(rows: Rows, design: SensitivityDesign, norm: str, *, tuned: bool = False) -> dict[int, float]:
    """Decades by seed: each scale within the margin of the norm's own best counts for a step of the grid.

    With ``tuned`` the learning rate is chosen anew at each scale, else once at a = 1.
    """
    rates = {a: best_value(rows, "lr", norm=norm, scale=a if tuned else 1.0) for a in design.scales}
    found = {a: per_seed(rows, "test_accuracy", norm=norm, scale=a, lr=rate) for a, rate in rates.items()}
    seeds = sorted({seed for figures in found.values() for seed in figures})
    return {seed: _within([figures.get(seed, 0.0) for figures in found.values()], design) for seed in seeds}


def _within(accuracies: list[float], design: SensitivityDesign) -> float:
    return design.resolution * sum(accuracy >= max(accuracies) - MARGIN for accuracy in accuracies)


def _notes(rows: Rows, design: SensitivityDesign) -> str:
    own = "; ".join(
        described(list(_widths(rows, design, norm).values()), f"decades, {NAMES[norm]}") for norm in ("batch", "none")
    )
    tuned = differences(_widths(rows, design, "batch", tuned=True), _widths(rows, design, "none", tuned=True))
    retuned = described(tuned, "with the learning rate chosen anew at each scale the difference")
    best = ", ".join(f"{NAMES[norm]} {_best(rows, norm):.3f}" for norm in ("batch", "none"))
    return f"Of {(design.high - design.low + design.resolution):g}: {own}; {retuned}. Accuracy at a = 1: {best}."


def _best(rows: Rows, norm: str) -> float:
    figures = per_seed(rows, "test_accuracy", norm=norm, scale=1.0, lr=best_value(rows, "lr", norm=norm, scale=1.0))
    return sum(figures.values()) / max(len(figures), 1)


def draw_accuracy(rows: Rows) -> alt.HConcatChart:
    """Accuracy over a at the rate chosen at a = 1: claim beside control."""
    axes = Along("scale", "scale a of the initial weights (1 = He)", log=True), Along("accuracy", "test accuracy")
    subtitle = "Learning rate chosen at a = 1 for each; bold: median; faint: a seed; diverged: 0.1"
    panels = [("claim", "Accuracy over the initial scale"), ("control", "Control: without the division by σ")]
    return side_by_side(
        *(
            curves(_points(chosen(rows, part=part)), *axes, Along("what", "network"), title=title, subtitle=subtitle)
            for part, title in panels
        )
    )


def _points(rows: Rows) -> list[dict[str, Value]]:
    return [
        {"what": NAMES[norm], "scale": row["scale"], "accuracy": row["test_accuracy"], "seed": row["seed"]}
        for norm in dict.fromkeys(str(row["norm"]) for row in rows)
        for row in chosen(rows, norm=norm, lr=best_value(rows, "lr", norm=norm, scale=1.0))
    ]


_QUICK = SensitivityDesign(
    seeds=7,
    network="gainstage.lab.apparatus.networks:mlp",
    options=(("depth", 6), ("width", 64)),
    data="gainstage.lab.apparatus.data:digits",
    low=-1.5,
    high=2.0,
    per_decade=2,
    lrs=(0.03, 0.1, 0.3),
    steps=150,
    batch_size=64,
    device="cpu",
)

CLAIM = Claim(
    id="bn-init-sensitivity",
    group="normalization",
    statement=(
        "Batch normalization makes training less sensitive to the scale of the initial weights: it trains over more "
        "decades of a factor a on all weights."
    ),
    source="Ioffe & Szegedy 2015, abstract",
    prediction=(
        "The range of a with a test accuracy within 5 points of the best is wider with batch norm, by more than the "
        "step of the grid."
    ),
    scope=Scope(
        "ReLU network of six layers of 64 (full: VGG), He's variance times a², SGD, 150 steps of batches of 64",
        "digits, 8×8, not CIFAR-10 (full: CIFAR-10)",
        "a from 0.03 to 100 in half decades (full: 0.01 to 100 in decades), one learning rate for all a",
    ),
    caveats=(
        "Less sensitive is not insensitive: the read-out has no norm behind it and is scaled too, and larger weights "
        "turn more slowly, by lr/a².",
        "The learning rate is the one that trains best at a = 1, for each norm by itself.",
    ),
    designs={
        "quick": _QUICK,
        "full": SensitivityDesign(
            seeds=10,
            network="gainstage.lab.apparatus.convnets:vgg",
            options=(("width", 64),),
            data="gainstage.lab.apparatus.data:cifar10",
            low=-2.0,
            high=2.0,
            per_decade=1,
            lrs=(0.01, 0.1),
            steps=4000,
            batch_size=128,
            device="auto",
        ),
    },
    smoke=replace(
        _QUICK, seeds=2, options=(("depth", 2), ("width", 8)), low=-1.0, high=1.0, per_decade=1, lrs=(0.1,), steps=5
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_width,
    control=Control(
        "Taking the batch mean away without dividing by σ must not widen the range by a step of the grid.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_accuracy,
)
