"""Normalization by other p-norms than the standard deviation does as well as batch norm."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gainstage.lab.catalogue.how_it_helps.along_training import HE_SCALE
from gainstage.lab.catalogue.how_it_helps.norm_trials import (
    COMPARABLE,
    RATES,
    TrialDesign,
    at_the_ends,
    draw_scores,
    gaps,
    not_judged,
    weights_name,
)
from gainstage.lab.claim import Claim, Control, Deferred, Rows, Scope
from gainstage.lab.judge import Judgement, combine, one_sided

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.how_it_helps.norm_trials"
_METRIC = "test_accuracy"
_NORMS = {"l1": "ℓ₁", "l2": "ℓ₂", "linf": "ℓ∞"}
_NAMES = {"batch": "batch norm", **_NORMS, "none": "no norm (control)"}


def judge_norms(rows: Rows, design: TrialDesign) -> Judgement:
    """With torch's weights none of the three falls short of batch norm by more than two points of test accuracy."""
    judged, *others = design.scales
    first, *rest = (
        one_sided(
            gaps(rows, _METRIC, norm, "batch", judged),
            name=f"test accuracy with {weights_name(judged)} weights, {said} - batch norm", seeds=design.seeds,
            side="above", limit=-COMPARABLE,
        )
        for norm, said in _NORMS.items()
    )  # fmt: skip
    found = combine(first, *rest)
    told = not_judged(rows, _METRIC, [(norm, "batch") for norm in _NORMS], others)
    return replace(found, why=f"{found.why} {told} {at_the_ends(rows, design.lrs)}")


def judge_control(rows: Rows, design: TrialDesign) -> Judgement:
    """No norm, torch's weights: worse by more than two points. What it is with the others is told."""
    judged, *others = design.scales
    found = one_sided(
        gaps(rows, _METRIC, "none", "batch", judged),
        name=f"test accuracy with {weights_name(judged)} weights, no norm - batch norm", seeds=design.seeds,
        side="below", limit=-COMPARABLE,
    )  # fmt: skip
    return replace(found, why=f"{found.why} {not_judged(rows, _METRIC, [('none', 'batch')], others)}")


def draw_norms(rows: Rows) -> alt.HConcatChart:
    """Test accuracy by network and initial weights."""
    return draw_scores(rows, _METRIC, _NAMES, title="Test accuracy", of="accuracy on the test samples")


CLAIM = Claim(
    id="lp-norms",
    group="how-it-helps",
    statement=(
        "Taking away the mean of a unit's values in the batch and dividing by the ℓ₁, ℓ₂ or ℓ∞ norm of those values, "
        "in the place of their standard deviation, does as well as batch normalization, with torch's initial weights."
    ),
    source="Santurkar et al. 2018, How does batch normalization help optimization?, section 3.3",
    prediction=(
        "With torch's initial weights test accuracy of each is not lower than batch norm's by more than 2 points "
        "(Santurkar et al., VGG on CIFAR-10)."
    ),
    scope=Scope(
        "perceptron of 8 hidden ReLU layers of 64 (quick), VGG with ten convolutions (full); judged with torch's "
        "initial weights, told with He's",
        "scikit-learn's digits, batch 128, 397 test pictures (quick), not CIFAR-10; CIFAR-10, batch 128 (full)",
        "plain gradient descent, the best of the rates 0.02, 0.1, 0.5, 2.5; 100 updates (quick), 10,000 (full)",
    ),
    caveats=(
        "As in the paper the norm is that of the values as they come in, before their mean is taken away, so ℓ₂ is not "
        "batch norm. Unlike there it is divided by what it is for standard normal values, which sets the first scale.",
        "A norm can be told from another only where it matters whether there is one. Torch's initial weights are too "
        "small for a deep ReLU network (their variance is a sixth of He's); He's let it start without a norm too, so "
        "they are not judged, and the control tells how a network without a norm does with them.",
        "The effect that is shown first is ℓ₁'s; the other two must hold as well.",
    ),
    # The control takes the two rates in the middle: the budget of quick has no room for all four.
    designs={
        "quick": TrialDesign(seeds=10, lrs=RATES, control_lrs=RATES[1:3], steps=100),
        "full": TrialDesign(
            seeds=10, lrs=RATES, control_lrs=RATES[1:3], steps=10_000, device="auto",
            network="gainstage.lab.apparatus.convnets:vgg", data="gainstage.lab.apparatus.data:cifar10",
        ),
    },
    smoke=TrialDesign(
        seeds=2, lrs=(0.1, 0.3), control_lrs=(0.1,), steps=3, batch_size=32, scales=(1.0, HE_SCALE),
        options=(("depth", 2), ("width", 8)),
    ),
    measure=Deferred(_HOME, "lp"),
    judge=judge_norms,
    control=Control(
        "With torch's weights and no norm test accuracy must be lower than batch norm's by more than 2 points.",
        Deferred(_HOME, "plain"),
        judge_control,
    ),
    figure=draw_norms,
)  # fmt: skip
