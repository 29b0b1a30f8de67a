"""The effective β-smoothness is lower with batch norm: the gradient changes less for each unit of distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gainstage.lab.catalogue.how_it_helps import smoothness_design as shared
from gainstage.lab.catalogue.how_it_helps.along_training import draw_ratios
from gainstage.lab.catalogue.how_it_helps.smoothness_design import SmoothnessDesign
from gainstage.lab.claim import Claim, Control, Rows
from gainstage.lab.judge import Judgement

if TYPE_CHECKING:
    import altair as alt

_KEY, _NAME = "beta", "the effective β"


def judge_beta(rows: Rows, design: SmoothnessDesign) -> Judgement:
    """At every rate the mean of log10(β with BN / without) over steps lies below 0."""
    return shared.judge(rows, design, _KEY, _NAME)


def judge_control(rows: Rows, design: SmoothnessDesign) -> Judgement:
    """An idle norm: not smaller at any rate."""
    return shared.judge_control(rows, design, _KEY, _NAME)


def draw_beta(rows: Rows) -> alt.HConcatChart:
    """The ratio along training, by learning rate, and the control's."""
    return draw_ratios(
        rows,
        _KEY,
        title="The effective β-smoothness along training",
        of="effective β, with BN / without",
        control=shared.CONTROL_TITLE,
        compared=shared.COMPARED,
    )


CLAIM = Claim(
    id="beta-smoothness",
    group="how-it-helps",
    statement=(
        "With batch normalization the effective β-smoothness, max ‖g(w - ηg) - g‖/(η‖g‖) over steps η from half to "
        "four times the learning rate (at most 0.4), is lower than without: the gradient changes less for each unit "
        "of distance, at each learning rate from 0.01 to 0.1."
    ),
    source="Santurkar et al. 2018, How does batch normalization help optimization?, Fig. 4(c)",
    prediction=(
        "β is lower with BN: at every learning rate the mean of log10(with/without) over the training is "
        "below 0 (Santurkar et al., VGG on CIFAR-10)."
    ),
    scope=shared.SCOPE,
    caveats=(*shared.CAVEATS,),
    # The smallest of the three effects gets the most seeds that half a minute has room for.
    designs={"quick": shared.QUICK, "full": shared.FULL},
    smoke=shared.SMOKE,
    measure=shared.MEASURE,
    judge=judge_beta,
    control=Control(shared.CONTROL_STATEMENT, shared.CONTROL, judge_control),
    figure=draw_beta,
)
