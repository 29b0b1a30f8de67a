"""The runs and step sizes of the three claims about smoothness, which look at the same experiment.

The paper looks along the gradient at steps from half to four times the learning rate, none above 0.4. That range is
kept; the network and the data of the quick preset are small.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gainstage.lab.catalogue.how_it_helps.along_training import AlongDesign, at_every_rate, log_ratios
from gainstage.lab.claim import Deferred, Rows, Scope
from gainstage.lab.judge import Judgement, described, one_sided

_HOME = "gainstage.lab.measurements.how_it_helps.smoothness"
MEASURE, CONTROL = Deferred(_HOME, "measure"), Deferred(_HOME, "control")
# An idle norm's own parameters add to the gradient, which makes the loss rougher if anything. Smoother by more than a
# fifth (0.1 decades) would say that they, and not the statistics, are what helps.
CONTROL_TOLERANCE = 0.1


@dataclass(frozen=True)
class SmoothnessDesign(AlongDesign):
    """Where along the gradient to look.

    Attributes:
        reach: The smallest and the largest step, in learning rates.
        cap: No step is larger.
        count: Steps, both ends among them.
        relative_lr: In the place of the learning rate where steps are measured in shares of the weights' norm.
    """

    reach: tuple[float, float] = (0.5, 4.0)
    cap: float = 0.4
    count: int = 4
    relative_lr: float = 0.01


QUICK = SmoothnessDesign(seeds=14, lrs=(0.01, 0.03, 0.1), steps=140, every=20)
FULL = SmoothnessDesign(
    seeds=14, lrs=(0.01, 0.03, 0.1), steps=15_000, every=500, count=8, device="auto",
    network="gainstage.lab.apparatus.convnets:vgg", data="gainstage.lab.apparatus.data:cifar10",
)  # fmt: skip
SMOKE = SmoothnessDesign(
    seeds=2, lrs=(0.03, 0.1), steps=4, every=2, count=2, batch_size=32,
    options=(("depth", 2), ("width", 8)),
)  # fmt: skip
SCOPE = Scope(
    "perceptron of 8 hidden ReLU layers of 64, He weights (quick); VGG with ten convolutions (full)",
    "scikit-learn's digits, batch 128 (quick), not CIFAR-10; CIFAR-10, batch 128 (full)",
    "plain gradient descent at rates 0.01, 0.03, 0.1, each judged by itself; mean over 140 updates (quick), 15,000 "
    "(full), networks compared after equally many; steps of half to four times the rate, at most 0.4, along the "
    "gradient of the next batch",
)
CAVEATS = (
    "Batch norm changes what a step in the weights means: with it a layer's function does not depend on the scale of "
    "its weights, and dividing them by a raises the gradient a-fold and β a²-fold. The figure in steps relative to "
    "the weights' norm is therefore given beside the judged one.",
    "Networks are compared after equally many updates, when the one that learns faster has the lower loss: a loss that "
    "is lower, or has stopped falling, has another gradient and another curvature, whatever the norm does. The ratio "
    "of the losses is therefore told beside the judged figure.",
    "A maximum over a few steps along one direction is a lower bound of the constant that the theory speaks of.",
)
CONTROL_STATEMENT = (
    "A norm that takes its statistics as 0 and 1, so that only its learnt scale and shift remain, must not smooth the "
    "loss, at any of the learning rates."
)
COMPARED = {"claim": ("norm", "batch", "none"), "control": ("norm", "frozen", "none")}
CONTROL_TITLE = "Control: the same ratio with a norm that has no statistics"


def judge(rows: Rows, design: SmoothnessDesign, key: str, name: str) -> Judgement:
    """Whether a measure is smaller with batch norm: at every rate log10(with/without) lies below 0.

    The ratio in steps relative to the weights' norm, and that of the losses, are told for each rate and not judged.
    """

    def judged(lr: float) -> Judgement:
        said = f"log10 of {name} with BN / without"
        found = one_sided(_ratios(rows, key, "batch", lr), name=said, seeds=design.seeds, side="below")
        relative = described(_ratios(rows, f"relative_{key}", "batch", lr), "relative to the weights' norm")
        loss = described(_ratios(rows, "loss", "batch", lr), "of the loss itself")
        return replace(found, why=f"{found.why} Not judged, the same {relative}; {loss}.")

    return at_every_rate(design.lrs, judged)


def judge_control(rows: Rows, design: SmoothnessDesign, key: str, name: str) -> Judgement:
    """Whether at every rate the measure is no smaller with an idle norm than without one."""
    said = f"log10 of {name} with an idle norm / without"
    return at_every_rate(
        design.lrs,
        lambda lr: one_sided(
            _ratios(rows, key, "frozen", lr), name=said, seeds=design.seeds, side="above", limit=-CONTROL_TOLERANCE
        ),
    )


def _ratios(rows: Rows, key: str, norm: str, lr: float) -> list[float]:
    return log_ratios(rows, key, "norm", norm, "none", lr=lr)
