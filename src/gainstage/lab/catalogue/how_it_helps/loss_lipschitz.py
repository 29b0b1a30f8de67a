"""The loss varies less along its gradient with batch norm: its range over steps of half to four learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gainstage.lab.catalogue.how_it_helps import smoothness_design as shared
from gainstage.lab.catalogue.how_it_helps.along_training import draw_ratios
from gainstage.lab.catalogue.how_it_helps.smoothness_design import SmoothnessDesign
from gainstage.lab.claim import Claim, Control, Rows
from gainstage.lab.judge import Judgement

if TYPE_CHECKING:
    import altair as alt

_KEY, _NAME = "loss_range", "the loss range"


def judge_range(rows: Rows, design: SmoothnessDesign) -> Judgement:
    """At every rate the mean of log10(range with BN / without) over steps lies below 0."""
    return shared.judge(rows, design, _KEY, _NAME)


def judge_control(rows: Rows, design: SmoothnessDesign) -> Judgement:
    """An idle norm: not smaller at any rate."""
    return shared.judge_control(rows, design, _KEY, _NAME)


def draw_range(rows: Rows) -> alt.HConcatChart:
    """The ratio along training, by learning rate, and the control's."""
    return draw_ratios(
        rows,
        _KEY,
        title="How far the loss ranges along its gradient",
        of="range of the loss, with BN / without",
        control=shared.CONTROL_TITLE,
        compared=shared.COMPARED,
    )


CLAIM = Claim(
    id="loss-lipschitz",
    group="how-it-helps",
    statement=(
        "With batch normalization the loss varies less along its gradient g: max - min of L(w - ηg) over steps η from "
        "half to four times the learning rate (at most 0.4) is smaller than without, at each learning rate from "
        "0.01 to 0.1."
    ),
    source="Santurkar et al. 2018, How does batch normalization help optimization?, Fig. 4(a)",
    prediction=(
        "The range is smaller with BN: at every learning rate the mean of log10(with/without) over the training is "
        "below 0 (Santurkar et al., VGG on CIFAR-10)."
    ),
    scope=shared.SCOPE,
    caveats=(*shared.CAVEATS,),
    designs={"quick": shared.QUICK, "full": shared.FULL},
    smoke=shared.SMOKE,
    measure=shared.MEASURE,
    judge=judge_range,
    control=Control(shared.CONTROL_STATEMENT, shared.CONTROL, judge_control),
    figure=draw_range,
)
