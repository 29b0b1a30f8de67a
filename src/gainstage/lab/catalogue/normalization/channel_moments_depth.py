"""Means and variances of channels by depth, at initialization, with and without batch normalization."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.catalogue.designs import CIFAR, DIGITS, PLAIN, RESIDUAL, RESNET, AtStart, Net
from gainstage.lab.claim import Claim, Control, Deferred, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side
from gainstage.lab.judge import Judgement, combine, described, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.channel_moments_depth"
# `gainstage.lab.apparatus.draws.SMALL_BRANCH`, which needs torch.
CONTROL_INIT = "branches over √blocks"
# Each block of a residual stream with He's weights adds as much as is there, which doubles both moments: ln 2 a block.
# Half of that is still exponential: a power of depth with such a slope over 54 blocks would be the sixth.
EXPONENTIAL = math.log(2) / 2
MOMENTS = {"variance_slope": "ln of the channels' variance", "mean_slope": "ln of the channels' squared mean"}
_OTHERS = "Not judged, the slope of the variance in other networks, without and with batch norm:"
_NAMES = {"none": "no norm", "batch": "batch norm"}


@dataclass(frozen=True)
class MomentsDesign(AtStart):
    """Networks at initialization.

    Attributes:
        blocks: Places along the judged network.
    """

    blocks: int

    @property
    def square(self) -> float:
        """The slope of ln l², twice the linear one: growth that stays below it is polynomial, and slow.

        The linear law itself would be no limit: a moment that grows just so lies on it, and no number of seeds decides.
        """
        return 2 * self.linear

    @property
    def linear(self) -> float:
        """The steepest that linear growth can be: the least-squares slope of ln l over l = 1 ... L, 3/L for large L.

        Where each block adds the same b > 0 to a moment that starts at a ≥ 0, block l has a + b·l. The slope of
        ln(a + b·l) falls as a/b rises, so that a = 0 has the largest of all; 1 + l, which is a = b, has less.
        """
        middle = (self.blocks + 1) / 2
        places = range(1, self.blocks + 1)
        return sum((at - middle) * math.log(at) for at in places) / sum((at - middle) ** 2 for at in places)


def judge_growth(rows: Rows, design: MomentsDesign) -> Judgement:
    """Both moments grow exponentially without the norm, and slower than the square of depth with it."""
    net, init = design.cases[0]
    none = [_exponential(rows, design, key, net.label, init) for key in MOMENTS]
    batch = [_slower_than_square(rows, design, key, "batch", net=net.label, init=init) for key in MOMENTS]
    found = combine(*none, *batch)
    others = " ".join(_reported(rows, net.label, init) for net, init in design.cases[1:])
    return Judgement(found.outcome, found.effect, found.interval, found.n, f"{found.why} {_OTHERS} {others}")


def judge_control(rows: Rows, design: MomentsDesign) -> Judgement:
    """With small branches the variance grows slower than the square of depth without a norm."""
    return _slower_than_square(rows, design, "variance_slope", "none", init=CONTROL_INIT)


def _exponential(rows: Rows, design: MomentsDesign, key: str, net: str, init: str) -> Judgement:
    values = list(per_seed(rows, key, norm="none", net=net, init=init).values())
    name = _name(key, "none", f"{net}, {init}")
    return one_sided(values, name=name, seeds=design.seeds, side="above", limit=EXPONENTIAL)


def _slower_than_square(rows: Rows, design: MomentsDesign, key: str, norm: str, **where: str) -> Judgement:
    values = list(per_seed(rows, key, norm=norm, **where).values())
    name = _name(key, norm, ", ".join(where.values()))
    return one_sided(values, name=name, seeds=design.seeds, side="below", limit=design.square)


def _reported(rows: Rows, net: str, init: str) -> str:
    none, batch = (
        list(per_seed(rows, "variance_slope", net=net, init=init, norm=norm).values()) for norm in ("none", "batch")
    )
    return f"{net}, {init}: {described(none, 'without')}; {described(batch, 'with')}."


def _name(key: str, norm: str, where: str) -> str:
    return f"slope of {MOMENTS[key]} a block ({where}, {_NAMES[norm]})"


def draw_moments(rows: Rows) -> alt.HConcatChart:
    """Variance of the channels by depth, a picture for each network and initialization."""
    points = [
        {
            **row,
            "what": _NAMES[str(row["norm"])] + (", branches / √blocks (control)" if row["part"] == "control" else ""),
        }
        for row in chosen(rows, kind="place")
    ]
    cases = list(dict.fromkeys((str(point["net"]), str(point["init"])) for point in points if point["part"] == "claim"))
    return side_by_side(
        *(
            curves(
                [
                    point for point in points
                    if (point["net"], point["init"]) == case or (point["part"] == "control" and case == cases[0])
                ],
                Along("depth", "residual block (plain: layer)"),
                Along("variance", "variance over the batch, mean over channels", log=True), Along("what", ""),
                title=f"Channel variance by depth: {case[0]}, {case[1]}",
                subtitle="Thick: median; faint: one line a seed",
            ).properties(width=300)
            for case in cases
        )
    )  # fmt: skip


_QUICK = MomentsDesign(
    seeds=10,
    nets=(Net("ResMLP-54", RESIDUAL, (("blocks", 54),)), Net("plain MLP-54", PLAIN, (("depth", 54),))),
    inits=("he", "torch"), data=DIGITS, device="cpu", batch=256, blocks=54,
)  # fmt: skip

CLAIM = Claim(
    id="channel-moments-depth",
    group="normalization",
    statement=(
        "At initialization the means and variances of the channels of a residual stream grow exponentially with depth "
        "without batch normalization, and slowly, as a low power of depth, with it."
    ),
    source="Bjorck et al. 2018, Understanding batch normalization, Figs. 4 and 5",
    citation="quoted",
    prediction=(
        "In the deep residual network the logarithms of both moments rise by ln 2 a block without the norm (judged: by "
        "more than half of that); with it by less than those of growth with the square of depth, about 6/54 a block."
    ),
    scope=Scope(
        "residual perceptron of 54 blocks of two maps, width 64, He's initialization (quick); ResNet-110 (full); "
        "reported: a plain perceptron of 54 layers, and PyTorch's default initialization",
        "256 digits, not CIFAR-10 (quick); 256 pictures of CIFAR-10 (full)",
        "at initialization, in training mode; the residual stream after each block, over all blocks; in the plain "
        "perceptron what each hidden layer's linear map gives",
    ),
    caveats=(
        "The moments do not stay the same with batch norm either: only the inside of a branch does. The residual "
        "stream itself is expected to grow linearly with depth, as 1 + l, since each block adds as much as the last.",
        "The limit with batch norm is growth with the square of depth: growth that is linear, as is expected, lies "
        "well below it, and exponential growth far above.",
        "The growth is that of the residual sum with He's weights, not of missing normalization as such: a plain "
        "network with these weights has none, and smaller weights in the branches remove it.",
    ),
    designs={
        "quick": _QUICK,
        "full": replace(
            _QUICK, data=CIFAR, device="auto",
            nets=(Net("ResNet-110", RESNET, (("depth", 110),)),),
        ),
    },
    smoke=replace(
        _QUICK, seeds=2, device="auto", batch=16, blocks=3,
        nets=(Net("ResMLP-3", RESIDUAL, (("blocks", 3), ("width", 8))), Net("MLP-3", PLAIN, (("depth", 3),))),
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_growth,
    control=Control(
        "Without a norm, but with branches divided by the root of their number, growth must stay below that with the "
        "square of depth.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_moments,
)  # fmt: skip
