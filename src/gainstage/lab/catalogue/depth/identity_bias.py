"""Batch norm in each residual branch leaves block l a share of 1/(l + 1); without it each block has a half.

Bands. With He's weights a branch's variance is known up to the scatter of wᵀCw over n units, a relative variance of
2·tr(C²)/(n·tr(C)²); the common direction behind a ReLU has 1/π of all energy, so tr(C²)/tr(C)² is about 1/π². The
stream is a sum of such branches, and its cross terms scatter alike. Without a norm all samples come to point one way:
then a map's log variance scatters by 5/n and drifts by -5/(2n), which moves a share of 1/2 by a quarter of it, and the
correlation of branch and stream scatters by 1/n, which moves it by a half.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along
from gainstage.lab.figures import curves as drawn_curves
from gainstage.lab.judge import Judgement, combine, described, equality, number, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.depth.identity_bias"
NAMES: Mapping[str, str] = {
    "branch": "batch norm in the branch",
    "none": "no norm",
    "stream": "norm behind each sum (control)",
}
# Student's interval of five seeds reaches 2.8 of its own standard errors, and those scatter by a third.
_ERRORS = 6


@dataclass(frozen=True)
class IdentityDesign(Design):
    """Residual perceptrons of ``maps`` linear maps a branch, on one batch of standard normal inputs."""

    blocks: int
    width: int
    batch: int
    maps: int = 2

    @property
    def level_tolerance(self) -> float:
        """Of (l + 1)·share, relative: six standard errors of a branch's variance and of the stream's."""
        return _ERRORS * math.sqrt(2 * 2 / (math.pi**2 * self.width * self.seeds))

    @property
    def slope_tolerance(self) -> float:
        """Of the slope over ln(l + 1): a level off by its tolerance at one end, and by minus that at the other."""
        return 2 * self.level_tolerance / math.log((self.blocks + 1) / 2)

    @property
    def half_tolerance(self) -> float:
        """Of the mean share without a norm: six standard errors over blocks and seeds, and the drift."""
        scatter = 5 * self.maps / self.width
        of_a_block = scatter / 16 + 1 / (4 * self.width)
        return _ERRORS * math.sqrt(of_a_block / (self.blocks * self.seeds)) + scatter / 8


def judge_identity_bias(rows: Rows, design: IdentityDesign) -> Judgement:
    """Batch norm: (l + 1)·share has the mean 1, ln share the slope -1; no norm: the mean share is 1/2."""
    level = equality(
        list(per_seed(rows, "level", net="branch").values()), name="mean of (l + 1)·Var(branch)/Var(out), batch norm",
        seeds=design.seeds, target=1.0, tolerance=design.level_tolerance,
    )  # fmt: skip
    slope = equality(
        list(per_seed(rows, "slope", net="branch").values()), name="slope of its logarithm over ln(l + 1)",
        seeds=design.seeds, target=-1.0, tolerance=design.slope_tolerance,
    )  # fmt: skip
    half = equality(
        list(per_seed(rows, "mean_share", net="none").values()), name="mean of Var(branch)/Var(out), no norm",
        seeds=design.seeds, target=0.5, tolerance=design.half_tolerance,
    )  # fmt: skip
    doublings = list(per_seed(rows, "doublings", net="none").values())
    found = combine(level, slope, half)
    return replace(found, why=f"{found.why} {described(doublings, 'Doublings of the variance a block, no norm')}.")


def judge_control(rows: Rows, design: IdentityDesign) -> Judgement:
    """A stream that is normalized behind each sum: a share of 1/2 at every depth."""
    return equality(
        list(per_seed(rows, "slope", net="stream").values()), name="slope of ln share over ln(l + 1)",
        seeds=design.seeds, target=0.0, tolerance=design.slope_tolerance,
    )  # fmt: skip


def draw_shares(rows: Rows) -> alt.LayerChart:
    """The share by block, and the two closed forms."""
    import altair as alt

    points = [{**row, "what": NAMES[str(row["net"])]} for row in rows if row["kind"] == "block"]
    blocks = sorted({int(number(row["block"])) for row in points})
    lines = [{"block": b, "share": s, "what": "closed forms"} for b in blocks for s in (1 / (b + 1),)]
    halves = [{"block": b, "share": 0.5} for b in blocks]
    chart = drawn_curves(
        points, Along("block", "block l", log=True), Along("share", "Var(branch) / Var(stream + branch)", log=True),
        Along("what", "blocks"), title="The branch's share of the variance behind each block, at initialization",
        subtitle="Faint: seeds; bold: their median; gray: 1/(l + 1) and 1/2",
    )  # fmt: skip
    theory = [
        alt.Chart(alt.InlineData(values)).mark_line(color="#888", strokeWidth=5, opacity=0.35).encode(
            alt.X("block:Q"), alt.Y("share:Q")
        )
        for values in (lines, halves)
    ]  # fmt: skip
    return alt.layer(*theory, chart).properties(title=chart.title)


CLAIM = Claim(
    id="identity-bias",
    group="depth",
    statement=(
        "Batch norm at the head of each residual branch makes the branch small beside its stream, by about √depth: "
        "block l has 1/(l + 1) of the variance behind it, where without a norm it has 1/2 and the variance doubles "
        "at each block. So deep residual blocks start close to the identity."
    ),
    source=(
        "De & Smith 2020, Batch normalization biases residual blocks towards the identity function in deep networks"
    ),
    citation="quoted",
    prediction=(
        "Var(branch)/Var(stream + branch) = 1/(l + 1) with batch norm, 1/2 without, up to the scatter of finite width."
    ),
    scope=Scope(
        "fully connected residual network, norm, ReLU and linear map twice a branch, He's weights, at initialization",
        "standard normal inputs, one batch, entering the stream with variance 1",
        "40 blocks of width 256 (quick), 500 blocks of width 512, so 1000 layers (full); forward pass only",
    ),
    caveats=(
        "The share is of the variance over all values of a layer; a stream that starts with another variance s has "
        "1/(l + s), which is felt in the first blocks.",
        "At initialization only: training changes the shares.",
    ),
    designs={
        "quick": IdentityDesign(seeds=8, blocks=40, width=256, batch=256),
        "full": IdentityDesign(seeds=10, blocks=500, width=512, batch=256),
    },
    smoke=IdentityDesign(seeds=2, blocks=4, width=16, batch=16),
    measure=Deferred(_HOME, "measure"),
    judge=judge_identity_bias,
    control=Control(
        "With the batch norm in the stream, behind each sum, the share must not fall with depth: slope 0.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_shares,
)
