"""What a deep sigmoid network learns with batch norm, without, and without from larger weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.apparatus.tuning import at_best, differences
from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, strips
from gainstage.lab.judge import Judgement, Value, described, number, one_sided

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.bn_sigmoid"


@dataclass(frozen=True)
class SigmoidDesign(Design):
    """Sigmoid networks at each one's best learning rate.

    Attributes:
        data: Reference to the data.
        depths: Of hidden layers; the last is judged, the others are reported.
        scales: Factors of Glorot's weights without batch norm; 1 is judged, the others are reported.
        lrs: Each depth, norm and scale has the one that trains it best.
        gap: Accuracy that counts as large: a network that learned beside one that did not. The paper's is 0.698.
    """

    data: str
    depths: tuple[int, ...]
    width: int
    inputs: int
    scales: tuple[float, ...]
    lrs: tuple[float, ...]
    steps: int
    batch_size: int
    gap: float


def judge_gap(rows: Rows, design: SigmoidDesign) -> Judgement:
    """At the largest depth, from Glorot's weights, the gap in test accuracy exceeds the design's."""
    deepest = design.depths[-1]
    name = f"test accuracy with batch norm, less that without, {deepest} layers"
    found = one_sided(_gap(rows, deepest, 1.0), name=name, seeds=design.seeds, side="above", limit=design.gap)
    return replace(found, why=f"{found.why} {_notes(rows, design)}")


def judge_control(rows: Rows, design: SigmoidDesign) -> Judgement:
    """One hidden layer: the gap is not large."""
    name = "the gap with one hidden layer"
    return one_sided(_gap(rows, 1, 1.0), name=name, seeds=design.seeds, side="below", limit=design.gap)


def _gap(rows: Rows, depth: int, scale: float) -> list[float]:
    """With batch norm from a = 1, less without from ``scale``, each at its best rate."""
    return differences(_accuracy(rows, depth, "batch", 1.0), _accuracy(rows, depth, "none", scale))


def _accuracy(rows: Rows, depth: int, norm: str, scale: float) -> dict[int, float]:
    return at_best(rows, "test_accuracy", "lr", depth=depth, norm=norm, scale=scale)


def _notes(rows: Rows, design: SigmoidDesign) -> str:
    deepest = design.depths[-1]
    own = described(list(_accuracy(rows, deepest, "batch", 1.0).values()), "accuracy with batch norm")
    scaled = [
        described(_gap(rows, deepest, scale), f"the gap to {scale:g} times Glorot's weights")
        for scale in design.scales
        if scale != 1
    ]
    shallow = [described(_gap(rows, depth, 1.0), f"the gap at {depth} layers") for depth in design.depths[:-1]]
    return f"Not judged: {'; '.join([own, *scaled, *shallow])}."


def draw_accuracies(rows: Rows) -> alt.LayerChart:
    """One dot a seed for each depth, norm and scale, at its best rate."""
    cases = dict.fromkeys((int(number(row["depth"])), str(row["norm"]), number(row["scale"])) for row in rows)
    points: list[dict[str, Value]] = [
        {"what": _told(*case), "accuracy": accuracy, "seed": seed}
        for case in sorted(cases)
        for seed, accuracy in _accuracy(rows, *case).items()
    ]
    return strips(
        points,
        Along("what", "network"),
        Along("accuracy", "test accuracy at the learning rate that trains best"),
        title="Accuracy of sigmoid networks by depth, norm and initial scale",
        subtitle="A dot: one seed; bar: median; a: factor of Glorot's weights; one layer: control",
    )


def _told(depth: int, norm: str, scale: float) -> str:
    layers = "1 layer" if depth == 1 else f"{depth} layers"
    return f"{layers}, {'batch norm' if norm == 'batch' else 'no norm'}, a = {scale:g}"


_QUICK = SigmoidDesign(
    seeds=5,
    data="gainstage.lab.apparatus.data:digits",
    depths=(3, 8),
    width=64,
    inputs=64,
    scales=(1.0, 2.0, 4.0, 8.0),
    lrs=(0.03, 0.1, 0.3, 1.0, 3.0),
    steps=200,
    batch_size=64,
    gap=0.2,
)

CLAIM = Claim(
    id="bn-sigmoid",
    group="normalization",
    statement=(
        "Batch normalization makes a deep sigmoid network trainable: with it a network learns that otherwise does not "
        "leave chance."
    ),
    source="Ioffe & Szegedy 2015, §4.2.2 and figure 3 (Inception with sigmoid: 69.8 %, without at most 0.1 %)",
    prediction="At eight layers from Glorot's weights the test accuracy with batch norm is higher by more than 0.2.",
    scope=Scope(
        "sigmoid network of eight hidden layers of 64 (full: of 100, judged at eight; three are reported too), SGD",
        "digits, 8×8 (full: 4000 images of MNIST), not ImageNet",
        "five learning rates from 0.03 to 3, each network at its best; 200 steps (full: 5000, batches of 60)",
    ),
    caveats=(
        "Without batch norm a larger initial scale is another way to let a sigmoid network learn: the reason tells "
        "what 2, 4 and 8 times Glorot's weights reach.",
        "In so few steps 'does not learn' means 'not yet': longer training can leave the plateau.",
        "A shallow sigmoid network needs no batch norm.",
    ),
    designs={
        "quick": _QUICK,
        "full": replace(
            _QUICK, seeds=10, data="gainstage.lab.apparatus.data:mnist_5k", width=100, inputs=784, steps=5000,
            batch_size=60,
        ),
    },
    smoke=replace(_QUICK, seeds=2, depths=(2, 3), width=8, scales=(1.0, 4.0), lrs=(0.1, 1.0), steps=5),
    measure=Deferred(_HOME, "measure"),
    judge=judge_gap,
    control=Control(
        "With one hidden layer, which is trainable as it is, the gap must not be large.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_accuracies,
)  # fmt: skip
