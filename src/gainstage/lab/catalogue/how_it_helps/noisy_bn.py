"""Batch norm with shifting noise behind it, which makes distributions unstable again, still trains like batch norm."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gainstage.lab.catalogue.how_it_helps.along_training import HE_SCALE, in_every_case
from gainstage.lab.catalogue.how_it_helps.norm_trials import (
    COMPARABLE,
    RATES,
    TrialDesign,
    at_the_ends,
    draw_scores,
    gaps,
    weights_name,
)
from gainstage.lab.claim import Claim, Control, Deferred, Rows, Scope
from gainstage.lab.judge import Judgement, combine, one_sided

if TYPE_CHECKING:
    import altair as alt

_HOME = "gainstage.lab.measurements.how_it_helps.norm_trials"
_METRIC = "train_accuracy"
_NAMES = {
    "batch": "batch norm",
    "noisy": "batch norm, noise behind it",
    "none": "no norm",
    "loud": "ten times the noise (control)",
}


def judge_noise(rows: Rows, design: TrialDesign) -> Judgement:
    """With each kind of initial weights noisy BN beats no norm and falls short of BN by at most two points."""

    def compared(scale: float) -> Judgement:
        first, second = (
            one_sided(
                gaps(rows, _METRIC, "noisy", against, scale), name=f"training accuracy, noisy BN - {said}",
                seeds=design.seeds, side="above", limit=limit,
            )
            for against, said, limit in (("none", "no norm", 0.0), ("batch", "BN", -COMPARABLE))
        )  # fmt: skip
        return combine(first, second)

    found = in_every_case(
        {f"{weights_name(scale)} weights": compared(scale) for scale in design.scales}, "kinds of initial weights"
    )
    return replace(found, why=f"{found.why} {at_the_ends(rows, design.lrs)}")


def judge_control(rows: Rows, design: TrialDesign) -> Judgement:
    """With each kind of initial weights ten times the noise costs more than two points."""
    first, *others = (
        one_sided(
            gaps(rows, _METRIC, "loud", "batch", scale),
            name=f"training accuracy with {weights_name(scale)} weights, BN with ten times the noise - BN",
            seeds=design.seeds, side="below", limit=-COMPARABLE,
        )
        for scale in design.scales
    )  # fmt: skip
    return combine(first, *others)


def draw_noise(rows: Rows) -> alt.HConcatChart:
    """Training accuracy by network and initial weights."""
    return draw_scores(rows, _METRIC, _NAMES, title="Training accuracy", of="accuracy on all training samples")


CLAIM = Claim(
    id="noisy-bn",
    group="how-it-helps",
    statement=(
        "Batch normalization followed by noise that shifts every unit's distribution anew at each step trains as well "
        "as without the noise, and better than no normalization, with torch's initial weights and with He's: stable "
        "distributions are not what helps."
    ),
    source="Santurkar et al. 2018, How does batch normalization help optimization?, section 2.1 and Fig. 2",
    prediction=(
        "With both kinds of initial weights training accuracy is higher than without a norm, and not lower than with "
        "batch norm by more than 2 points (Santurkar et al., VGG on CIFAR-10)."
    ),
    scope=Scope(
        "perceptron of 8 hidden ReLU layers of 64 (quick), VGG with ten convolutions (full); torch's and He's weights",
        "scikit-learn's digits, batch 128 (quick), not CIFAR-10; CIFAR-10, batch 128 (full)",
        "plain gradient descent, the best of the rates 0.02, 0.1, 0.5, 2.5; 100 updates (quick), 10,000 (full)",
    ),
    caveats=(
        "The noise is the paper's: a ← s·a + m with m ~ U(μ ± 0.1), s ~ N(σ, 0.1²) for each sample and μ ~ U(±0.5), "
        "σ ~ U(1, 1.25) for each unit and step. It is on in training only; accuracy is measured without it.",
        "Each kind of initial weights is judged by itself, and both must hold; the effect that is shown first is that "
        "over no norm with torch's. Their variance is a sixth of He's, too small for a deep ReLU network: there a norm "
        "mends the start, whatever it does afterwards.",
    ),
    designs={
        "quick": TrialDesign(seeds=8, lrs=RATES, control_lrs=(0.1,), steps=100),
        "full": TrialDesign(
            seeds=10, lrs=RATES, control_lrs=(0.1,), steps=10_000, device="auto",
            network="gainstage.lab.apparatus.convnets:vgg", data="gainstage.lab.apparatus.data:cifar10",
        ),
    },
    smoke=TrialDesign(
        seeds=2, lrs=(0.1, 0.3), control_lrs=(0.1,), steps=3, batch_size=32, scales=(1.0, HE_SCALE),
        options=(("depth", 2), ("width", 8)),
    ),
    measure=Deferred(_HOME, "noisy"),
    judge=judge_noise,
    control=Control(
        "Ten times the noise must cost more than 2 points of training accuracy, with either kind of initial weights.",
        Deferred(_HOME, "loud"),
        judge_control,
    ),
    figure=draw_noise,
)  # fmt: skip
