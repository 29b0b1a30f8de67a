"""What the optimizer takes off the weights beside the loss's gradient: OPT007 weight-decay."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Threshold, rule
from gainstage.rules.steps import not_at_the_start
from gainstage.trace.records import ParameterRecord, Trace
from gainstage.trace.training_records import OptimizerRecord, TrialRecord

_MEASURED = "networks for development of make accuracy (docs/thresholds.md)"
PULL = Threshold("pull", 1.0, "× the norm of the loss's gradient", _MEASURED)
FREED = Threshold("freed", 0.5, "× the end of a trial, without weight decay", _MEASURED)
# Their decay is part of the gradient; that of the others is a share of the weights by itself.
_COUPLED = frozenset(("SGD", "ASGD", "Adam", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop"))


@rule(
    "OPT007", "weight-decay", severities=("warning",), cause="optimizer", status="preview",
    explains=("OPT001", "OPT002", "OPT003"), thresholds=(PULL, FREED),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(4, (64,))),
                             optimizer=torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=0.5))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(4, (64,))),
                             optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.5))
    """,
)  # fmt: skip
def weight_decay(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Weight decay pulls the weights to zero harder than the loss pulls them anywhere.

    What: at the start of training the gradient of the decay, λ‖W‖, is larger than that of the loss, over all
        matrices and kernels that are decayed; or a trial that does not halve the loss ends below half of its end
        without decay.
    Why it hurts: the weights shrink until the outputs are constant; what remains is the loss of knowing nothing.
    How measured: norms over the weights and their gradients on one batch, for optimizers that add the decay to the
        gradient (SGD, Adam); AdamW's, a share of the weights at each step, is judged by the trial alone. Not judged
        where the network knows something already: the two balance at the end of training.
    When it is a false alarm: a linear model that is to be shrunk so far; a decay that is meant to be scheduled.
    Fix: decay of 1e-4 to 1e-2, or AdamW, whose usual 0.01 to 0.1 mean something else.
    References: Krogh and Hertz 1991; Loshchilov and Hutter 2019, Decoupled weight decay regularization.
    """
    optimizer, step = trace.optimizer, trace.step
    if optimizer is None or not trace.backward:
        yield NotAssessed("OPT007", "needs an optimizer, and gradients")
        return
    decay = max(optimizer.weight_decays, default=0.0)
    if not decay:
        return
    freed = _freed(trace.trial)
    reason = optimizer.stepped or step is None or step.reason or not_at_the_start(step)
    pull = _pull(trace, optimizer, decay) if not reason and optimizer.type in _COUPLED else None
    if freed is None and (pull is None or pull <= PULL.value):
        return
    what = ""
    if pull is not None and pull > PULL.value:
        what = f" pulls {pull:.2g} times as hard as the loss"
    if freed is not None and trace.trial is not None:
        what += (
            f"{' and' if what else ''} keeps a trial of {trace.trial.steps} steps at {trace.trial.end:.3g}; without "
        )
        what += f"it the same one ends at {freed:.3g}"
    yield Finding(
        "OPT007", "weight-decay", "warning", "optimizer", "",
        message=f"Weight decay of {decay:g} ({optimizer.type}){what}.",
        why="The weights shrink until the outputs no longer depend on the inputs.",
        advice="Take 1e-4 to 1e-2; AdamW takes 0.01 to 0.1, which its learning rate scales down.",
        value=pull, threshold=PULL.value,
        evidence={"decay": decay, "with": trace.trial.end if trace.trial else None, "without": freed},
    )  # fmt: skip


def _freed(trial: TrialRecord | None) -> float | None:
    """Where a trial ends without decay, if that is far below where it ends with it."""
    found = [variant.end for variant in trial.variants if variant.change == "weight_decay"] if trial else []
    return found[0] if trial and found and found[0] < FREED.value * trial.end else None


def _pull(trace: Trace, optimizer: OptimizerRecord, decay: float) -> float | None:
    """λ‖W‖ / ‖∂L/∂W‖ over all matrices and kernels that are decayed and take part in the loss."""
    decayed = set(optimizer.decayed)
    matrices = [p for p in trace.parameters if p.name in decayed and len(p.shape) >= 2 and p.grad_rms is not None]
    weights = _norm(matrices, [p.rms for p in matrices])
    gradient = _norm(matrices, [p.grad_rms for p in matrices])
    return decay * weights / gradient if gradient else None


def _norm(parameters: list[ParameterRecord], levels: list[float | None]) -> float:
    pairs = zip(parameters, levels, strict=True)
    return math.sqrt(sum(math.prod(parameter.shape) * (level or 0.0) ** 2 for parameter, level in pairs))
