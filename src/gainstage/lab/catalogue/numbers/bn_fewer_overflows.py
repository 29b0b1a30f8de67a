"""In deep networks products of weights overflow; a norm after each layer leaves one product at a time to do so.

Without norms the signal at depth L grows as a^L with the scale a of He's weights, and leaves float16 near
a = 65504^(1/L); with batch norm only the largest single product counts, at any depth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, curves
from gainstage.lab.judge import Judgement, described, equality, number, one_sided, paired_differences

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.numbers.bn_fewer_overflows"
NORMS = ("none", "batch")


@dataclass(frozen=True)
class DepthDesign(Design):
    """ReLU perceptrons with He's normal weights times a, in float16; forward and backward pass.

    Attributes:
        data: A reference.
        depths: Hidden layers; the last, deepest one is judged.
        width, batch: Units of a layer, samples.
        decades: a runs from 1 to 10^decades.
        per_decade: Points of a in a decade.
        limit: Decades of a by which the first overflow must come later with batch norm: log10 2, a factor that a
            user would notice.
        autocast: Whether each product is cast by itself, or the weights beforehand.
        device: ``cpu``, or ``auto`` for CUDA where there is any.
    """

    data: str
    depths: tuple[int, ...]
    width: int
    batch: int
    decades: int
    per_decade: int
    limit: float
    autocast: bool
    device: str


def judge_fewer(rows: Rows, design: DepthDesign) -> Judgement:
    """In the deepest network batch norm lets the weights be larger by more than the limit."""
    gains = {depth: _gains(rows, depth) for depth in design.depths}
    deepest = design.depths[-1]
    name = f"decades of a between the first overflow with batch norm and without, at depth {deepest}"
    found = one_sided(gains[deepest], name=name, seeds=design.seeds, side="above", limit=design.limit)
    others = [described(gains[depth], f"at depth {depth} it") for depth in design.depths[:-1]]
    return replace(found, why=f"{found.why} Not judged: {'; '.join(others)}.") if others else found


def judge_control(rows: Rows, design: DepthDesign) -> Judgement:
    """Within the first product there is no difference."""
    gains = _gains(rows, design.depths[-1])
    name = "decades of a between the first overflow with batch norm and without, in the first product"
    # Half a step of the grid: the same point is the only one within it.
    return equality(gains, name=name, seeds=design.seeds, target=0.0, tolerance=0.5 / design.per_decade)


def _gains(rows: Rows, depth: int) -> list[float]:
    chosen = [row for row in rows if row["depth"] == depth]
    return paired_differences(chosen, "log_scale", "norm", "batch", "none")


def draw_thresholds(rows: Rows) -> alt.LayerChart:
    """The first scale that overflows over depth, with and without batch norm; of the first product alone at 0."""
    names = {"none": "no norm", "batch": "batch norm"}
    points = [
        {
            "seed": row["seed"],
            "depth": 0 if row["part"] == "control" else row["depth"],
            "scale": 10 ** number(row["log_scale"]),
            "norm": names[str(row["norm"])],
        }
        for row in rows
    ]
    return curves(
        points,
        Along("depth", "hidden layers (0: the first product alone, the control)"),
        Along("scale", "first scale a that overflows, in multiples of He's", log=True),
        Along("norm", "network"),
        title="The scale of the weights from which on float16 overflows, by depth",
        subtitle="Bold: median over seeds; faint: each seed. Forward and backward pass, not trained",
    )


_QUICK = DepthDesign(
    seeds=5,
    data="gainstage.lab.apparatus.data:digits",
    depths=(1, 2, 5, 10, 20),
    width=64,
    batch=64,
    decades=5,
    per_decade=8,
    limit=0.3,
    autocast=False,
    device="cpu",
)

CLAIM = Claim(
    id="bn-fewer-overflows",
    group="numbers",
    statement=(
        "Batch normalization leaves fewer chances of overflow: without it the sizes of all layers multiply, with it "
        "each layer's product starts from normalized values."
    ),
    source="a question-and-answer thread",
    citation="informal",
    prediction=(
        "At depth 20 float16 overflows at about 1.7 times He's weights without batch norm (65504^(1/20)), and at "
        "thousands of times with it; within the first product there is no difference."
    ),
    scope=Scope(
        "fully connected ReLU networks, batch norm before each activation; at initialization",
        "64 digits (quick), 256 pictures of MNIST (full)",
        "1 to 20 layers of width 64 in float16 (quick), to 100 of width 512 under autocast (full); He's normal "
        "weights times 1 to 10⁵; forward pass and gradients of the weights",
    ),
    caveats=(
        "At He's own scale neither network overflows at these depths: the difference is in what bad scales do.",
        "Overflow is counted, not underflow; and not what training makes of the weights.",
        "Batch norm makes gradients grow with depth at initialization (bn-gradient-explosion), by too little to "
        "overflow at 20 layers.",
    ),
    designs={
        "quick": _QUICK,
        "full": replace(
            _QUICK, seeds=10, data="gainstage.lab.apparatus.data:mnist_5k", depths=(1, 5, 20, 50, 100), width=512,
            batch=256, per_decade=16, autocast=True, device="auto",
        ),
    },
    smoke=replace(_QUICK, seeds=2, depths=(1, 3), width=8, batch=16, per_decade=1, autocast=True),
    measure=Deferred(_HOME, "measure"),
    judge=judge_fewer,
    control=Control(
        "The first product, which comes before any norm, must overflow at the same scale with and without.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_thresholds,
)  # fmt: skip
