"""Var W = 2/n_in keeps the second moment through ReLU layers, because ReLU halves it.

Finite width. With one input and Gaussian weights, ln q_l (q_l the mean of z_l² over n units) takes steps
ln((2/n) Σ relu(g)²) with standard normal g. Var[2 relu(g)²] = 5, so a step has variance 5/n and, although
E[q_l] is constant, E[ln q_l] falls by 5/(2n) a layer (E ln(1+X) ≈ -Var X/2). The slope of ln q_l is judged
after adding 5/(2n), within six of the standard errors that `slope_variance` predicts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.judge import Judgement, combine, described, equality, number, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.initialization.he_variance"
DRAWS = ("normal", "uniform")
VARIANCE_FACTOR = 0.5 - 1 / (2 * math.pi)
# Student's interval of five seeds reaches 2.8 of its own standard errors, and those scatter by a third.
_ERRORS = 6


@dataclass(frozen=True)
class HeDesign(Design):
    """Square ReLU networks, ``nets`` of them a seed, and ``samples`` inputs of one layer for the halving."""

    width: int
    depth: int
    nets: int
    samples: int

    @property
    def bias(self) -> float:
        """What the slope of E[ln q_l] lacks at this width although E[q_l] is constant: 5/(2n) a layer."""
        return 2.5 / self.width

    @property
    def slope_tolerance(self) -> float:
        """Six standard errors of the mean slope, from finite width alone."""
        return _ERRORS * math.sqrt(slope_variance(self.width, self.depth) / (self.nets * self.seeds))

    @property
    def ratio_tolerance(self) -> float:
        """Six standard errors of E[relu²]/E[z²]: Var[relu(z)² - z²/2] = 3/4 for each of the values."""
        return _ERRORS * math.sqrt(0.75 / (self.samples * self.width * self.seeds))


def slope_variance(width: int, depth: int, scatter: float = 5.0) -> float:
    """Variance of the least-squares slope of ln q_l over the layers of one net, about 6/(width·depth) for ReLU.

    ln q_l = Σ_{k<l} a_k + b_l with a = ln((2/n) Σ relu(g)²) and b = ln((1/n) Σ g²) of the same layer's g, so
    n·Var a = 5, n·Var b = 2, n·Cov = 2, and layers are independent. Linear layers have a = b.

    Args:
        width: n.
        depth: Layers.
        scatter: n·Var a; 2 for linear layers.
    """
    middle = (depth - 1) / 2
    scale = sum((layer - middle) ** 2 for layer in range(depth))
    weights = [(layer - middle) / scale for layer in range(depth)]
    tails = [sum(weights[layer + 1 :]) for layer in range(depth)]
    return (
        sum(scatter * tail**2 + 2 * own**2 + 4 * tail * own for tail, own in zip(tails, weights, strict=True)) / width
    )


def judge_he(rows: Rows, design: HeDesign) -> Judgement:
    """The slope of ln q_l is 0 and ReLU halves the second moment, for normal and for uniform draws."""
    slopes = [_slope(rows, design, draw, 0.0) for draw in DRAWS]
    halves = [_halving(rows, design, draw) for draw in DRAWS]
    factors = list(per_seed(rows, "variance_factor", draw="normal").values())
    found = combine(*slopes, *halves)
    note = f"The true variance falls further: {described(factors, 'Var[relu(z)]/Var[z]')} (1/2 - 1/2π = 0.3408)."
    return Judgement(found.outcome, found.effect, found.interval, found.n, f"{found.why} {note}")


def judge_control(rows: Rows, design: HeDesign) -> Judgement:
    """Half the variance: the slope is -ln 2."""
    return _slope(rows, design, "xavier", -math.log(2))


def _slope(rows: Rows, design: HeDesign, draw: str, target: float) -> Judgement:
    slopes = [slope + design.bias for slope in per_seed(rows, "slope", draw=draw).values()]
    name = f"slope of ln q_l a layer ({draw}, corrected for width by +{design.bias:.2g})"
    return equality(slopes, name=name, seeds=design.seeds, target=target, tolerance=design.slope_tolerance)


def _halving(rows: Rows, design: HeDesign, draw: str) -> Judgement:
    ratios = list(per_seed(rows, "ratio", draw=draw).values())
    name = f"E[relu(z)²]/E[z²] ({draw})"
    return equality(ratios, name=name, seeds=design.seeds, target=0.5, tolerance=design.ratio_tolerance)


def draw_signal(rows: Rows) -> alt.LayerChart:
    """q_l/q_1 by layer, a line a seed, with the band that finite width explains."""
    import altair as alt

    names = {"normal": "He, normal", "uniform": "He, uniform", "xavier": "Xavier, normal (control)"}
    curves = [
        {"layer": row["layer"], "q": row["q"], "what": names[str(row["draw"])], "seed": row["seed"]}
        for row in rows
        if row["kind"] == "layer"
    ]
    first = next(row for row in rows if row["kind"] == "net")
    width, nets = number(first["width"]), number(first["nets"])
    layers = sorted({int(number(curve["layer"])) for curve in curves})
    band = [
        {
            "layer": layer,
            "low": math.exp(-2.5 * done / width - reach),
            "high": math.exp(-2.5 * done / width + reach),
        }
        for layer in layers
        for done in [layer - 1]
        for reach in [2 * math.sqrt(5 * done / (width * nets))]
    ]
    x = alt.X("layer:Q", title="layer")
    y = alt.Y("q:Q", title="second moment q / q of layer 1").scale(type="log").axis(format="~g")
    shade = alt.Chart(alt.InlineData(band)).mark_area(opacity=0.2, color="#4c78a8")
    lines = alt.Chart(alt.InlineData(curves)).mark_line().encode(
        x, y, alt.Color("what:N", title="weights").legend(orient="bottom"), alt.Detail("seed:N")
    )  # fmt: skip
    title = alt.TitleParams(
        "The second moment by layer of ReLU networks, with He's variance 2/n and Xavier's 1/n",
        subtitle=f"A line a seed: geometric mean of {nets:g} nets of width {width:g}; shaded: theory ±2 sd",
    )
    return alt.layer(shade.encode(x, alt.Y("low:Q"), alt.Y2("high:Q")), lines).properties(
        title=title, width=520, height=320
    )


CLAIM = Claim(
    id="he-variance",
    group="initialization",
    statement=(
        "Weights with variance 2/n_in, normal or uniform on ±√(6/n_in), keep the second moment of the "
        "preactivations from layer to layer through ReLU, because ReLU halves it: E[relu(z)²] = E[z²]/2."
    ),
    source="He et al. 2015, Delving Deep into Rectifiers",
    prediction="E[relu(z)²]/E[z²] = 1/2; the slope of ln q_l is 0 a layer, up to the drift of finite width.",
    scope=Scope(
        "fully connected ReLU network without bias, square layers, at initialization",
        "one standard normal input a net; standard normal inputs to one layer for the halving",
        "width 512 and 30 layers (quick), width 2048 and 60 layers (full); forward pass only",
    ),
    caveats=(
        "It is the second moment that is halved: the mean of relu(z) is not zero, and the true variance "
        "falls to 1/2 - 1/2π = 0.341 of it.",
        "E[q_l] stays, a single net drifts: Var ln q_L ≈ 5L/n, and E[ln q_l] falls by 5/(2n) a layer.",
    ),
    designs={
        "quick": HeDesign(seeds=5, width=512, depth=30, nets=3, samples=512),
        "full": HeDesign(seeds=10, width=2048, depth=60, nets=2, samples=2048),
    },
    smoke=HeDesign(seeds=2, width=16, depth=4, nets=1, samples=16),
    measure=Deferred(_HOME, "measure"),
    judge=judge_he,
    control=Control(
        "Xavier's variance 1/n in the same square layers must give a slope of -ln 2.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_signal,
)
