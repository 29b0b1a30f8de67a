"""A plain CNN with delta-orthogonal weights keeps signal and gradient over thousands of layers.

tanh on the edge of chaos at a small bias variance, where it is nearly linear: at σ_b² = 2.01e-5, as in the paper, the
edge lies at σ_w² = 1.05. A random orthogonal matrix at the centre tap then keeps every pixel's norm; Gaussian taps keep
it on average only, so that ln of the gradient's square walks at random, farther the fewer channels there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, curves, side_by_side
from gainstage.lab.judge import Judgement, combine, described, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.initialization.delta_orthogonal_depth"
# "Keeps" means that mean squares stay within a factor of ten over the whole depth, whatever the depth.
_LIMIT = math.log(10)
# Of the trained network: five times chance on ten classes.
_LEARNED = 0.5


@dataclass(frozen=True)
class DeltaDesign(Design):
    """A plain tanh CNN of ``channels`` on square pictures of ``size`` pixels.

    Attributes:
        bias_var: σ_b²; σ_w² is the edge of chaos there.
        points: Layers that a curve of the figure has.
        train_depth: Of the networks that are trained too; 0: none are.
        train_channels, train_steps, rates: Theirs; the best rate counts.
        device: ``auto`` takes a GPU for training if there is one.
    """

    depth: int
    channels: int
    size: int = 8
    bias_var: float = 2.01e-5
    points: int = 50
    train_depth: int = 0
    train_channels: int = 32
    train_steps: int = 500
    rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    data: str = "gainstage.lab.apparatus.data:digit_pictures"
    device: str = "cpu"


def judge_delta(rows: Rows, design: DeltaDesign) -> Judgement:
    """Signal and gradient stay within a factor of ten; if networks were trained, they learn."""
    parts = [_excursion(rows, design, what, "delta", "below") for what in ("signal", "gradient")]
    if design.train_depth:
        parts.append(_learned(rows, design))
    found = combine(parts[0], *parts[1:])
    chi = described(list(per_seed(rows, "chi", draw="delta").values()), "the gradient's factor a layer, χ,")
    distance = described(list(per_seed(rows, "distance_change", draw="delta").values()), "ln of its change")
    note = (
        f"Mean square: {chi}. The squared distance of two inputs, not judged, falls as a power of depth in theory: "
        f"{distance} over {design.depth} layers."
    )
    return replace(found, why=f"{found.why} {note}")


def judge_control(rows: Rows, design: DeltaDesign) -> Judgement:
    """Gaussian weights: the gradient leaves that range. Whether they can be trained all the same is told only."""
    found = _excursion(rows, design, "gradient", "gaussian", "above")
    if not design.train_depth:
        return found
    accuracies = list(per_seed(rows, "train_accuracy", draw="gaussian").values())
    return replace(found, why=f"{found.why} {described(accuracies, 'Their training accuracy')}.")


def _excursion(rows: Rows, design: DeltaDesign, what: str, draw: str, side: str) -> Judgement:
    values = list(per_seed(rows, f"{what}_excursion", draw=draw).values())
    name = f"largest |ln(mean square of the {what} / where it starts)| over {design.depth} layers ({draw})"
    return one_sided(values, name=name, seeds=design.seeds, side="above" if side == "above" else "below", limit=_LIMIT)


def _learned(rows: Rows, design: DeltaDesign) -> Judgement:
    values = list(per_seed(rows, "train_accuracy", draw="delta").values())
    name = f"training accuracy at {design.train_depth} layers (delta)"
    return one_sided(values, name=name, seeds=design.seeds, side="above", limit=_LEARNED)


def draw_delta(rows: Rows) -> alt.HConcatChart:
    """Mean squares by layer, relative to where they start."""
    names = {"delta": "delta-orthogonal", "gaussian": "Gaussian (control)"}
    points = [{**row, "what": names[str(row["draw"])]} for row in rows if row["kind"] == "layer"]
    panels = [
        curves(
            points, Along("layer", "layer"), Along(what, label, log=True), Along("what", "weights"),
            title=title, subtitle="Plain tanh CNN on the edge of chaos; faint: one seed, bold: median over seeds",
        )
        for what, label, title in (
            ("signal", "mean square / that of the first layer", "Mean square of the signal by layer"),
            ("gradient", "mean square / that of the last layer", "Mean square of the gradient by layer"),
        )
    ]  # fmt: skip
    return side_by_side(*panels)


CLAIM = Claim(
    id="delta-orthogonal-depth",
    group="initialization",
    statement=(
        "A plain convolutional network, without skips or normalization, keeps its signal and its gradient over "
        "thousands of layers if each kernel is an orthogonal matrix at its centre tap and zero elsewhere, on the "
        "edge of chaos of tanh."
    ),
    source="Xiao et al. 2018, Dynamical isometry and a mean field theory of CNNs",
    citation="quoted",
    prediction="Mean squares of signal and gradient stay within a factor of ten over the whole depth.",
    scope=Scope(
        "plain tanh CNN, 3×3 kernels, circular padding, σ_b² = 2.01e-5 and σ_w² on the edge (1.05), at initialization",
        "normal pictures of 8×8 whose mean square is the fixed point of theory; full also trains on digits",
        "1000 layers of 16 channels (quick); 10,000 of 64, and 1000 of 32 trained (full)",
    ),
    caveats=(
        "The quick preset looks at initial weights only and says nothing about training.",
        "Near the linear regime; at larger bias variances tanh bends more and inputs converge sooner.",
        "The distance of two inputs is not kept: on the edge it falls, but as a power of depth.",
    ),
    designs={
        "quick": DeltaDesign(seeds=10, depth=1000, channels=16),
        "full": DeltaDesign(seeds=10, depth=10_000, channels=64, train_depth=1000, device="auto"),
    },
    smoke=DeltaDesign(
        seeds=2,
        depth=6,
        channels=4,
        size=4,
        points=3,
        train_depth=2,
        train_channels=4,
        train_steps=2,
        rates=(1e-3, 1e-2),
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_delta,
    control=Control(
        "Gaussian kernels of the same variance must not keep the gradient within a factor of ten.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_delta,
)
