"""What only a few steps of training show: OPT004 diverging."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from gainstage.rules.base import Finding, NotAssessed, Threshold, rule
from gainstage.trace.records import Trace

DIVERGED = Threshold("diverged", 5.0, "× the first losses", "learning-rate finders stop at 5 × the best loss")


@rule(
    "OPT004", "diverging", severities=("error",), cause="learning-rate", thresholds=(DIVERGED,),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randn(64, 1)),
                             optimizer=torch.optim.SGD(model.parameters(), lr=20.0))
        check_options = {"steps": 20}
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randn(64, 1)),
                             optimizer=torch.optim.SGD(model.parameters(), lr=0.05))
        check_options = {"steps": 20}
    """,
)  # fmt: skip
def diverging(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The loss of a short trial rises, or is not finite.

    What: on a copy, with your optimizer, the loss leaves the finite numbers or ends above 5 times where it began.
    Why it hurts: the steps are larger than the loss surface allows; no patience mends that.
    How measured: the median of the trial's last fifth against that of its first losses.
    When it is a false alarm: a loss that starts near zero by accident.
    Fix: a lower learning rate, or warm-up.
    References: LeCun et al. 1998; Cohen et al. 2021.
    """
    trial = trace.trial
    if trial is None:
        yield NotAssessed("OPT004", "needs a trial: check with steps=50 and an optimizer")
        return
    if not math.isfinite(trace.loss) or not trial.losses:
        return
    share = max(1, len(trial.losses) // 5)
    start, end = median(trial.losses[:share]), median(trial.losses[-share:])
    if math.isfinite(trial.losses[-1]) and abs(end) <= DIVERGED.value * max(abs(start), 1e-12):
        return
    rates = ", ".join(f"{rate:g}" for rate in trace.optimizer.learning_rates) if trace.optimizer else "?"
    outcome = f"went from {start:.3g} to {end:.3g}" if math.isfinite(trial.losses[-1]) else "left the finite numbers"
    yield Finding(
        "OPT004", "diverging", "error", "learning-rate", "",
        message=f"In a trial of {trial.steps} steps at learning rate {rates} the loss {outcome}"
        f" (after {len(trial.losses)} steps).",
        why="The steps are larger than the loss surface allows: more of them make it worse.",
        advice="Lower the learning rate by a factor of 10 and check again; warm up if it must be this high.",
        value=end / start if start else None, threshold=DIVERGED.value, evidence={"first": start, "last": end},
    )  # fmt: skip
