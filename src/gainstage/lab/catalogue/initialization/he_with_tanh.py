"""Is He's variance 2/n_in a bad choice for tanh, as is said? Judged by the accuracy that it trains to.

With tanh Xavier's variance lies on the edge of chaos without biases (σ_w² = 1), where signals and gradients
shrink as a power of depth; He's (σ_w² = 2) lies on the chaotic side, where signals stay large and gradients grow.
Theory alone does not say which trains better at a given depth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, chosen, side_by_side, strips
from gainstage.lab.judge import Judgement, combine, described, one_sided, paired_differences, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.initialization.he_with_tanh"
# A point of accuracy is the least that would matter to a choice.
_LIMIT = 0.01
_NAMES = {"xavier": "Xavier", "he": "He"}


@dataclass(frozen=True)
class TanhDesign(Design):
    """Perceptrons trained by SGD from either rule, at each of ``rates``; the best test accuracy of a seed counts.

    Attributes:
        depths: Of the tanh networks; the deepest is also trained with ReLU.
        device: ``auto`` takes a GPU if there is one.
    """

    data: str = "gainstage.lab.apparatus.data:digits"
    inputs: int = 64
    width: int = 64
    depths: tuple[int, ...] = (8, 30)
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    steps: int = 100
    batch_size: int = 32
    device: str = "cpu"


def judge_tanh(rows: Rows, design: TanhDesign) -> Judgement:
    """Xavier is better by a point or more, at every depth."""
    parts = [_gap(rows, design, "tanh", depth, "above") for depth in design.depths]
    found = combine(parts[-1], *parts[:-1])
    notes = "; ".join(_signals(rows, depth) for depth in design.depths)
    return replace(found, why=f"{found.why} At initialization, log₁₀ from the first to the last layer: {notes}.")


def judge_control(rows: Rows, design: TanhDesign) -> Judgement:
    """With ReLU He is better by a point or more, at the largest depth."""
    return _gap(rows, design, "relu", design.depths[-1], "below")


def _gap(rows: Rows, design: TanhDesign, activation: str, depth: int, side: str) -> Judgement:
    here = chosen(rows, kind="trained", activation=activation, depth=depth)
    gaps = paired_differences(here, "accuracy", "rule", "xavier", "he")
    name = f"best test accuracy of Xavier - He ({activation}, {depth} layers)"
    if side == "above":
        return one_sided(gaps, name=name, seeds=design.seeds, side="above", limit=_LIMIT)
    return one_sided(gaps, name=name, seeds=design.seeds, side="below", limit=-_LIMIT)


def _signals(rows: Rows, depth: int) -> str:
    def told(key: str, rule: str) -> str:
        values = list(per_seed(rows, key, kind="initial", rule=rule, depth=depth).values())
        return described(values, f"{key} ({_NAMES[rule]}, {depth} layers)")

    return "; ".join(told(key, rule) for rule in ("xavier", "he") for key in ("signal", "gradient"))


def draw_tanh(rows: Rows) -> alt.HConcatChart:
    """The best accuracies, and how signals and gradients change through the layers."""
    trained = [
        {**row, "what": f"{_NAMES[str(row['rule'])]}, {row['activation']}, {row['depth']} layers"}
        for row in rows
        if row["kind"] == "trained"
    ]
    initial = [
        {"seed": row["seed"], "what": f"{what}, {_NAMES[str(row['rule'])]}, {row['depth']} layers", "change": row[what]}
        for row in rows
        if row["kind"] == "initial"
        for what in ("signal", "gradient")
    ]
    return side_by_side(
        strips(
            trained, Along("what", "rule, activation, depth"), Along("accuracy", "best test accuracy over the rates"),
            title="Test accuracy after training", subtitle="A dot a seed; the bar is their median; ReLU: control",
        ),
        strips(
            initial, Along("what", "mean square, rule, depth"),
            Along("change", "log₁₀(mean square at the far end / where it starts)"),
            title="Change through tanh layers at initialization",
            subtitle="Signals from the first layer to the last, gradients from the last to the first",
        ),
    )  # fmt: skip


CLAIM = Claim(
    id="he-with-tanh",
    group="initialization",
    statement="He's initialization, with variance 2/n_in, is suboptimal for tanh: Xavier's should be used there.",
    source="an overview article",
    citation="informal",
    prediction="Xavier's best test accuracy is higher by a point or more at both depths (the article's view).",
    scope=Scope(
        "tanh perceptrons of 8 and 30 hidden layers of 64, zero biases at the start",
        "scikit-learn digits (quick), 5000 pictures of MNIST (full)",
        "SGD, batches of 32, the best of 5 learning rates from 0.01 to 1; 100 steps (quick), 1000 (full)",
    ),
    caveats=(
        "The article gives no evidence, and does not say what suffers: accuracy after training is what is judged.",
        "The best rate is chosen by test accuracy, for both rules alike; both accuracies are a little too high.",
        "Torch's own gain for tanh, 5/3, gives a variance of 2.8/n: nearer to He's than to Xavier's.",
    ),
    designs={
        "quick": TanhDesign(seeds=8),
        "full": TanhDesign(
            seeds=10, data="gainstage.lab.apparatus.data:mnist_5k", inputs=784, steps=1000, device="auto"
        ),
    },
    smoke=TanhDesign(seeds=2, width=8, depths=(1, 2), rates=(0.1,), steps=2),
    measure=Deferred(_HOME, "measure"),
    judge=judge_tanh,
    control=Control(
        "With ReLU the order must turn round: at the largest depth He is better by a point or more.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_tanh,
)
