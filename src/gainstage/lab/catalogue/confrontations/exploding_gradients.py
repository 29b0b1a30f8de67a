"""Does batch normalization repair exploding gradients, or cause them? It does both, to different quantities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.claim import Deferred, Design, Rows, Scope
from gainstage.lab.confrontation import Confrontation, Side
from gainstage.lab.figures import Along, chosen, curves
from gainstage.lab.judge import Judgement, equality, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

# Yang et al. 2019: the factor by which batch norm before ReLU multiplies ‖∂L/∂h‖² at each layer, for large batches.
FACTOR = math.pi / (math.pi - 1)
# Of B/width: what a finite width may change in the logarithm of the factor. The Gram matrix of B samples scatters by
# √(B/width) about its limit, which enters a mean in the square; tests of theory hold the closed form to this much.
_FINITE_WIDTH = 0.3


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

    @property
    def tolerance(self) -> float:
        """Of the slope with batch norm, about ln(π/(π-1)): what batch and width may change in it."""
        return abs(math.log(factor_of(self.batch) / FACTOR)) + _FINITE_WIDTH * self.batch / self.width


def factor_of(batch: int) -> float:
    """The factor for B samples and large widths: `gainstage.theory.batch_norm_gradient_factor` of ReLU."""
    c = -1 / (batch - 1)
    angle = math.pi - math.acos(c)
    # E φ² = E φ′² = 1/2; E φ(z₁)φ(z₂) and E φ′(z₁)φ′(z₂) at correlation c.
    other, slopes = (math.sqrt(1 - c * c) + angle * c) / (2 * math.pi), angle / (2 * math.pi)
    return ((batch - 1) / 2 + slopes - 0.5 + other) / ((batch - 3) * (0.5 - other))


def judge_scale(rows: Rows, design: ExplosionDesign) -> Judgement:
    """The range of the slopes over the scales: without batch norm minus with it; more than half of 2 ln(a₂/a₁)."""
    spared = _ranges(rows, "none", design), _ranges(rows, "batch", design)
    gains = [bare - normed for bare, normed in zip(*spared, strict=True)]
    name = "what the range of growth over the scales is smaller with batch norm (ln a layer)"
    return one_sided(gains, name=name, seeds=design.seeds, side="above", limit=design.bare_range / 2)


def judge_depth(rows: Rows, design: ExplosionDesign) -> Judgement:
    """At He's own scale: the growth with batch norm is ln(π/(π-1)) a layer, but for finite batch and width."""
    return equality(
        list(per_seed(rows, "slope", norm="batch", scale=1.0).values()), seeds=design.seeds, target=math.log(FACTOR),
        tolerance=design.tolerance, name="growth of ln ‖∂L/∂h‖² a layer towards the input with batch norm",
    )  # fmt: skip


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
        return "Batch norm made the growth independent of the scale; the factor of theory was not confirmed here."
    if depth:
        return "The growth has the factor of theory; that batch norm removes the scale's influence was not seen here."
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
        "The factor is that of large batches that are small beside the width; what the batch and the width of these "
        "networks may change in it is within the tolerance.",
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
