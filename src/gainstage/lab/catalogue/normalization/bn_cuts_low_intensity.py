"""Does batch normalization remove a nuisance feature of low intensity? Its share of the variance, before and after.

With n - 1 signals of variance 1 and a nuisance of variance a², each with a unit of its own, the nuisance has the share
a²/(n - 1 + a²) before. Behind BN each unit has the variance σ²/(σ² + ε), so the share becomes about 1/n whatever a is,
until a² falls to ε.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, curves
from gainstage.lab.judge import Judgement, described, equality, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.bn_cuts_low_intensity"
OWN, MIXED, RECTIFIED = "own unit", "mixed", "own unit, ReLU"
# As many standard errors as other claims allow: Student's interval of five seeds reaches 2.8 of its own.
_ERRORS = 6


@dataclass(frozen=True)
class CutDesign(Design):
    """The layer, and the intensities of the nuisance.

    Attributes:
        features: n, the nuisance among them.
        batch: Samples.
        low: Standard deviations a of the nuisance; each signal has 1.
        high: Others that are reported, not judged.
        eps: Of BN; PyTorch's.
    """

    features: int
    batch: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    eps: float

    @property
    def tolerance(self) -> float:
        """Of log10(share after/share before) at a = 1: the share before has the relative variance 2/batch."""
        return _ERRORS * math.sqrt(2 / (self.batch * self.seeds)) / math.log(10)


def judge_cut(rows: Rows, design: CutDesign) -> Judgement:
    """The mean change of the nuisance's share over the low intensities, in decades; below 0 was predicted."""
    low = [row for row in rows if row["low"]]
    changes = list(per_seed(low, "change", place=OWN).values())
    name = f"log10(share after BN / share before) of a nuisance of a = {design.low[0]:g} ... {design.low[-1]:g}"
    found = one_sided(changes, name=name, seeds=design.seeds, side="below")
    notes = "; ".join(
        described(list(per_seed(rows, "change", place=place, intensity=a).values()), what)
        for place, a, what in (
            *((OWN, a, f"the change at a = {a:g}") for a in (*design.low, *design.high)),
            *((MIXED, a, f"the change at a = {a:g} mixed into every unit") for a in design.low[-1:]),
        )
    )
    return Judgement(found.outcome, found.effect, found.interval, found.n, f"{found.why} In decades: {notes}.")


def judge_control(rows: Rows, design: CutDesign) -> Judgement:
    """A nuisance as intense as the signals keeps its share."""
    changes = list(per_seed(rows, "change", place=OWN).values())
    name = "log10(share after BN / share before) of a nuisance of a = 1"
    return equality(changes, name=name, seeds=design.seeds, target=0.0, tolerance=design.tolerance)


def draw_changes(rows: Rows) -> alt.LayerChart:
    """The change of the share over the intensity; the control is the point at 1."""
    # Behind ReLU the curve is the same as without it, and would cover it.
    shown = [row for row in rows if row["place"] != RECTIFIED]
    return curves(
        shown,
        Along("intensity", "standard deviation a of the nuisance; each signal has 1", log=True),
        Along("change", "log10(share after BN / share before)"),
        Along("place", "where the nuisance is"),
        title="Change of a nuisance's share of the variance by BN, over its intensity",
        subtitle="Below 0 it is cut, above 0 enlarged; thin lines: seeds; a = 1 is the control",
    )


_QUICK = CutDesign(seeds=10, features=16, batch=4096, low=(0.001, 0.01, 0.1, 0.3), high=(3.0, 10.0), eps=1e-5)

CLAIM = Claim(
    id="bn-cuts-low-intensity",
    group="normalization",
    statement="Batch normalization removes noise of low intensity: a weak nuisance has a smaller share after it.",
    source="a question-and-answer thread",
    citation="informal",
    prediction="The share of the variance that a weak nuisance feature has falls from before BN to after it.",
    scope=Scope(
        "one torch.nn.BatchNorm1d with γ = 1, β = 0 in training mode, ε = 1e-5; no training",
        "15 independent standard normal signals and one normal nuisance, 4096 samples",
        "nuisance with a standard deviation of 0.001 to 0.3 in a unit of its own; mixed units and ReLU are reported",
    ),
    caveats=(
        "BN divides each unit by its own standard deviation, so it makes units equal: it enlarges weak ones and cuts "
        "strong ones, signal or noise.",
        "Mixed into a unit with signals, the nuisance keeps its share of that unit exactly: BN is affine in it.",
        "ε alone works the other way, on units with a variance near or below it; even there the share grows.",
        "What a trained γ does afterwards was not measured.",
    ),
    designs={"quick": _QUICK},
    smoke=CutDesign(seeds=2, features=4, batch=64, low=(0.01, 0.1), high=(3.0,), eps=1e-5),
    absent={"full": "One layer with a known answer: a larger one tells nothing more."},
    measure=Deferred(_HOME, "measure"),
    judge=judge_cut,
    control=Control(
        "A nuisance as intense as the signals must keep its share.", Deferred(_HOME, "control"), judge_control
    ),
    figure=draw_changes,
)
