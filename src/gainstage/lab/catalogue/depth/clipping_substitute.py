"""Whether gradient clipping can stand in for batch normalization: where gradients explode, and where they vanish."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gainstage.lab.catalogue.designs import CIFAR, DIGITS, PLAIN, VGG, Net, RateDesign
from gainstage.lab.claim import Claim, Control, Deferred, Rows, Scope
from gainstage.lab.figures import Along, chosen, curves, side_by_side
from gainstage.lab.judge import Judgement, combine, described, equality, number, one_sided, paired_differences

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.depth.clipping_substitute"
# Points of test accuracy: within five of each other two networks count as trained alike, as in bn-init-sensitivity.
TOLERANCE = 0.05


@dataclass(frozen=True)
class ClippingDesign(RateDesign):
    """Trainings of one network plain, with clipped gradients and with batch norm.

    Attributes:
        clips: c, the largest norm of the whole gradient; the best of them counts.
        large, small: Factors of the initial weights with which gradients explode, and vanish.
    """

    clips: tuple[float, ...]
    large: float
    small: float


def judge_substitute(rows: Rows, design: ClippingDesign) -> Judgement:
    """With large weights clipping does as well as batch norm and better than nothing; with small ones it does not."""
    seeds = design.seeds
    large, small = f"initial weights × {design.large:g}", f"initial weights × {design.small:g}"
    found = combine(
        one_sided(
            _gaps(rows, design.large, "batch", "clip"), name=_name("batch norm minus clipping", large), seeds=seeds,
            side="below", limit=TOLERANCE,
        ),
        one_sided(
            _gaps(rows, design.large, "clip", "none"), name=_name("clipping minus neither", large), seeds=seeds,
            side="above", limit=TOLERANCE,
        ),
        one_sided(
            _gaps(rows, design.small, "batch", "clip"), name=_name("batch norm minus clipping", small), seeds=seeds,
            side="above", limit=TOLERANCE,
        ),
    )  # fmt: skip
    return replace(found, why=f"{found.why} Not judged: {_chosen_rates(rows, design)}.")


def judge_control(rows: Rows, design: ClippingDesign) -> Judgement:
    """From He's own weights, which neither explode nor vanish, clipping makes no difference."""
    name = _name("clipping minus neither", "He's own weights")
    gaps = _gaps(rows, 1.0, "clip", "none")
    found = equality(gaps, name=name, seeds=design.seeds, target=0.0, tolerance=TOLERANCE)
    rates = described(_gaps(rows, 1.0, "clip", "none", "log_largest_lr"), "clipping minus neither")
    return replace(found, why=f"{found.why} Not judged, log10 of the largest usable learning rate: {rates}.")


def _chosen_rates(rows: Rows, design: ClippingDesign) -> str:
    """How often the rate that was chosen lies at an end of the grid, where a better one may lie beyond."""
    summaries = [row for row in rows if "best_lr" in row]
    low, high = (sum(row["best_lr"] == lr for row in summaries) for lr in (design.lrs[0], design.lrs[-1]))
    return (
        f"of {len(summaries)} choices of a rate {low} are the lowest of the grid ({design.lrs[0]:g}) and {high} the "
        f"highest ({design.lrs[-1]:g})"
    )


def _gaps(rows: Rows, scale: float, first: str, second: str, key: str = "best_accuracy") -> list[float]:
    return paired_differences(chosen(rows, scale=scale), key, "variant", first, second)


def _name(what: str, where: str) -> str:
    return f"test accuracy at the best rate of each, {what} ({where})"


def draw_clipping(rows: Rows) -> alt.HConcatChart:
    """Test accuracy over the learning rate, a picture for each scale of the initial weights."""
    runs = chosen(rows, kind="run")
    scales = sorted({number(row["scale"]) for row in runs})
    return side_by_side(
        *(
            curves(
                chosen(runs, scale=scale), Along("lr", "learning rate", log=True),
                Along("test_accuracy", "test accuracy after the last step"), Along("what", ""),
                title=f"Test accuracy, initial weights × {scale:g}", subtitle="Thick: median; faint: one line a seed",
            ).properties(width=320)
            for scale in scales
        )
    )  # fmt: skip


_QUICK = ClippingDesign(
    seeds=7, net=Net("MLP-8", PLAIN, (("depth", 8), ("width", 64))), data=DIGITS, device="cpu", init="he",
    lrs=(1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0), steps=100, batch=64, clips=(0.1, 1.0, 5.0), large=2.0, small=0.3,
)  # fmt: skip

CLAIM = Claim(
    id="clipping-substitute",
    group="depth",
    statement=(
        "Gradient clipping, g · min(1, c/‖g‖), can stand in for batch normalization, but against exploding gradients "
        "only: where they vanish it cannot."
    ),
    source="a question-and-answer thread; clipping: Pascanu et al. 2013",
    citation="informal",
    prediction=(
        "From weights so large that gradients explode the best clipped training comes within 5 points of batch norm "
        "and beats the plain one by more; from weights so small that they vanish it stays more than 5 points behind."
    ),
    scope=Scope(
        "perceptron of 8 hidden ReLU layers of 64 units (quick); VGG of width 64 (full); He's initialization × 2, "
        "× 0.3 and × 1",
        "digits, 1400 to train, not CIFAR-10 (quick); CIFAR-10 (full)",
        "SGD without momentum, c = .1, 1 and 5, learning rates .001 to 1 half a decade apart, 100 steps of "
        "64 (full: to .3, 4000 steps of 128)",
    ),
    caveats=(
        "100 steps are few: a clipped training that is behind then may catch up later.",
        "The best clipped training has three values of c to choose from, by training loss; batch norm has one.",
        "Large initial weights are one way to exploding gradients; recurrent networks, where clipping comes from, are "
        "not tested.",
        "Clipping acts on the gradient alone: where the forward pass overflows there is none to clip "
        "(not measured).",
    ),
    designs={
        "quick": _QUICK,
        "full": replace(
            _QUICK, seeds=10, net=Net("VGG", VGG, (("width", 64),)), data=CIFAR, device="auto",
            lrs=(1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3), steps=4000, batch=128,
        ),
    },
    smoke=replace(
        _QUICK, seeds=2, net=Net("MLP-2", PLAIN, (("depth", 2), ("width", 8))), lrs=(0.1, 0.3), steps=10, clips=(1.0,),
        device="auto",
    ),
    measure=Deferred(_HOME, "measure"),
    judge=judge_substitute,
    control=Control(
        "From He's own weights, where gradients neither explode nor vanish, clipping must make no difference.",
        Deferred(_HOME, "control"),
        judge_control,
    ),
    figure=draw_clipping,
)  # fmt: skip
