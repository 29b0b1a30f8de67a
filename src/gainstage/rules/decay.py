"""What the optimizer takes off the weights beside the loss's gradient: OPT007 weight-decay."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Threshold, rule
from gainstage.rules.steps import not_at_the_start
from gainstage.rules.tried import relief
from gainstage.trace.records import Trace
from gainstage.trace.training_records import OptimizerRecord

_MEASURED = "networks for development of make accuracy (docs/thresholds.md)"
PULL = Threshold("pull", 1.0, "× the norm of the loss's gradient", _MEASURED)
FREED = Threshold("freed", 0.5, "× the end of a trial, without weight decay", _MEASURED)


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
        matrices and kernels that are decayed, tables left out; or a trial that does not halve the loss, or has decay
        of 0.01 or more (AdamW: times the rate, 0.0025), ends below half of its end without it.
    Why it hurts: the weights shrink to where the two balance; far enough, the outputs are constant.
    How measured: norms over the weights and their gradients on one batch, for optimizers that add the decay to the
        gradient (SGD, Adam); AdamW's, a share of the weights at each step, is judged by the trial alone. Not judged
        where the network knows something already, or where that cannot be told: the two balance at the end of training.
    When it is a false alarm: a linear model that is to be shrunk so far; a decay that is meant to be scheduled.
    Fix: decay of 1e-4 to 1e-2, or AdamW, whose usual 0.01 to 0.1 mean something else.
    References: Krogh and Hertz 1991; Loshchilov and Hutter 2019, Decoupled weight decay regularization.
    """
    optimizer = trace.optimizer
    if optimizer is None or not trace.backward:
        yield NotAssessed("OPT007", "needs an optimizer, and gradients")
        return
    decay = max(optimizer.weight_decays, default=0.0)
    if not decay:
        return
    freed, pull = relief(trace, "weight_decay", FREED), _pull(trace, optimizer)
    if freed is None and (pull is None or pull <= PULL.value):
        return
    what: list[str] = []
    if pull is not None and pull > PULL.value:
        what.append(f"pulls {pull:.2g} times as hard as the loss")
    if freed is not None and trace.trial is not None:
        end = f"at {freed[0]:.3g}" if math.isfinite(freed[0]) else "outside of the finite numbers"
        what.append(f"ends a trial of {trace.trial.steps} steps {end}, which without it ends at {freed[1]:.3g}")
    yield Finding(
        "OPT007", "weight-decay", "warning", "optimizer", "",
        message=f"Weight decay of {decay:g} ({optimizer.type}) {', and '.join(what)}.",
        why="The weights shrink towards zero, whatever the loss asks of them, and the outputs towards a constant.",
        advice=f"Take a tenth of it or less ({decay / 10:g}), or AdamW, whose learning rate scales its decay down.",
        value=pull if freed is None or pull is not None else freed[1] / freed[0],
        threshold=PULL.value if freed is None or pull is not None else FREED.value,
        evidence={"decay": decay, "pull": pull, "with": freed and freed[0], "without": freed and freed[1]},
    )  # fmt: skip


def _pull(trace: Trace, optimizer: OptimizerRecord) -> float | None:
    """‖λW‖ / ‖∂L/∂W‖ over the matrices and kernels that are decayed; None where it tells nothing.

    Of a table a batch reads few rows, and the gradient is theirs alone.
    """
    step = trace.step
    if optimizer.decoupled or step is None or step.reason or not step.constant_loss:
        return None
    if optimizer.stepped or not_at_the_start(step):
        return None
    tables = {name for layer in trace.layers if layer.kind == "embedding" for name in layer.parameters}
    decays = dict(zip(optimizer.decayed, optimizer.decays, strict=True))
    matrices = [
        p
        for p in trace.parameters
        if p.name in decays and p.name not in tables and len(p.shape) >= 2 and p.grad_rms is not None
    ]
    weights = math.sqrt(sum(math.prod(p.shape) * (decays[p.name] * (p.rms or 0.0)) ** 2 for p in matrices))
    gradient = math.sqrt(sum(math.prod(p.shape) * (p.grad_rms or 0.0) ** 2 for p in matrices))
    return weights / gradient if gradient else None
