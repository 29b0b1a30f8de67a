"""What only training shows: OPT003 not-learning, OPT004 diverging, OPT005 oscillating."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from statistics import median

from gainstage.rules.base import Finding, NotAssessed, Threshold, rule
from gainstage.rules.steps import FRESH, knows, rates_of
from gainstage.rules.tried import LEARNED, learned_share
from gainstage.trace.records import Trace
from gainstage.trace.training_records import TrialRecord

_MEASURED = "benchmarks/step_rules.py, development set (docs/thresholds.md)"
DIVERGED = Threshold("diverged", 5.0, "× the first losses", "learning-rate finders stop at 5 × the best loss")
STUCK_STEPS = Threshold("stuck_steps", 200, "steps of a trial that tell", _MEASURED)
STUCK = Threshold("stuck", 0.98, "× the first losses: above it nothing was learned", _MEASURED)
ROOM = Threshold("room", 0.5, "× the first losses, at a higher learning rate", "as for a trial that is made again")
TURNING_STEPS = Threshold(
    "turning_steps",
    100,
    "steps of a trial that tell",
    "of 40,000 trials of noise none turned so often; of 40 steps, 163",
)
_BY_CHANCE = "noise turns a loss at two steps in three; no measured run (docs/thresholds.md)"
TURNS = Threshold("turns", 0.9, "share of steps at which the loss turns round", _BY_CHANCE)
SWING = Threshold("swing", 0.1, "× the first losses, from one step to the next", _BY_CHANCE)
SETTLING = Threshold("settling", 0.9, "× the median of the trial's third fifth", _BY_CHANCE)
# How many losses stand for the first ones where training lowers them quickly.
_FIRST = 5


@rule(
    "OPT003", "not-learning", severities=("warning",), cause="optimizer", thresholds=(STUCK_STEPS, STUCK, FRESH, ROOM),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        loss = lambda outputs, targets: nn.functional.cross_entropy(outputs.sigmoid() * 0.01, targets)
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(4, (64,))), loss,
                             optimizer=torch.optim.SGD(model.parameters(), lr=0.5))
        check_options = {"steps": 200}
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(4, (64,))),
                             optimizer=torch.optim.SGD(model.parameters(), lr=0.5))
        check_options = {"steps": 200}
    """,
)  # fmt: skip
def not_learning(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """A trial of two hundred steps does not lower the loss.

    What: on a copy, with your optimizer, the loss ends above 0.98 of where it began, without diverging.
    Why it hurts: nothing is learned, and more of the same seldom changes that.
    How measured: the median of the trial's last fifth against that of its first five losses. A shorter trial is not
        judged: networks that train well stood still for their first 50 steps. Nor is a network that knows something
        already, whose loss is below 0.9 of that of the best constant answer.
        Nor is one whose loss is no matter of single samples (a quantizer's, a critic's) and falls at a higher rate.
    When it is a false alarm: a long plateau at the start, as of tasks in which single features tell nothing; targets
        that are nearly all noise.
    Fix: the finding that explains it, if there is one; else look at the wiring: what the optimizer holds, what is
        detached, whether inputs and targets belong together.
    References: Karpathy 2019, A recipe for training neural networks.
    """
    trial, step = trace.trial, trace.step
    if trial is None or trial.reason or trial.steps < STUCK_STEPS.value:
        yield NotAssessed("OPT003", _untried(trial, 200))
        return
    if step is None or step.loss is None or not math.isfinite(trace.loss) or not math.isfinite(trial.losses[-1]):
        return
    if knows(step):
        return
    start, end = median(trial.losses[:_FIRST]), median(trial.losses[-len(trial.losses) // 5 :])
    learned = learned_share(trace)
    if not STUCK.value * start < end <= DIVERGED.value * start or (learned is not None and learned < LEARNED.value):
        return
    swifter = [variant.end for variant in trial.variants if variant.change == "lr" and variant.factor > 1]
    if step.constant_loss is None and min(swifter, default=math.inf) < ROOM.value * start:
        return  # it can be learned, and whether the rate is too low is not known of such a loss
    yield Finding(
        "OPT003", "not-learning", "warning", "optimizer", "",
        message=f"In a trial of {trial.steps} steps at learning rate {rates_of(trace)} the loss went from {start:.3g} "
        f"to {end:.3g}.",
        why="Nothing is learned, and more of the same seldom changes that.",
        advice="Check what the optimizer holds, what is detached, and that inputs and targets belong together; "
        "`gainstage lr TARGET` tries other learning rates.",
        value=end / start, threshold=STUCK.value, evidence={"first": start, "last": end},
    )  # fmt: skip


@rule(
    "OPT004", "diverging", severities=("error",), cause="learning-rate",
    explains=("NRM002", "OPT005"), thresholds=(DIVERGED,),
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
    if trial is None or trial.reason:
        yield NotAssessed("OPT004", _untried(trial, 50))
        return
    if not math.isfinite(trace.loss) or not trial.losses:
        return
    share = max(1, len(trial.losses) // 5)
    start, end = median(trial.losses[:share]), median(trial.losses[-share:])
    # A loss below zero that falls grows in size, and diverges no more than another.
    if math.isfinite(trial.losses[-1]) and end - start <= (DIVERGED.value - 1) * max(abs(start), 1e-12):
        return
    outcome = f"went from {start:.3g} to {end:.3g}" if math.isfinite(trial.losses[-1]) else "left the finite numbers"
    yield Finding(
        "OPT004", "diverging", "error", "learning-rate", "",
        message=f"In a trial of {trial.steps} steps at learning rate {rates_of(trace)} the loss {outcome}"
        f" (after {len(trial.losses)} steps).",
        why="The steps are larger than the loss surface allows: more of them make it worse.",
        advice="Lower the learning rate by a factor of 10 and check again, or let `gainstage lr TARGET` measure how "
        "far it may go; warm up if it must be this high.",
        value=end / start if start else None, threshold=DIVERGED.value, evidence={"first": start, "last": end},
    )  # fmt: skip


@rule(
    "OPT005", "oscillating", severities=("warning",), cause="learning-rate",
    explains=("OPT003",), thresholds=(TURNING_STEPS, TURNS, SWING, SETTLING),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        class Valley(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.tensor([[0.8]]))
            def forward(self, x):
                return x @ self.weight.square()
        model = Valley()
        subject = gs.Subject(model, (torch.ones(16, 1), torch.full((16, 1), 0.25)),
                             optimizer=torch.optim.SGD(model.parameters(), lr=1.2))
        check_options = {"steps": 100}
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        class Valley(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.tensor([[0.8]]))
            def forward(self, x):
                return x @ self.weight.square()
        model = Valley()
        subject = gs.Subject(model, (torch.ones(16, 1), torch.full((16, 1), 0.25)),
                             optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
        check_options = {"steps": 100}
    """,
)  # fmt: skip
def oscillating(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The loss jumps up and down, step by step, and does not come down.

    What: in the second half of a trial of 100 steps or more the loss turns round at nine steps in ten, by more than a
        tenth of the first losses each time, and its level does not fall.
    Why it hurts: each step overshoots the valley to the other side, and none goes along it.
    How measured: the share of successive changes of the loss that differ in sign, and their median size. The noise of
        batches turns a loss round at two steps in three; so the rule speaks for full batches, or for batches much
        alike. Large jumps alone are no sign: runs that ended well jumped by fifty times the loss that they began with.
    When it is a false alarm: two batches by turns of which one is harder.
    Fix: a lower learning rate, less momentum.
    References: LeCun et al. 1998; Cohen et al. 2021, for oscillations that do no harm: there the level falls.
    """
    trial = trace.trial
    if trial is None or trial.reason or trial.steps < TURNING_STEPS.value:
        yield NotAssessed("OPT005", _untried(trial, 100))
        return
    losses = trial.losses
    if len(losses) < TURNING_STEPS.value or not math.isfinite(losses[-1]):
        return
    changes = [after - before for before, after in pairwise(losses[len(losses) // 2 :])]
    turns = sum(first * second < 0 for first, second in pairwise(changes)) / (len(changes) - 1)
    swing, start = median(abs(change) for change in changes), abs(median(losses[:_FIRST]))
    share = len(losses) // 5
    falls = median(losses[-share:]) < SETTLING.value * median(losses[2 * share : 3 * share])
    if turns < TURNS.value or swing <= SWING.value * start or falls:
        return
    yield Finding(
        "OPT005", "oscillating", "warning", "learning-rate", "",
        message=f"In a trial of {trial.steps} steps at learning rate {rates_of(trace)} the loss turns round at "
        f"{turns:.0%} of the steps, by {swing:.3g} each time, and does not come down.",
        why="Each step overshoots the valley to the other side, and none goes along it.",
        advice="Lower the learning rate by a factor of 3, or the momentum; `gainstage lr TARGET` measures how far.",
        value=turns, threshold=TURNS.value, evidence={"swing": swing, "first": start},
    )  # fmt: skip


def _untried(trial: TrialRecord | None, steps: int) -> str:
    if trial is not None and trial.reason:
        return f"the trial could not be made: {trial.reason}"
    return f"needs a trial of {steps} steps: check with steps={steps} and an optimizer"
