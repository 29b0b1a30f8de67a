"""A wrong variance shows as an exponential: Xavier with ReLU as 2^-L, a scale c on He's weights as c^2L.

Finite width shifts and scatters the slope of ln q_l as `he_variance` derives: -5/(2n) a layer, and `slope_variance`. A
scale changes neither, since relu(cz) = c relu(z).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.catalogue.initialization.he_variance import slope_variance
from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, curves
from gainstage.lab.judge import Judgement, combine, described, equality, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.initialization.mismatch_decay"
# Student's interval of eight seeds reaches 2.4 of its own standard errors, and those scatter by a quarter.
_ERRORS = 6


@dataclass(frozen=True)
class MismatchDesign(Design):
    """Square ReLU networks, ``nets`` of them a seed; He's weights times each of ``scales``, drawn anew for each."""

    width: int
    depth: int
    nets: int
    scales: tuple[float, ...] = (0.5, 0.8, 1.25, 2.0)

    @property
    def bias(self) -> float:
        """What the slope of E[ln q_l] lacks at this width: 5/(2n) a layer."""
        return 2.5 / self.width

    @property
    def slope_tolerance(self) -> float:
        """Six standard errors of the mean slope, from finite width alone."""
        return _ERRORS * math.sqrt(slope_variance(self.width, self.depth) / (self.nets * self.seeds))


def judge_mismatch(rows: Rows, design: MismatchDesign) -> Judgement:
    """Xavier's slope is -ln 2, and that of c times He is 2 ln c for each c."""
    xavier = _slope(rows, design, "xavier", 1.0, -math.log(2))
    found = combine(xavier, *(_slope(rows, design, "he", c, 2 * math.log(c)) for c in design.scales))
    lasts = [value / math.log(2) for value in per_seed(rows, "last", case="xavier").values()]
    note = (
        f"The last layer alone would say less: {described(lasts, f'log₂(q_L/q₁) of {design.depth} layers (Xavier)')}."
    )
    return Judgement(found.outcome, found.effect, found.interval, found.n, f"{found.why} {note}")


def judge_control(rows: Rows, design: MismatchDesign) -> Judgement:
    """He's own variance: the slope is 0."""
    return _slope(rows, design, "he", 1.0, 0.0)


def _slope(rows: Rows, design: MismatchDesign, case: str, scale: float, target: float) -> Judgement:
    slopes = [slope + design.bias for slope in per_seed(rows, "slope", case=case, scale=scale).values()]
    name = f"slope of ln q_l a layer ({_name(case, scale)}, corrected for width by +{design.bias:.2g})"
    return equality(slopes, name=name, seeds=design.seeds, target=target, tolerance=design.slope_tolerance)


def _name(case: object, scale: object) -> str:
    return "Xavier" if case == "xavier" else ("He (control)" if scale == 1.0 else f"He times {scale}")


def draw_mismatch(rows: Rows) -> alt.LayerChart:
    """q_l/q_1 by layer for each variance."""
    points = [{**row, "what": _name(row["case"], row["scale"])} for row in rows if row["kind"] == "layer"]
    return curves(
        points,
        Along("layer", "layer"),
        Along("q", "second moment q / q of layer 1", log=True),
        Along("what", "weights"),
        title="Second moment by layer of ReLU networks whose weights have another variance than He's",
        subtitle="Faint: one seed, the geometric mean of its networks; bold: median over seeds",
    )


CLAIM = Claim(
    id="mismatch-decay",
    group="initialization",
    statement=(
        "In a ReLU network of L layers, Xavier's variance lets the second moment of the signal fall as 2^-L, and a "
        "scale c on He's weights lets it change as c^2L."
    ),
    source="He et al. 2015, Delving Deep into Rectifiers, section 2.2",
    citation="quoted",
    prediction="The slope of ln q_l is -ln 2 a layer with Xavier and 2 ln c with c times He, but for finite width.",
    scope=Scope(
        "fully connected ReLU network without bias, square layers, at initialization",
        "one standard normal input a net",
        "width 512 and 30 layers (quick), width 2048 and 60 layers (full); c = 0.5, 0.8, 1.25, 2; forward pass only",
    ),
    caveats=(
        "Xavier's 2/(n_in + n_out) is half of He's 2/n_in only where n_in = n_out.",
        "For a given network the scale's part is exact, since ReLU is homogeneous: what scatters is He's own drift.",
        "Without biases. With them the signal falls no further than to what the biases feed in.",
    ),
    designs={
        "quick": MismatchDesign(seeds=8, width=512, depth=30, nets=2),
        "full": MismatchDesign(seeds=10, width=2048, depth=60, nets=2),
    },
    smoke=MismatchDesign(seeds=2, width=16, depth=4, nets=1, scales=(0.5, 2.0)),
    measure=Deferred(_HOME, "measure"),
    judge=judge_mismatch,
    control=Control(
        "With c = 1, He's own variance, the slope must be 0.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_mismatch,
)
