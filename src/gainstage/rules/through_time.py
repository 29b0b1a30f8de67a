"""Gradients that are lost on their way through time: GRD006 gradient-fades-over-time."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Threshold, rule
from gainstage.rules.tried import HALFWAY, ignorant_loss, relief
from gainstage.trace.records import Trace

FADED = Threshold(
    "faded", 1e-6, "× the gradient of the step that has most",
    "what comes from there is lost beside the rest in float32; the trial with another memory decides",
)  # fmt: skip

_RECALL = """
    import torch, gainstage as gs
    from torch import nn
    class Recall(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.{kind}(4, 32, batch_first=True), nn.Linear(32, 4)
        def forward(self, x):
            return self.head(self.rnn(x)[0]{read})
    symbols = torch.randint(4, (1024,))
    x = 0.1 * torch.randn(1024, 100, 4)
    x[:, 0] += nn.functional.one_hot(symbols, 4)  # what the answer is stands a hundred steps before the end
    model = Recall()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    subject = gs.Subject(model, list(zip(x.split(64), symbols.split(64))), optimizer=optimizer)
    check_options = {{"steps": 200}}
"""


@rule(
    "GRD006", "gradient-fades-over-time", severities=("warning",), cause="depth", status="preview",
    explains=("OPT002", "OPT003"), thresholds=(FADED, HALFWAY),
    bad=_RECALL.format(kind="RNN", read="[:, -1]"), good=_RECALL.format(kind="RNN", read=".mean(1)"),
)  # fmt: skip
def gradient_fades_over_time(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The gradient of a recurrent layer does not reach the steps that matter, and little is learned.

    What: the gradient at some step of a recurrent layer's input is less than a millionth of that at another, a trial
        learns little, and the same trial with layers that remember longer far more.
    Why it hurts: through every step the gradient is multiplied by much the same matrix and slope: what stands far from
        the place that is read out has no influence on the weights, and is never learned.
    How measured: the gradient of the loss at each step of the layer's input, on the first batch; the loss that a trial
        ends with, above half of that of a network that knows nothing; and that of one in which plain recurrent layers
        are LSTMs, and the biases of gates let go after as many steps as the sequences have, below 0.4 of it.
    When it is a false alarm: a task that would have been learned with more steps.
    Fix: an LSTM or GRU whose forget bias is the logarithm of the number of steps; attention, or a mean over the steps
        in place of the last one; shorter sequences.
    References: Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and Bengio 2013; Tallec and Ollivier 2018.
    """
    faded = [record for record in trace.through_time if record.faintest < FADED.value]
    if not trace.through_time:
        yield NotAssessed("GRD006", "needs a trial, and a recurrent layer of torch over 8 steps or more")
        return
    ends, ignorant = relief(trace, "memory"), ignorant_loss(trace)
    if not faded or trace.trial is None or ends is None or ignorant is None or ends[0] < HALFWAY.value * ignorant:
        return
    worst = min(faded, key=lambda record: record.faintest)
    yield Finding(
        "GRD006", "gradient-fades-over-time", "warning", "depth", worst.module,
        message=f"Over {worst.steps} steps of {worst.module or 'the root'} ({worst.type}) the gradient fades to "
        f"{worst.faintest:.1e} of itself. A trial of {trace.trial.steps} steps ends with {ends[0]:.3g}; with layers "
        f"that remember longer, with {ends[1]:.3g}.",
        why="What stands far from the place that is read out has no influence on the weights, and is never learned.",
        advice="Use an LSTM or GRU with a forget bias of about the logarithm of the steps, or attention or a mean over "
        "the steps instead of the last one.",
        value=worst.faintest, threshold=FADED.value,
        evidence={"steps": worst.steps, "end": ends[0], "end_with_memory": ends[1]},
        layers=tuple(record.module for record in faded),
    )  # fmt: skip
