"""How many units stand where their activation is flat, over depth, training and initial scale.

A unit counts as saturated where φ′ < 0.05: for the sigmoid |z| > 2.89, for tanh |z| > 2.18. Of standard normal values,
which a batch norm gives at γ = 1 and β = 0, these are 0.4 % and 2.9 %.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side
from gainstage.lab.judge import Judgement, Value, combine, described, number, one_sided, paired_differences, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.bn_saturation"
ACTIVATIONS = ("sigmoid", "tanh")
FLAT = 0.05
# From this factor of Glorot's weights on they count as large. Glorot's weights keep normal preactivations at a standard
# deviation of 1 at most; at 3, 34 % (sigmoid) and 47 % (tanh) of normal values are saturated, at 1 only 0.4 and 2.9 %:
# less than `matters`, so that no norm could spare that many there. Smaller factors are judged on their own.
LARGE = 3.0
NAMES = {"none": "no norm", "batch": "batch norm", "gamma": "batch norm, γ started at a (control)"}


@dataclass(frozen=True)
class SaturationDesign(Design):
    """Networks trained by SGD, looked at on a fixed part of the training set.

    Attributes:
        data: Reference to the data.
        scales: Factors a of Glorot's weights.
        looks: Numbers of updates after which the units are looked at.
        samples: Of the training set that they are looked at on.
        matters: Share of all units that a norm must spare to count: five in a hundred.
    """

    data: str
    depth: int
    width: int
    batch: int
    lr: float
    scales: tuple[float, ...]
    looks: tuple[int, ...]
    samples: int
    matters: float


def judge_saturation(rows: Rows, design: SaturationDesign) -> Judgement:
    """For each activation: over all large scales, layers and looks fewer units are saturated with batch norm."""
    found = combine(*(_spared(large(rows), design, activation, f"a ≥ {LARGE:g}") for activation in ACTIVATIONS))
    smaller = [scale for scale in design.scales if scale < LARGE]
    apart = " ".join(_apart(rows, design, scale) for scale in smaller)
    return replace(found, why=f"{found.why} {apart} {_notes(rows, design)}")


def large(rows: Rows) -> Rows:
    """Those of networks whose weights are at least `LARGE` times Glorot's."""
    return [row for row in rows if number(row["scale"]) >= LARGE]


def _apart(rows: Rows, design: SaturationDesign, scale: float) -> str:
    """What the same judge says of one smaller scale, which does not count towards the outcome."""
    some = chosen(rows, scale=scale)
    found = combine(*(_spared(some, design, activation, f"a = {scale:g}") for activation in ACTIVATIONS))
    return f"At a = {scale:g} alone, which does not count here, the same would be {found.outcome}: {found.why}"


def _spared(rows: Rows, design: SaturationDesign, activation: str, where: str) -> Judgement:
    return one_sided(
        paired_differences(chosen(rows, activation=activation), "share", "norm", "none", "batch"),
        name=f"{activation}, {where}: share of saturated units without a norm, less that with batch norm",
        seeds=design.seeds, side="above", limit=design.matters,
    )  # fmt: skip


def judge_control(rows: Rows, design: SaturationDesign) -> Judgement:
    """With γ started at a, no fewer units are saturated than without a norm at weights times a, but for the limit."""
    parts = [
        one_sided(
            paired_differences(chosen(large(rows), activation=activation), "share", "norm", "none", "gamma"),
            name=f"{activation}: share without a norm, less that with γ started at a", seeds=design.seeds,
            side="below", limit=design.matters,
        )
        for activation in ACTIVATIONS
    ]  # fmt: skip
    return combine(*parts)


def _notes(rows: Rows, design: SaturationDesign) -> str:
    """The difference and the accuracies by scale: the claim may hold in a part of the range only."""
    last = design.looks[-1]
    told: list[str] = []
    for activation in ACTIVATIONS:
        for scale in design.scales:
            some = chosen(rows, activation=activation, scale=scale)
            spared = described(paired_differences(some, "share", "norm", "none", "batch"), "spared")
            reached = " and ".join(_accuracy(some, norm, last) for norm in ("none", "batch"))
            told.append(f"{activation}, a = {scale:g}: {spared}, test accuracy after {last} steps {reached}")
    return f"By scale (no norm and batch norm): {'; '.join(told)}."


def _accuracy(rows: Rows, norm: str, step: int) -> str:
    figures = list(per_seed(rows, "test_accuracy", norm=norm, step=step).values())
    return f"{sum(figures) / len(figures):.3f}" if figures else "not measured"


def draw_shares(rows: Rows) -> alt.HConcatChart:
    """Share of saturated units over the initial scale, all layers and looks together; from 3 on it is judged."""
    return side_by_side(
        *(
            curves(
                _points(chosen(rows, activation=activation)),
                Along("scale", "scale a of the initial weights (1 = Glorot; control: of γ)", log=True),
                Along("share", f"share of units with φ′ < {FLAT:g}"), Along("what", "network"),
                title=f"Saturated {activation} units over the initial scale",
                subtitle="Mean over layers and times of training; bold: median; faint: a seed",
            )
            for activation in ACTIVATIONS
        )
    )  # fmt: skip


def _points(rows: Rows) -> list[dict[str, Value]]:
    shown = [row for row in rows if row["part"] == "claim" or row["norm"] == "gamma"]
    cases = dict.fromkeys((str(row["norm"]), number(row["scale"])) for row in shown)
    return [
        {"what": NAMES[norm], "scale": scale, "share": share, "seed": seed}
        for norm, scale in cases
        for seed, share in per_seed(shown, "share", norm=norm, scale=scale).items()
    ]


_QUICK = SaturationDesign(
    seeds=5,
    data="gainstage.lab.apparatus.data:digits",
    depth=4,
    width=64,
    batch=64,
    lr=0.1,
    scales=(0.3, 1.0, 3.0, 10.0),
    looks=(0, 20, 80),
    samples=400,
    matters=0.05,
)

CLAIM = Claim(
    id="bn-saturation",
    group="normalization",
    statement=(
        "Where initial weights are large, three times Glorot's or more, batch normalization keeps units out of the "
        "saturated regime of their activation."
    ),
    source="Ioffe & Szegedy 2015, §1",
    prediction=(
        "Averaged over layers, training and the initial scales 3 and 10, the share of sigmoid and tanh units with "
        "φ′ < 0.05 is lower with batch norm, by more than 0.05."
    ),
    scope=Scope(
        "sigmoid and tanh network of four hidden layers of 64 (full: three of 100), SGD at lr 0.1, batches of 64 "
        "(full: 60)",
        "digits, 8×8 (full: 4000 images of MNIST)",
        "Glorot's weights times 3 and 10 (times 0.3 and 1: told apart); before training and to step 80 (full: 5000)",
    ),
    caveats=(
        "The source has no such limit of scale. At Glorot's own and below it small preactivations are far from "
        "saturation without a norm, and batch norm, which widens them to variance 1, cannot spare units; the reason "
        "gives these scales their own judgement.",
        "The source adds that the optimizer gets stuck in that regime: accuracies are told and not judged.",
        "Fewer saturated units need not mean a higher accuracy.",
        "Batch norm sets the scale once, at γ = 1: γ is trained, and can lead units back into saturation.",
    ),
    designs={
        "quick": _QUICK,
        "full": replace(
            _QUICK, seeds=10, data="gainstage.lab.apparatus.data:mnist_5k", depth=3, width=100, batch=60,
            looks=(0, 100, 1000, 5000), samples=1000,
        ),
    },
    smoke=replace(_QUICK, seeds=2, depth=2, width=8, batch=16, scales=(1.0, 10.0), looks=(0, 3), samples=20),
    measure=Deferred(_HOME, "measure"),
    judge=judge_saturation,
    control=Control(
        "Where γ starts at a, batch norm must not spare units: they are as saturated as without it at weights times a.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_shares,
)  # fmt: skip
