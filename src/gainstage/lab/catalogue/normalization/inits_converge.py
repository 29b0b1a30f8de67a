"""With batch normalization, do different initial weights end at the same solution more often?

Two solutions are the same as far as they classify the same pictures alike: weights cannot be compared, since units
can change places. All networks of a seed see the same samples in the same order; only their initial weights differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, strips
from gainstage.lab.judge import Judgement, described, equality, one_sided, paired_differences, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.inits_converge"
# The smallest difference that matters: one point of a hundred.
LIMIT = 0.01


@dataclass(frozen=True)
class ConvergeDesign(Design):
    """Several networks a seed that differ in their initial weights.

    Attributes:
        network: Reference to a factory with ``norm``; ``options`` are its other keywords.
        data: Reference to a data set.
        samples: Of its training samples that are used, drawn for each seed; the others are for testing.
        nets: Initial weights a seed; all pairs are compared.
        rates: Learning rates. For each norm and seed the one with the lowest mean training loss counts.
        batch_size, steps: Of plain SGD.
        device: ``cpu``, or ``auto`` for a GPU if there is one.
    """

    network: str
    options: tuple[tuple[str, int], ...]
    data: str
    samples: int
    nets: int
    rates: tuple[float, ...]
    batch_size: int
    steps: int
    device: str


def judge_disagreement(rows: Rows, design: ConvergeDesign) -> Judgement:
    """Without BN the share of test pictures on which two networks disagree is larger by more than a point."""
    name = "disagreement of two initializations without BN - with"
    values = _differences(rows, "disagreement")
    found = one_sided(values, name=name, seeds=design.seeds, side="above", limit=LIMIT)
    spread = described(_differences(rows, "spread"), "spread of accuracy over initializations without BN - with")
    notes = "; ".join(
        described(list(per_seed(rows, column, norm=norm).values()), f"{column} with norm {norm}")
        for column in ("disagreement", "accuracy", "train_loss")
        for norm in ("none", "batch")
    )
    return Judgement(found.outcome, found.effect, found.interval, found.n, f"{found.why} {spread}; {notes}.")


def judge_control(rows: Rows, design: ConvergeDesign) -> Judgement:
    """Where the loss has one minimum, BN makes no difference of a point."""
    name = "disagreement of two initializations of a linear classifier without BN - with"
    values = _differences(rows, "disagreement")
    return equality(values, name=name, seeds=design.seeds, target=0.0, tolerance=LIMIT)


def _differences(rows: Rows, column: str) -> list[float]:
    return paired_differences(rows, column, "norm", "none", "batch")


def draw_disagreement(rows: Rows) -> alt.LayerChart:
    """The share of test pictures on which two networks disagree, with BN and without."""
    labels = {"claim": "", "control": ", linear (control)"}
    points = [{**row, "what": f"norm: {row['norm']}{labels[str(row['part'])]}"} for row in rows]
    return strips(
        sorted(points, key=lambda point: str(point["part"])),
        Along("what", "networks"),
        Along("disagreement", "share of test pictures on which two networks disagree"),
        title="Disagreement of networks that differ in their initial weights alone",
        subtitle="A dot a seed: mean over pairs of networks; bar: median",
    )


CLAIM = Claim(
    id="inits-converge",
    group="normalization",
    statement="With batch normalization, different initial weights lead to the same solution more often.",
    source="a question-and-answer thread",
    citation="informal",
    prediction="Two networks with BN that differ in their initial weights disagree on fewer test pictures.",
    scope=Scope(
        "ReLU perceptron, four hidden layers of 64 units (quick); VGG (full); draws of He's weights",
        "digits, 700 for training and 1097 for testing (quick); CIFAR-10 (full)",
        "plain SGD; lr 0.1, 100 steps (quick); the best of lr 0.01, 0.03, 0.1 by training loss, 5,000 steps (full)",
    ),
    caveats=(
        "The same solution means here: the same classes for the test pictures. Weights were not compared.",
        "Networks that are more accurate, or trained longer, agree more, whatever the reason: accuracies and training "
        "losses are reported. The losses are not the same with and without BN after the same steps.",
        "All draws come from one scheme at one scale; bn-init-sensitivity is about the scale.",
    ),
    designs={
        "quick": ConvergeDesign(
            seeds=30, network="gainstage.lab.apparatus.networks:mlp", options=(("depth", 4), ("width", 64)),
            data="gainstage.lab.apparatus.data:digits", samples=700, nets=3, rates=(0.1,), batch_size=64,
            steps=100, device="cpu",
        ),
        "full": ConvergeDesign(
            seeds=10, network="gainstage.lab.apparatus.convnets:vgg", options=(("width", 64),),
            data="gainstage.lab.apparatus.data:cifar10", samples=50_000, nets=3, rates=(0.01, 0.03, 0.1),
            batch_size=128, steps=5000, device="auto",
        ),
    },
    smoke=ConvergeDesign(
        seeds=2, network="gainstage.lab.apparatus.convnets:vgg", options=(("width", 2),),
        data="gainstage.lab.apparatus.data:color_noise", samples=32, nets=2, rates=(0.01, 0.1), batch_size=16,
        steps=2, device="cpu",
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_disagreement,
    control=Control(
        "Where the loss has one minimum (linear classifier, BN on its inputs), BN must make no difference of a point.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_disagreement,
)  # fmt: skip
