"""Does batch normalization repair exploding gradients, or cause them? It does both, to different quantities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.claim import Deferred, Design, Rows, Scope
from gainstage.lab.confrontation import Confrontation, Side
from gainstage.lab.figures import Along, chosen, curves
from gainstage.lab.judge import Judgement, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

# Yang et al. 2019: the factor by which batch norm before ReLU multiplies ‖∂L/∂h‖² at each layer, for large batches.
FACTOR = math.pi / (math.pi - 1)


@dataclass(frozen=True)
class ExplosionDesign(Design):
    """ReLU perceptrons at initialization, He's weights times each of the scales, with and without batch norm.

    Attributes:
        skipped: Layers at each end that are not judged: the read-out and the input are no fixed points.
    """

    depth: int
    width: int
    batch: int
    scales: tuple[float, ...]
    skipped: int

    @property
    def bare_range(self) -> float:
        """Of the slopes of ln ‖∂L/∂h‖² without batch norm: each layer multiplies it by a²."""
        return 2 * math.log(max(self.scales) / min(self.scales))


def judge_scale(rows: Rows, design: ExplosionDesign) -> Judgement:
    """The range of the slopes over the scales: without batch norm minus with it; more than half of 2 ln(a₂/a₁)."""
    spared = _ranges(rows, "none", design), _ranges(rows, "batch", design)
    gains = [bare - normed for bare, normed in zip(*spared, strict=True)]
    name = "what the range of growth over the scales is smaller with batch norm (ln a layer)"
    return one_sided(gains, name=name, seeds=design.seeds, side="above", limit=design.bare_range / 2)


def judge_depth(rows: Rows, design: ExplosionDesign) -> Judgement:
    """At He's own scale: the growth with batch norm minus without; more than half of ln(π/(π-1)) a layer."""
    pair = [per_seed(rows, "slope", norm=norm, scale=1.0) for norm in ("batch", "none")]
    gains = [pair[0][seed] - pair[1].get(seed, math.nan) for seed in pair[0]]
    name = "growth of ln ‖∂L/∂h‖² a layer towards the input that batch norm adds"
    return one_sided(gains, name=name, seeds=design.seeds, side="above", limit=math.log(FACTOR) / 2)


def _ranges(rows: Rows, norm: str, design: ExplosionDesign) -> list[float]:
    by_scale = [per_seed(rows, "slope", norm=norm, scale=scale) for scale in design.scales]
    return [max(found[seed] for found in by_scale) - min(found[seed] for found in by_scale) for seed in by_scale[0]]


def read(found: Sequence[Judgement]) -> str:
    """What both mean together."""
    scale, depth = (judgement.outcome == "supported" for judgement in found)
    if scale and depth:
        return (
            "Both hold, of different things: batch norm makes the growth independent of the scale of the weights, "
            "and sets it to a factor above one at every layer, so that depth without skip connections explodes."
        )
    if scale:
        return "Batch norm made the growth independent of the scale; that it adds growth of its own was not seen here."
    if depth:
        return "Batch norm added growth of its own; that it removes the scale's influence was not seen here."
    return "Neither was seen on these networks."


def draw(rows: Rows) -> alt.LayerChart:
    """‖∂L/∂h‖² by layer."""
    names = {"none": "no norm", "batch": "batch norm"}
    points = [
        {**row, "which": f"{names[str(row['norm'])]}, weights × {row['scale']:g}"} for row in chosen(rows, kind="layer")
    ]
    return curves(
        points,
        Along("layer", "layer (1 is next to the input)"),
        Along("gradient", "‖∂L/∂h‖², relative to the last layer", log=True),
        Along("which", "networks"),
        title="The gradient on its way to the input, with and without batch norm, for three scales of the weights",
        subtitle="A faint line a seed, a bold one their median; ReLU perceptrons at initialization",
    )


_HOME = "gainstage.lab.measurements.confrontations.exploding_gradients"

CONFRONTATION = Confrontation(
    id="bn-and-exploding-gradients",
    title="Does batch normalization repair exploding gradients, or cause them?",
    question=(
        "Batch normalization is recommended against exploding gradients, and mean-field theory proves that it makes "
        "them explode. The first is about the scale of each layer, the second about depth without skip connections."
    ),
    sides=(
        Side(
            "it repairs",
            "With batch norm the growth of the gradient no longer depends on the scale of the weights.",
            "Ioffe & Szegedy 2015; Bjorck et al. 2018",
            ("scale-invariance", "channel-moments-depth", "bn-init-sensitivity"),
            judge_scale,
        ),
        Side(
            "it causes",
            "Batch norm multiplies the squared gradient by π/(π-1) = 1.467 at each ReLU layer.",
            "Yang et al. 2019, Theorem 8",
            ("bn-gradient-explosion",),
            judge_depth,
        ),
    ),
    scope=Scope(
        "plain ReLU perceptrons, the norm before the activation, at initialization",
        "standard normal inputs, a random linear loss",
        "He's weights × 0.7, 1, 1.4; 20 layers of 256 (quick), 40 of 1000 (full)",
    ),
    caveats=(
        "At initialization only: training can leave this state, and skip connections remove it.",
        "The factor is that of large batches that are small beside the width.",
    ),
    designs={
        "quick": ExplosionDesign(seeds=5, depth=20, width=256, batch=64, scales=(0.7, 1.0, 1.4), skipped=3),
        "full": ExplosionDesign(seeds=10, depth=40, width=1000, batch=256, scales=(0.7, 1.0, 1.4), skipped=3),
    },
    smoke=ExplosionDesign(seeds=2, depth=8, width=16, batch=8, scales=(0.7, 1.0, 1.4), skipped=2),
    measure=Deferred(_HOME, "measure"),
    reading=read,
    figure=draw,
)
