"""With batch normalization, do different initial weights end at the same solution more often?

Two solutions are the same as far as they classify the same pictures alike: weights cannot be compared, since units
can change places. All networks of a seed see the same samples in the same order; only their initial weights differ.
Networks that are trained further agree more, so each is looked at where it first reaches a stated training loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, strips
from gainstage.lab.judge import Judgement, described, equality, number, one_sided, paired_differences, per_seed

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
        rates: Learning rates. For each norm and seed the one counts at which most networks reach the training loss,
            of these the one at which the slowest network takes the fewest steps.
        batch_size, steps: Of plain SGD; steps at the most.
        every: Steps between two looks at the loss.
        level: Of the training loss, in nats and in evaluation mode over the training set, at which networks are
            compared. The set is then almost learnt: ln 10 = 2.3 is chance.
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
    every: int
    level: float
    device: str


def judge_disagreement(rows: Rows, design: ConvergeDesign) -> Judgement:
    """Without BN the share of test pictures on which two networks disagree is larger by more than a point."""
    name = "disagreement of two initializations without BN - with"
    values = _differences(rows, "disagreement")
    found = one_sided(values, name=name, seeds=design.seeds, side="above", limit=LIMIT)
    spread = described(_differences(rows, "spread"), "spread of accuracy over initializations without BN - with")
    notes = "; ".join(
        described(list(per_seed(rows, column, norm=norm).values()), f"{column} with norm {norm}")
        for column in ("disagreement", "accuracy", "train_loss", "steps")
        for norm in ("none", "batch")
    )
    why = f"{found.why} {spread}; {notes}.{_missed(rows)}"
    return Judgement(found.outcome, found.effect, found.interval, found.n, why)


def judge_control(rows: Rows, design: ConvergeDesign) -> Judgement:
    """BN's scale and shift without its normalization make no difference of a point."""
    name = "disagreement of two initializations without BN - with its γ and β alone"
    values = _differences(rows, "disagreement", "affine")
    return equality(values, name=name, seeds=design.seeds, target=0.0, tolerance=LIMIT)


def _missed(rows: Rows) -> str:
    missed = sum(int(number(row["missed"])) for row in rows)
    return f" {missed} networks never reached the training loss and count as chance." if missed else ""


def _differences(rows: Rows, column: str, norm: str = "batch") -> list[float]:
    return paired_differences(rows, column, "norm", "none", norm)


def draw_disagreement(rows: Rows) -> alt.LayerChart:
    """The share of test pictures on which two networks disagree, with BN and without."""
    names = {"none": "no norm", "batch": "batch norm", "affine": "γ and β alone (control)"}
    # Those without a norm are the same in the control.
    shown = [row for row in rows if row["part"] == "claim" or row["norm"] == "affine"]
    return strips(
        [{**row, "what": names[str(row["norm"])]} for row in shown],
        Along("what", "networks"),
        Along("disagreement", "share of test pictures on which two networks disagree"),
        title="Disagreement of networks that differ in their initial weights alone",
        subtitle="At the same training loss. A dot a seed: mean over pairs of networks; bar: median",
    )


CLAIM = Claim(
    id="inits-converge",
    group="normalization",
    statement="With batch normalization, different initial weights lead to the same solution more often.",
    source="a question-and-answer thread",
    citation="informal",
    prediction=(
        "Where each first reaches the same training loss, two networks with BN that differ in their initial weights "
        "disagree on fewer test pictures, by more than one of a hundred."
    ),
    scope=Scope(
        "ReLU perceptron, four hidden layers of 64 units (quick); VGG (full); draws of He's weights",
        "digits, 700 for training and 1097 for testing (quick); CIFAR-10 (full)",
        "plain SGD, to a training loss of 0.03 (quick), 0.3 (full) nats; at the learning rate that gets there in the "
        "fewest steps, of 0.1, 0.3 (quick), of 0.01, 0.03, 0.1 (full)",
    ),
    caveats=(
        "The same solution means here: the same classes for the test pictures. Weights were not compared.",
        "Networks that are more accurate agree more, whatever the reason: accuracies are reported and not matched.",
        "The training loss is matched, not the number of steps; both are reported. At another loss, or after training "
        "to the end, the networks may differ in another way.",
        "All draws come from one scheme at one scale; bn-init-sensitivity is about the scale.",
    ),
    designs={
        "quick": ConvergeDesign(
            seeds=30, network="gainstage.lab.apparatus.networks:mlp", options=(("depth", 4), ("width", 64)),
            data="gainstage.lab.apparatus.data:digits", samples=700, nets=3, rates=(0.1, 0.3), batch_size=64,
            steps=600, every=5, level=0.03, device="cpu",
        ),
        "full": ConvergeDesign(
            seeds=10, network="gainstage.lab.apparatus.convnets:vgg", options=(("width", 64),),
            data="gainstage.lab.apparatus.data:cifar10", samples=50_000, nets=3, rates=(0.01, 0.03, 0.1),
            batch_size=128, steps=12_000, every=100, level=0.3, device="auto",
        ),
    },
    smoke=ConvergeDesign(
        seeds=2, network="gainstage.lab.apparatus.convnets:vgg", options=(("width", 2),),
        data="gainstage.lab.apparatus.data:color_noise", samples=32, nets=2, rates=(0.01, 0.1), batch_size=16,
        steps=2, every=1, level=3.0, device="cpu",
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_disagreement,
    control=Control(
        "The scale and shift of BN without its normalization must make no difference of a point.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_disagreement,
)  # fmt: skip
