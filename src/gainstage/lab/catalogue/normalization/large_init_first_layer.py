"""Whether large weights make the first layer's gradient explode through the layers behind it.

Scaled by a, a layer passes a·φ′ back. With batch norm behind each layer its own division by σ ∝ a takes the factor
away, and ∂L/∂(aW) = (1/a) ∂L/∂W is left, times what the scaled read-out does, at most a. Behind a first layer with a
norm and four without, nothing takes it away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side
from gainstage.lab.judge import Judgement, Row, combine, described, number, one_sided

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.large_init_first_layer"
ACTIVATIONS = ("sigmoid", "relu")
_SPELLED = {"sigmoid": "sigmoid", "relu": "ReLU"}
NAMES = {"every": "batch norm after every layer", "first": "after the first only", "none": "no norm"}


@dataclass(frozen=True)
class FirstLayerDesign(Design):
    """Networks at initialization over a grid of scales.

    Attributes:
        decades: a runs from 1 to 10^decades.
        per_decade: Scales a decade.
        exploded: Decades by which the gradient must outgrow its own size at a = 1 to count as exploded: one. With a
            norm after every layer theory allows none (a factor 1/a, times at most a from the read-out).
    """

    depth: int
    width: int
    batch: int
    decades: int
    per_decade: int
    exploded: float

    @property
    def scales(self) -> tuple[float, ...]:
        """The grid of a, from 1 on."""
        return tuple(10.0 ** (step / self.per_decade) for step in range(self.decades * self.per_decade + 1))


def judge_explosion(rows: Rows, design: FirstLayerDesign) -> Judgement:
    """For each activation: below the limit with a norm after every layer, above it after the first only."""
    parts = [_explosion(rows, design, activation, norms) for activation in ACTIVATIONS for norms in ("first", "every")]
    found = combine(*parts)
    return replace(found, why=f"{found.why} {_notes(rows)}")


def judge_control(rows: Rows, design: FirstLayerDesign) -> Judgement:
    """With W₁ alone scaled its gradient falls by almost as many decades as a rises."""
    parts = [
        one_sided(
            list(_last(rows, activation).values()), seeds=design.seeds, side="below", limit=-0.9 * design.decades,
            name=f"{_SPELLED[activation]}: decades of ‖∂L/∂W₁‖ at the largest a",
        )
        for activation in ACTIVATIONS
    ]  # fmt: skip
    return combine(*parts)


def _explosion(rows: Rows, design: FirstLayerDesign, activation: str, norms: str) -> Judgement:
    values = list(_growth(rows, activation, norms).values())
    name = f"{_SPELLED[activation]}, {NAMES[norms]}: largest growth of ‖∂L/∂W₁‖ over a, in decades"
    side = "above" if norms == "first" else "below"
    return one_sided(values, name=name, seeds=design.seeds, side=side, limit=design.exploded)


def _growth(rows: Rows, activation: str, norms: str) -> dict[int, float]:
    """By seed: the largest log10 ‖∂L/∂W₁‖ over a > 1, less that at a = 1."""
    found = _logs(chosen(rows, activation=activation, norms=norms))
    return {seed: _largest([value for a, value in logs.items() if a > 1]) - logs[1.0] for seed, logs in found.items()}


def _largest(values: list[float]) -> float:
    return math.nan if any(map(math.isnan, values)) else max(values)


def _last(rows: Rows, activation: str) -> dict[int, float]:
    found = _logs(chosen(rows, activation=activation))
    return {seed: logs[max(logs)] - logs[1.0] for seed, logs in found.items()}


def _logs(rows: Rows) -> dict[int, dict[float, float]]:
    found: dict[int, dict[float, float]] = {}
    for row in rows:
        found.setdefault(int(number(row["seed"])), {})[number(row["scale"])] = number(row["log_gradient"])
    return found


def _notes(rows: Rows) -> str:
    bare = [
        described(list(_growth(rows, activation, "none").values()), f"{_SPELLED[activation]}, {NAMES['none']}")
        for activation in ACTIVATIONS
    ]
    through = [
        f"{_SPELLED[activation]}, {NAMES[norms]} {_through(rows, activation, norms)}"
        for activation in ACTIVATIONS
        for norms in NAMES
    ]
    return (
        f"Not judged: {'; '.join(bare)}. ‖∂L/∂W₁‖/‖∂L/∂W_last hidden‖, median over seeds, at the smallest and the "
        f"largest a: {'; '.join(through)}."
    )


def _through(rows: Rows, activation: str, norms: str) -> str:
    some = chosen(rows, activation=activation, norms=norms)
    scales = sorted({number(row["scale"]) for row in some})
    if not scales:
        return "not measured"
    return " → ".join(_median(chosen(some, scale=a)) for a in (scales[0], scales[-1]))


def _median(rows: Rows) -> str:
    known = sorted(number(row["log_through"]) for row in rows if row["log_through"] is not None)
    return f"{10 ** known[len(known) // 2]:.2g}" if known else "none"


def draw_gradients(rows: Rows) -> alt.HConcatChart:
    """‖∂L/∂W₁‖ over a for sigmoid and for ReLU, with the control."""
    scale = Along("scale", "scale a of all weights (control: of the first layer's)", log=True)
    return side_by_side(
        *(
            curves(
                [
                    {"what": _told(row), "scale": row["scale"], "gradient": row["gradient"], "seed": row["seed"]}
                    for row in chosen(rows, activation=activation)
                ],
                scale, Along("gradient", "‖∂L/∂W₁‖", log=True), Along("what", "normed"),
                title=f"Gradient of the first layer at initialization, {_SPELLED[activation]}",
                subtitle="Bold: median; faint: a seed; a = 1: Glorot (sigmoid), He (ReLU)",
            )
            for activation in ACTIVATIONS
        )
    )  # fmt: skip


def _told(row: Row) -> str:
    return "control" if row["part"] == "control" else NAMES[str(row["norms"])]


_QUICK = FirstLayerDesign(seeds=10, depth=5, width=64, batch=256, decades=2, per_decade=4, exploded=1.0)

CLAIM = Claim(
    id="large-init-first-layer",
    group="normalization",
    statement=(
        "Large initial weights do not make the first layer's gradient ∂L/∂W₁ explode through W₂, W₃, ... if batch "
        "norm follows each of these, and do if it follows the first layer only."
    ),
    source="a question-and-answer thread",
    citation="informal",
    prediction=(
        "With all weights times a, up to 100, ‖∂L/∂W₁‖ grows by more than tenfold over its size at a = 1 with batch "
        "norm after the first layer only, and by less with it after every layer; for sigmoid and for ReLU."
    ),
    scope=Scope(
        "fully connected network, five hidden layers of 64, batch norm before the activation, at initialization",
        "256 scikit-learn digits, cross-entropy",
        "all weights, the read-out's too, at 1 to 100 times Glorot's (sigmoid) or He's (ReLU); first gradient only",
    ),
    caveats=(
        "Growth is counted from a = 1, where a sigmoid network's first gradient has all but vanished: the ratio "
        "‖∂L/∂W₁‖/‖∂L/∂W_last hidden‖ in the reason tells whether it ends above the later layers' gradients.",
        "Without batch norm a sigmoid network's gradient can vanish or grow, by a and by depth.",
        "The read-out has no norm behind it: its own factor a reaches all layers, and cancels the 1/a of each.",
    ),
    designs={"quick": _QUICK},
    smoke=replace(_QUICK, seeds=2, depth=2, width=8, batch=16, per_decade=1),
    measure=Deferred(_HOME, "measure"),
    judge=judge_explosion,
    control=Control(
        "With W₁ alone scaled and batch norm behind it, its gradient must fall as 1/a.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_gradients,
    absent={"full": "It is about five layers at initialization; quick measures these whole."},
)
