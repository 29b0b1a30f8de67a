"""Weights so large that a product overflows in half precision before the norm behind it can act.

Prediction of the scale. With batch norm after each map, every layer's input is the same at any scale a of the
weights, so all products are a times those at a = 1. float16 rounds to infinity from 65520 on, so the first overflow
is at a* = 65520/max |z|, the maximum over all products at a = 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.judge import Judgement, combine, described, equality, identity, number, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.numbers.overflow_before_bn"
HALF, WIDE = "float16", ("bfloat16", "float32")


@dataclass(frozen=True)
class OverflowDesign(Design):
    """Networks with He's normal weights times a, a batch norm after each hidden map; one forward pass.

    Attributes:
        network, data: References.
        depth: Hidden layers, if the network has that option; 0: the factory's own.
        width: Of the first layer.
        batch: Samples.
        decades: a runs from 1 to 10^decades, where the largest product is far beyond float16 but not float32.
        per_decade: Points of a in a decade.
        autocast: Whether each product is cast by itself, or the weights beforehand.
        device: ``cpu``, or ``auto`` for CUDA where there is any.
    """

    network: str
    data: str
    depth: int
    width: int
    batch: int
    decades: int
    per_decade: int
    autocast: bool
    device: str


def judge_overflow(rows: Rows, design: OverflowDesign) -> Judgement:
    """float16 overflows where the largest product says, and first in a product or in the weights themselves."""
    step = 1 / design.per_decade
    # The first point of the grid beyond a* is up to one step away; rounding of weights and inputs is far below it.
    place = equality(
        list(per_seed(rows, "log_ratio", kind="threshold").values()),
        name="log10 of the first scale that overflows over the predicted one",
        seeds=design.seeds, target=step / 2, tolerance=step,
    )  # fmt: skip
    late = list(per_seed(rows, "in_norm_first", kind="threshold").values())
    found = combine(place, identity(late, name="number of scales at which a norm overflowed first", tolerance=0.0))
    return replace(found, why=f"{found.why} {_notes(rows)}")


def judge_control(rows: Rows, design: OverflowDesign) -> Judgement:
    """bfloat16 and float32 overflow at none of the scales."""
    counts = [number(row["overflows"]) for row in rows if row["kind"] == "threshold"]
    return identity(counts, name=f"number of scales up to 1e{design.decades} that overflowed", tolerance=0.0)


def _notes(rows: Rows) -> str:
    first = described(list(per_seed(rows, "log_scale", kind="threshold").values()), "log10 of that scale")
    own = described(list(per_seed(rows, "log_scale", kind="norm in half").values()), "log10 of the scale")
    return f"Not judged: {first}. With the norm itself in float16 its running variance overflows first: {own}."


def draw_overflow(rows: Rows) -> alt.FacetChart:
    """The first place that is not finite, over the scale, for each type and seed."""
    import altair as alt

    points = [
        {"dtype": row["dtype"], "scale": row["scale"], "seed": row["seed"], "first": row["op"] or "none: all finite"}
        for row in rows
        if row["kind"] == "scale"
    ]
    kinds = ["none: all finite", "product", "weight", "norm", "other"]
    x = alt.X("scale:Q", title="scale a of the weights, in multiples of He's")
    chart = alt.Chart(alt.InlineData(points)).mark_point(filled=True, size=28).encode(
        x.scale(type="log").axis(format="~g", tickCount=6),
        alt.Y("seed:O", title="seed"),
        alt.Color("first:N", title="first non-finite value", sort=kinds).legend(orient="bottom"),
        alt.Shape("first:N", title="first non-finite value", sort=kinds).legend(orient="bottom"),
    )  # fmt: skip
    title = alt.TitleParams(
        "Where a batch-normalized network first leaves the range of its numbers",
        subtitle="A dot: one forward pass of an untrained network",
    )
    return chart.properties(width=520, height=90).facet(row=alt.Row("dtype:N", title=None)).properties(title=title)


_QUICK = OverflowDesign(
    seeds=5,
    network="gainstage.lab.apparatus.networks:mlp",
    data="gainstage.lab.apparatus.data:digits",
    depth=5,
    width=64,
    batch=64,
    decades=5,
    per_decade=10,
    autocast=False,
    device="cpu",
)

CLAIM = Claim(
    id="overflow-before-bn",
    group="numbers",
    statement=(
        "Wildly large initial weights overflow before batch normalization can act: the norm rescales what it is "
        "given, but the product W·h before it must fit the range of the numbers."
    ),
    source="a question-and-answer thread",
    citation="informal",
    prediction=(
        "In float16 (largest number 65504) the first infinity is in a product, at the scale a* = 65520/max |z|; "
        "bfloat16 and float32, which reach 3·10³⁸, have none up to a = 10⁵."
    ),
    scope=Scope(
        "fully connected ReLU network of 5 layers, batch norm before each activation (quick); VGG (full); untrained",
        "64 digits, not larger pictures (quick); CIFAR-10 under autocast (full)",
        "He's normal weights times 1 to 10⁵; forward pass; weights in the type, norms computing in float32",
    ),
    caveats=(
        "The scale that it takes is thousands of times He's: no common scheme is near it.",
        "torch computes a norm's statistics in float32. One that is wholly in float16 loses its running variance "
        "(not its output in training) well below that scale.",
        "Gradients, which get smaller as weights get larger, may underflow; that is not counted here.",
    ),
    designs={
        "quick": _QUICK,
        "full": replace(
            _QUICK, seeds=10, network="gainstage.lab.apparatus.convnets:vgg",
            data="gainstage.lab.apparatus.data:cifar10", depth=0, batch=128, per_decade=20, autocast=True,
            device="auto",
        ),
    },
    smoke=replace(
        _QUICK, seeds=2, network="gainstage.lab.apparatus.convnets:vgg",
        data="gainstage.lab.apparatus.data:color_noise", depth=0, width=4, batch=16, per_decade=1, autocast=True,
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_overflow,
    control=Control(
        "In bfloat16 and float32 nothing must overflow at any of these scales.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_overflow,
)  # fmt: skip
