"""Means and variances of channels by depth, at initialization, with and without batch normalization."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from gainstage.lab.catalogue.designs import CIFAR, DIGITS, PLAIN, RESIDUAL, RESNET, AtStart, Net
from gainstage.lab.claim import Claim, Control, Deferred, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side
from gainstage.lab.judge import Judgement, combine, described, equality, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.channel_moments_depth"
# `gainstage.lab.apparatus.at_start.ZERO_BRANCH`, which needs torch.
CONTROL_INIT = "branches at zero"
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
    def limit(self) -> float:
        """Above this slope a block, growth is faster than linear.

        A stream to which each block adds the same variance grows as l, and the least-squares slope of ln l over
        l = 1 ... L is 3/L for large L. Twice that is the limit; doubling in each block has ln 2 = .69.
        """
        return 6 / self.blocks


def judge_growth(rows: Rows, design: MomentsDesign) -> Judgement:
    """Both moments grow exponentially without the norm, and no faster than linearly with it."""
    net, init = design.cases[0]
    none = [_slope(rows, design, key, "none", "grows", net=net.label, init=init) for key in MOMENTS]
    batch = [_slope(rows, design, key, "batch", "stays", net=net.label, init=init) for key in MOMENTS]
    found = combine(*none, *batch)
    others = " ".join(_reported(rows, net.label, init) for net, init in design.cases[1:])
    return Judgement(found.outcome, found.effect, found.interval, found.n, f"{found.why} {_OTHERS} {others}")


def judge_control(rows: Rows, design: MomentsDesign) -> Judgement:
    """With branches that start at zero the variance stays without a norm."""
    return _slope(rows, design, "variance_slope", "none", "stays", init=CONTROL_INIT)


def _slope(
    rows: Rows, design: MomentsDesign, key: str, norm: str, what: Literal["grows", "stays"], **where: str
) -> Judgement:
    values = list(per_seed(rows, key, norm=norm, **where).values())
    name = _name(key, norm, ", ".join(where.values()))
    if what == "grows":
        return one_sided(values, name=name, seeds=design.seeds, side="above", limit=design.limit)
    return equality(values, name=name, seeds=design.seeds, target=0.0, tolerance=design.limit)


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
        {**row, "what": _NAMES[str(row["norm"])] + (", branches 0 (control)" if row["part"] == "control" else "")}
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
        "At initialization the means and variances of a network's channels grow exponentially with depth without batch "
        "normalization, and stay about the same with it."
    ),
    source="Bjorck et al. 2018, Understanding batch normalization, Figs. 4 and 5",
    citation="quoted",
    prediction=(
        "In the deep residual network the logarithms of both moments rise by ln 2 a block without the norm; with it by "
        "less than twice what linear growth gives, 6/54 a block."
    ),
    scope=Scope(
        "residual perceptron of 54 blocks of two maps, width 64, He's initialization (quick); ResNet-110 (full); "
        "reported: a plain perceptron of 54 layers, and PyTorch's default initialization",
        "256 digits, not CIFAR-10 (quick); 256 pictures of CIFAR-10 (full)",
        "at initialization, in training mode; the residual stream after each block, over all blocks; in the plain "
        "perceptron what each hidden layer's linear map gives",
    ),
    caveats=(
        "With batch norm only the inside of a branch stays put: the residual stream itself grows about linearly with "
        "depth, since each block adds as much as the last.",
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
        "With residual branches that start at zero the variance must stay without a norm.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_moments,
)  # fmt: skip
