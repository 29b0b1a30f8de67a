"""Var W = 2/(n_in + n_out) keeps the variance of signals and of gradients, near the linear regime.

Finite width. In a linear network of width n each layer multiplies the mean square by (1/n) Σ g² with standard normal g,
forward and backward alike: a step of ln q has variance 2/n and mean -1/n, although E[q_l] is constant. Slopes are
judged after adding 1/n, within six of the standard errors that this predicts. tanh from inputs of rms r leaves the
linear regime by 2r² a layer (φ(z)² ≈ z² - 2z⁴/3), which at r = 0.01 is far less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.catalogue.initialization.he_variance import DRAWS, slope_variance
from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, curves, side_by_side
from gainstage.lab.judge import Judgement, combine, described, equality, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.initialization.glorot_variance"
DIRECTIONS = ("forward", "backward")
# Student's interval of eight seeds reaches 2.4 of its own standard errors, and those scatter by a quarter.
_ERRORS = 6
_LINES = {
    ("near-linear", "normal"): "Xavier, normal",
    ("near-linear", "uniform"): "Xavier, uniform",
    ("unit-inputs", "normal"): "Xavier, inputs of rms 1",
    ("alternating", "normal"): "Xavier, widths n and n/2",
    ("sigmoid", "normal"): "Xavier, sigmoid",
    ("old-rule", "uniform"): "U(±1/√n) (control)",
}


@dataclass(frozen=True)
class GlorotDesign(Design):
    """Square tanh networks without bias, ``nets`` of them a seed, from inputs of rms ``input_rms``.

    Attributes:
        sigmoid_depth: Layers of the network with sigmoid, beyond which two inputs are the same to float64.
    """

    width: int
    depth: int
    nets: int
    input_rms: float = 0.01
    sigmoid_depth: int = 12

    @property
    def bias(self) -> float:
        """What the slope of E[ln q_l] lacks at this width although E[q_l] is constant: 1/n a layer."""
        return 1 / self.width

    @property
    def slope_tolerance(self) -> float:
        """Six standard errors of the mean slope, from finite width alone."""
        return _ERRORS * math.sqrt(slope_variance(self.width, self.depth, scatter=2.0) / (self.nets * self.seeds))


def judge_glorot(rows: Rows, design: GlorotDesign) -> Judgement:
    """Signals and gradients keep their mean square, for normal and for uniform draws."""
    cases = [(draw, direction) for draw in DRAWS for direction in DIRECTIONS]
    parts = [_slope(rows, design, "near-linear", draw, direction, 0.0) for draw, direction in cases]
    found = combine(*parts)
    return Judgement(found.outcome, found.effect, found.interval, found.n, f"{found.why} {_notes(rows)}")


def judge_control(rows: Rows, design: GlorotDesign) -> Judgement:
    """A third of the variance: both slopes are -ln 3."""
    return combine(*(_slope(rows, design, "old-rule", "uniform", way, -math.log(3)) for way in DIRECTIONS))


def _slope(rows: Rows, design: GlorotDesign, case: str, draw: str, direction: str, target: float) -> Judgement:
    slopes = [found + design.bias for found in _slopes(rows, case, direction, draw)]
    what = "signal" if direction == "forward" else "gradient"
    name = f"slope of ln mean square a layer, {what} ({case}, {draw}, corrected for width by +{design.bias:.2g})"
    return equality(slopes, name=name, seeds=design.seeds, target=target, tolerance=design.slope_tolerance)


def _slopes(rows: Rows, case: str, direction: str, draw: str = "normal") -> list[float]:
    return list(per_seed(rows, "slope", case=case, draw=draw, direction=direction).values())


def _notes(rows: Rows) -> str:
    """What is not judged: outside the linear regime, with unequal fans, with sigmoid."""
    unit = described(_slopes(rows, "unit-inputs", "forward"), "the signal's slope")
    widths = described(_slopes(rows, "alternating", "forward"), "it")
    distance = described(_slopes(rows, "sigmoid", "distance"), "the slope of ln squared distance of two inputs")
    gradient = described(_slopes(rows, "sigmoid", "backward"), "that of the gradient")
    square = described(_slopes(rows, "sigmoid", "forward"), "that of the mean square")
    return (
        f"Outside these conditions: with tanh and inputs of rms 1 {unit}; with widths that alternate between n and "
        f"n/2 {widths} (½ ln 8/9 = -0.0589 in theory). Xavier for sigmoid, whose slope is at most 1/4 and whose mean "
        f"is 1/2: {distance}; {gradient}; {square}."
    )


def draw_glorot(rows: Rows) -> alt.HConcatChart:
    """The mean squares by layer, relative to where they start: signals from the bottom, gradients from the top."""
    points = [
        {**row, "what": _LINES[str(row["case"]), str(row["draw"])]}
        for row in rows
        if row["kind"] == "layer" and row["direction"] in DIRECTIONS
    ]
    titles = {
        "forward": "Mean square of the signal by layer under Xavier's rule",
        "backward": "Mean square of the gradient by layer under Xavier's rule",
    }
    panels = [
        curves(
            [point for point in points if point["direction"] == direction],
            Along("layer", "layer"),
            Along("level", f"mean square / that of the {where} layer", log=True),
            Along("what", "weights"),
            title=titles[direction],
            subtitle="Faint: one network; bold: median over seeds",
        )
        for direction, where in (("forward", "first"), ("backward", "last"))
    ]
    return side_by_side(*panels)


CLAIM = Claim(
    id="glorot-variance",
    group="initialization",
    statement=(
        "Weights with variance 2/(n_in + n_out), normal or uniform on ±√(6/(n_in + n_out)), keep the variance of the "
        "signals from layer to layer and that of the gradients on the way back, as long as the activation works "
        "in its linear range."
    ),
    source="Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks",
    citation="quoted",
    prediction="The slopes of ln mean square, of signal and gradient, are 0 a layer, up to the drift of finite width.",
    scope=Scope(
        "fully connected tanh network without bias, square layers, at initialization",
        "one normal input of rms 0.01 a net, one standard normal gradient at the top",
        "width 512 and 30 layers (quick), width 4096 and 200 layers (full)",
    ),
    caveats=(
        "Exact only for linear layers with n_in = n_out. Elsewhere a layer multiplies the signal by "
        "2n_in/(n_in + n_out) and the gradient by 2n_out/(n_in + n_out).",
        "tanh with inputs of rms 1 is not in its linear range: the mean square falls as 1/(2·layer), no exponential.",
        "Sigmoid is no case for this rule: after a layer or two its mean square stands still because its mean is 1/2, "
        "while what tells two inputs apart, and the gradient, fall by about 1/16 at each layer.",
    ),
    designs={
        "quick": GlorotDesign(seeds=8, width=512, depth=30, nets=2),
        "full": GlorotDesign(seeds=10, width=4096, depth=200, nets=1),
    },
    smoke=GlorotDesign(seeds=2, width=16, depth=4, nets=1, sigmoid_depth=4),
    measure=Deferred(_HOME, "measure"),
    judge=judge_glorot,
    control=Control(
        "The older rule U(±1/√n), variance 1/(3n), must give slopes of -ln 3 for signal and gradient.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_glorot,
)
