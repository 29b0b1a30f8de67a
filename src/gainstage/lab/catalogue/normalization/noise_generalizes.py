"""Does noise on activations improve the test accuracy at the same training loss? Accuracy over the level of noise.

The best level is chosen for each seed by the *other* seeds, so that the choice does not favour noise: the best of
several levels on the same seed would beat no noise by luck alone. An optimum is more than a gain: past it the accuracy
must fall again, at levels where the training still reaches the loss, since a run that does not has lost for another
reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.lab.claim import Claim, Control, Deferred, Design, Rows, Scope
from gainstage.lab.figures import Along, curves
from gainstage.lab.judge import Judgement, combine, described, number, one_sided, per_seed

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.normalization.noise_generalizes"
# The smallest difference of accuracy that matters: one point of a hundred.
LIMIT = 0.01


@dataclass(frozen=True)
class NoiseDesign(Design):
    """Training on a set with wrong labels, with noise behind each ReLU.

    Attributes:
        network: Reference to a factory of a sequence without norms; ``options`` are its keywords.
        data: Reference to a data set.
        samples: Of its training samples that are used, drawn for each seed; the others are for testing.
        wrong: Share of them with a wrong label.
        levels: s of the factors 1 + s·ε, ascending; the first is 0. The training reaches ``level`` in ``steps`` at all
            of them: at s = 1 in less than half of them, at s = 1.25 not in twice as many (quick).
        lr, momentum, batch_size: Of SGD.
        steps: At the most.
        every: Steps between two looks at the loss.
        level: Of the training loss, without noise, at which tests are compared. The best that ignores which labels
            are wrong has 0.94 nats at a share of 0.2 of 10 classes; below that, wrong labels are learnt by heart.
        device: ``cpu``, or ``auto`` for a GPU if there is one.
    """

    network: str
    options: tuple[tuple[str, int | str], ...]
    data: str
    samples: int
    wrong: float
    levels: tuple[float, ...]
    lr: float
    momentum: float
    batch_size: int
    steps: int
    every: int
    level: float
    device: str


def judge_noise(rows: Rows, design: NoiseDesign) -> Judgement:
    """The level that is best on the other seeds gains more than a point over no noise, and the largest is worse."""
    name = "test accuracy at matched training loss with the other seeds' best level of noise - without noise"
    gain = one_sided(gains(rows), name=name, seeds=design.seeds, side="above", limit=LIMIT)
    # How far it falls says how far the levels reach, so any fall will do.
    name = f"the same with the other seeds' best level - with the largest that all runs train at ({_last(rows):g})"
    found = combine(gain, one_sided(falls(rows), name=name, seeds=design.seeds, side="above"))
    notes = "; ".join(
        f"{described(list(accuracies.values()), f'accuracy at s = {noise:g}')}{_missed(rows, noise)}"
        for noise, accuracies in _by_noise(rows).items()
    )
    return Judgement(found.outcome, found.effect, found.interval, found.n, f"{found.why} {notes}.")


def judge_control(rows: Rows, design: NoiseDesign) -> Judgement:
    """Factors that never change gain less than a point, chosen in the same way."""
    name = "test accuracy at matched training loss with the other seeds' best level of fixed factors - without"
    return one_sided(gains(rows), name=name, seeds=design.seeds, side="below", limit=LIMIT)


def gains(rows: Rows) -> list[float]:
    """Per seed, the accuracy at the level above zero that is best on average over the other seeds, minus at zero.

    Args:
        rows: With ``noise``, ``seed`` and ``test_accuracy``.

    Returns:
        NaN for each seed if there is only one, or an accuracy is missing.
    """
    by_noise = _by_noise(rows)
    return _lead(by_noise, by_noise.pop(0.0, {}))


def falls(rows: Rows) -> list[float]:
    """Per seed, the accuracy at the level that is best on the other seeds, minus at the largest of them.

    Args:
        rows: As `gains` takes them, with ``reached``. Levels at which a run did not reach the loss are left out: such
            a run counts as chance, which would make the largest level the worst by definition.

    Returns:
        NaN for each seed where there are fewer than two levels above zero.
    """
    by_noise = {noise: found for noise, found in _by_noise(rows).items() if 0 < noise <= _last(rows)}
    last = by_noise.get(_last(rows), {})
    return _lead(by_noise, last) if len(by_noise) > 1 else [math.nan for _ in {row["seed"] for row in rows}]


def _last(rows: Rows) -> float:
    """The largest level up to which all runs reached the training loss; NaN if the first did not."""
    last = math.nan
    for noise in _by_noise(rows):
        if any(row["reached"] is not True for row in rows if row["noise"] == noise):
            break
        last = noise
    return last


def _lead(by_noise: Mapping[float, dict[int, float]], over: Mapping[int, float]) -> list[float]:
    complete = all(
        found.keys() == over.keys() and all(map(math.isfinite, found.values())) for found in (over, *by_noise.values())
    )
    if not complete or not by_noise or len(over) < 2:
        return [math.nan for _ in over]
    return [_best_elsewhere(by_noise, seed)[seed] - own for seed, own in over.items()]


def _best_elsewhere(by_noise: Mapping[float, dict[int, float]], seed: int) -> dict[int, float]:
    return max(by_noise.values(), key=lambda found: sum(value for other, value in found.items() if other != seed))


def _by_noise(rows: Rows) -> dict[float, dict[int, float]]:
    levels = sorted({number(row["noise"]) for row in rows})
    return {noise: per_seed(rows, "test_accuracy", noise=noise) for noise in levels}


def _missed(rows: Rows, noise: float) -> str:
    own = [row for row in rows if row["noise"] == noise]
    missed = sum(row["reached"] is False for row in own)
    return f" ({missed} of {len(own)} runs never reached the training loss and count as chance)" if missed else ""


def draw_accuracies(rows: Rows) -> alt.LayerChart:
    """The test accuracy at the level of the training loss over the level of noise, and of fixed factors."""
    names = {"claim": "new in each step (noise)", "control": "never changing (control)"}
    return curves(
        [{**row, "what": names[str(row["part"])]} for row in rows],
        Along("noise", "s of the factors 1 + s·ε behind each ReLU"),
        Along("test_accuracy", "test accuracy (share of pictures)"),
        Along("what", "factors"),
        title="Test accuracy at the same training loss, over the level of noise on activations",
        subtitle="Thick lines: medians; thin ones: seeds; runs that never reach that loss count as chance",
    )


CLAIM = Claim(
    id="noise-generalizes",
    group="normalization",
    statement="Adding some artificial noise to the activations often improves generalization.",
    source="a question-and-answer thread",
    citation="informal",
    prediction=(
        "At the same training loss the test accuracy is highest at some level of noise above zero: more than a point "
        "higher than without, and higher than at the largest level at which training still reaches that loss."
    ),
    scope=Scope(
        "ReLU perceptron, two hidden layers of 64 units, no norm (quick); VGG without norm (full); He's weights",
        "512 pictures of MNIST at 14×14, a fifth with wrong labels, 4488 for testing (quick); 4096 of CIFAR-10 (full)",
        "normal factors 1 + s·ε with s from 0.25 to 1; SGD with momentum 0.9, batches of 32 (quick), 128 (full)",
    ),
    caveats=(
        "The noise multiplies, so that weights cannot outgrow it; s = 1 has the variance of dropout with p = ½.",
        "Noise takes more steps to the same training loss, which is measured without it.",
        "Above s = 1 training does not reach that loss in these steps, so that nothing is said of such noise.",
        "Wrong labels make memorizing visible; with clean ones the effect may be smaller.",
    ),
    designs={
        "quick": NoiseDesign(
            seeds=28, network="gainstage.lab.apparatus.networks:mlp",
            options=(("depth", 2), ("width", 64), ("norm", "none"), ("inputs", 196)),
            data="gainstage.lab.apparatus.label_noise:small_mnist", samples=512, wrong=0.2,
            levels=(0.0, 0.25, 0.5, 0.75, 1.0), lr=0.02, momentum=0.9, batch_size=32, steps=1600, every=8, level=0.5,
            device="cpu",
        ),
        "full": NoiseDesign(
            seeds=10, network="gainstage.lab.apparatus.convnets:vgg", options=(("norm", "none"), ("width", 64)),
            data="gainstage.lab.apparatus.data:cifar10", samples=4096, wrong=0.2,
            levels=(0.0, 0.25, 0.5, 0.75, 1.0), lr=0.01, momentum=0.9, batch_size=128, steps=6000, every=32, level=0.5,
            device="auto",
        ),
    },
    smoke=NoiseDesign(
        seeds=2, network="gainstage.lab.apparatus.convnets:vgg", options=(("norm", "none"), ("width", 4)),
        data="gainstage.lab.apparatus.data:color_noise", samples=16, wrong=0.2, levels=(0.0, 0.25, 0.5), lr=0.02,
        momentum=0.9, batch_size=8, steps=2, every=1, level=2.5, device="cpu",
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_noise,
    control=Control(
        "Factors of the same spread that are drawn once for each unit and never change must not gain a point.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_accuracies,
)  # fmt: skip
