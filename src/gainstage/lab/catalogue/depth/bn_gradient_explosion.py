"""Batch norm without skips makes gradients grow with depth: π/(π - 1) a layer behind ReLU, (B - 2)/(B - 3) without.

Bands. The limit π/(π - 1) is for large batches; the closed form for B samples (`theory.batch_norm_gradient_factor`)
lies above it by a part of at most 1.2/B from B = 64 on. Beyond that, a twentieth of the claimed growth, 0.05·ln 1.467 =
0.02 in the logarithm, is what finite width and few seeds may cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves
from gainstage.lab.judge import Judgement, combine, described, equality, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.depth.bn_gradient_explosion"
RELU_FACTOR = math.pi / (math.pi - 1)
NAMES: Mapping[str, str] = {
    "relu": "batch norm, ReLU",
    "relu scaled": "batch norm, ReLU, weights × 1.5",
    "linear small": "batch norm, linear, small B",
    "linear large": "batch norm, linear, larger B",
    "skips": "batch norm, ReLU, with skips",
    "none": "no norm, ReLU, He (control)",
    "none scaled": "no norm, ReLU, He × 1.5",
}
_REACH = 0.02
# Without a norm all samples come to point one way, and a net's slope scatters by √(6·5/(5·n·layers)), 0.027 here.
_CONTROL_REACH = 0.05


@dataclass(frozen=True)
class ExplosionDesign(Design):
    """Square nets of ``depth`` layers; the slope leaves out ``margin`` layers at the bottom and at the top.

    Attributes:
        batch: Of the nets with ReLU; large, and well below the width.
        small, large: Batch sizes of the linear nets, whose factor depends on them.
        margin: Below, similarities of samples have not come to rest; above, the gradient has a part that norms take.
        scale: Of the weights of the nets that are reported beside, on top of He's.
        device: ``auto`` is a GPU if there is one.
    """

    width: int
    depth: int
    batch: int
    small: int
    large: int
    margin: int
    scale: float = 1.5
    device: str = "cpu"


def linear_factor(batch: int) -> float:
    """(B - 2)/(B - 3)."""
    return (batch - 2) / (batch - 3)


def judge_explosion(rows: Rows, design: ExplosionDesign) -> Judgement:
    """All three factors must lie in their bands; ReLU's is the effect."""
    relu = _factor(rows, design, "relu", RELU_FACTOR, RELU_FACTOR * (_REACH + 1.2 / design.batch))
    linear = [
        _factor(rows, design, net, linear_factor(batch), linear_factor(batch) * _REACH)
        for net, batch in (("linear small", design.small), ("linear large", design.large))
    ]
    found = combine(relu, *linear)
    return replace(found, why=f"{found.why} {_beside(rows, design)}")


def judge_control(rows: Rows, design: ExplosionDesign) -> Judgement:
    """Without a norm, at He's variance: no growth."""
    return _factor(rows, design, "none", 1.0, _CONTROL_REACH)


def _factor(rows: Rows, design: ExplosionDesign, net: str, target: float, tolerance: float) -> Judgement:
    figures = list(per_seed(rows, "factor", net=net).values())
    name = f"growth of the squared gradient a layer ({NAMES[net]})"
    return equality(figures, name=name, seeds=design.seeds, target=target, tolerance=tolerance)


def _beside(rows: Rows, design: ExplosionDesign) -> str:
    """What is not judged: skips, and weights of another scale."""
    found = {net: list(per_seed(rows, "factor", net=net).values()) for net in ("skips", "relu scaled", "none scaled")}
    if not all(found.values()):
        return ""
    return (
        f"Beside it: {described(found['skips'], 'the factor with skips')}, falling with depth; with weights × "
        f"{design.scale:g} {described(found['relu scaled'], 'batch norm has')}, and "
        f"{described(found['none scaled'], 'no norm has')}: what batch norm mends is the scale of each layer."
    )


def draw_gradients(rows: Rows) -> alt.LayerChart:
    """‖∂L/∂h_l‖² by layer, as a multiple of that of the last layer."""
    points = [{**row, "what": NAMES[str(row["net"])]} for row in chosen(rows, kind="layer")]
    return curves(
        points, Along("layer", "layer l (the loss is on the right)"),
        Along("square", "‖∂L/∂h‖² of layer l / of the last layer", log=True), Along("what", "nets"),
        title="Squared gradient by layer, at initialization",
        subtitle="Faint: seeds; bold: their median. To the left is towards the input.",
    )  # fmt: skip


CLAIM = Claim(
    id="bn-gradient-explosion",
    group="depth",
    statement=(
        "In deep networks without skip connections batch norm itself makes gradients explode, whatever the weights' "
        "scale: the squared gradient grows towards the input by π/(π - 1) = 1.467 a layer with ReLU and large "
        "batches, and by (B - 2)/(B - 3) in a linear network with batches of B."
    ),
    source="Yang et al. 2019, A mean field theory of batch normalization (Theorem 8)",
    prediction="The factor is 1.467 with ReLU, 1.2 and 1.077 in linear networks at B = 8 and 16, and 1 without a norm.",
    scope=Scope(
        "fully connected square layers: linear map, batch norm, activation; no skips; at initialization",
        "standard normal inputs, a random linear loss on the last layer's outputs",
        "width 400, 30 layers, B = 128 (ReLU), 8 and 16 (linear) (quick); width 2048, 50 layers, B = 512 (full)",
    ),
    caveats=(
        "At initialization only: whether training follows from it is another question.",
        "It is no contradiction to 'batch norm fixes exploding gradients': that is about the scale of each layer's "
        "weights, which batch norm removes; this is about depth without skips. With skips the growth is a power of "
        "depth, not exponential.",
        "For widths far above the batch size; the bottom layer, whose inputs were not rectified, is left out.",
    ),
    designs={
        "quick": ExplosionDesign(seeds=8, width=400, depth=30, batch=128, small=8, large=16, margin=5),
        "full": ExplosionDesign(seeds=10, width=2048, depth=50, batch=512, small=8, large=16, margin=5, device="auto"),
    },
    smoke=ExplosionDesign(seeds=2, width=16, depth=6, batch=8, small=6, large=8, margin=1, device="auto"),
    measure=Deferred(_HOME, "measure"),
    judge=judge_explosion,
    control=Control(
        "Without a norm, at He's variance, the squared gradient must not grow: factor 1.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_gradients,
)
