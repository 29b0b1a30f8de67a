"""Units that start with equal weights get equal gradients and stay equal; random weights break the symmetry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, curves, side_by_side, strips
from gainstage.lab.judge import Judgement, described, identity, number, one_sided, per_seed, worst_per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.initialization.symmetry_breaking"
_NAMES = {
    "equal": "all equal",
    "random": "random (control)",
    "cosine": "cosines: unequal, not random",
    "dropout": "all equal, dropout in training",
}


@dataclass(frozen=True)
class SymmetryDesign(Design):
    """Perceptrons on digits, trained in float64.

    Attributes:
        measure_every: Updates between two looks at the weights.
        tolerance: Units count as equal if their weights differ by less, relative to the largest unit's norm. Rounding
            is at 1e-16 and a training of some hundred steps may carry it up; random weights differ by about 1.
    """

    data: str = "gainstage.lab.apparatus.data:digits"
    width: int = 32
    depth: int = 2
    lr: float = 0.1
    batch_size: int = 64
    steps: int = 150
    measure_every: int = 25
    dropout: float = 0.2
    tolerance: float = 1e-6


def judge_symmetry(rows: Rows, design: SymmetryDesign) -> Judgement:
    """The units of every hidden layer stay equal, at every look."""
    worst = list(worst_per_seed(rows, "asymmetry", case="equal").values())
    name = f"relative difference between two units of a layer within {design.steps} updates (equal start)"
    return _explained(identity(worst, name=name, tolerance=design.tolerance), rows, design)


def judge_control(rows: Rows, design: SymmetryDesign) -> Judgement:
    """Random weights: a hidden layer has a rank above 1 at the end."""
    ranks = list(_last(rows, "rank", "random", design).values())
    return one_sided(
        ranks, name="lowest rank of a hidden layer (random start)", seeds=design.seeds, side="above", limit=1
    )


def _last(rows: Rows, key: str, case: str, design: SymmetryDesign) -> dict[int, float]:
    return per_seed(rows, key, case=case, step=design.steps)


def _explained(found: Judgement, rows: Rows, design: SymmetryDesign) -> Judgement:
    def told(key: str, case: str, name: str) -> str:
        return described(list(_last(rows, key, case, design).values()), name)

    note = (
        f"Weights did move: {told('moved', 'equal', 'their relative change')}; "
        f"{told('accuracy', 'equal', 'test accuracy')}. Randomness is not what it takes: weights from a table of "
        f"cosines, unequal but not random, end with {told('units', 'cosine', 'distinct units of a layer')} and "
        f"{told('accuracy', 'cosine', 'test accuracy')}; equal weights under dropout end with "
        f"{told('units', 'dropout', 'distinct units')} and {told('accuracy', 'dropout', 'test accuracy')}."
    )
    return replace(found, why=f"{found.why} {note}")


def draw_symmetry(rows: Rows) -> alt.HConcatChart:
    """Distinct units over training, and the accuracy at the end."""
    points = [{**row, "what": _NAMES[str(row["case"])]} for row in rows]
    last = max((number(row["step"]) for row in rows), default=0.0)
    units = curves(
        points, Along("step", "updates"), Along("units", "distinct units in the hidden layer that has fewest"),
        Along("what", "initial weights"), title="Units of a hidden layer that differ from one another",
        subtitle="Faint: one seed; bold: median over seeds",
    )  # fmt: skip
    accuracy = strips(
        [point for point in points if point["step"] == last],
        Along("what", "initial weights"), Along("accuracy", "test accuracy (digits)"),
        title="Test accuracy after training", subtitle="A dot a seed; the bar is their median",
    )  # fmt: skip
    return side_by_side(units, accuracy)


CLAIM = Claim(
    id="symmetry-breaking",
    group="initialization",
    statement=(
        "Where all weights of a network start equal, the units of a layer get equal gradients and stay equal however "
        "long they train, so that the layer never does more than one unit; random weights break this symmetry."
    ),
    source="an overview article",
    citation="informal",
    prediction="With equal weights every hidden layer stays at rank 1 and one distinct unit; random weights do not.",
    scope=Scope(
        "perceptron with two hidden tanh layers of 32, zero biases, every weight of a layer 1/n_in",
        "scikit-learn digits, not CIFAR-10",
        "150 steps of SGD, learning rate 0.1, batches of 64, float64; seeds change the batches",
    ),
    caveats=(
        "It is often said that weights must be random for this reason. That says too much: they must differ, and a "
        "table of cosines does as well.",
        "Dropout breaks the symmetry too, since it gives each unit gradients of its own; so do units that "
        "see different inputs by construction. Torch draws biases at random, which breaks it as well.",
        "The classes of the read-out have different targets, so its rows come apart; what it reads stays one unit.",
    ),
    designs={"quick": SymmetryDesign(seeds=5)},
    smoke=SymmetryDesign(seeds=2, width=4, steps=4, measure_every=2),
    absent={"full": "It is exact: a larger network or longer training would show the same."},
    measure=Deferred(_HOME, "measure"),
    judge=judge_symmetry,
    control=Control(
        "Random weights of variance 1/n_in in the same network must end with a rank above 1.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_symmetry,
)
