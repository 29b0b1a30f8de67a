"""Answers that stand among the inputs: DAT008 leaked-targets."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, rule
from gainstage.trace.records import Trace


@rule(
    "DAT008", "leaked-targets", severities=("warning", "info"), cause="data", status="preview",
    bad="""
        import torch, gainstage as gs
        from torch import nn
        class Writer(nn.Module):
            def __init__(self):
                super().__init__()
                self.words = nn.Embedding(50, 16)
                self.cell = nn.GRU(16, 32, batch_first=True, bidirectional=True)  # it reads what it is to predict
                self.head = nn.Linear(64, 50)
            def forward(self, x):
                return self.head(self.cell(self.words(x))[0]).transpose(1, 2)
        tokens = torch.randint(50, (64, 21))
        subject = gs.Subject(Writer(), (tokens[:, :-1], tokens[:, 1:]))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        class Writer(nn.Module):
            def __init__(self):
                super().__init__()
                self.words, self.cell = nn.Embedding(50, 16), nn.GRU(16, 32, batch_first=True)
                self.head = nn.Linear(32, 50)
            def forward(self, x):
                return self.head(self.cell(self.words(x))[0]).transpose(1, 2)
        tokens = torch.randint(50, (64, 21))
        subject = gs.Subject(Writer(), (tokens[:, :-1], tokens[:, 1:]))
    """,
)  # fmt: skip
def leaked_targets(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The network is to predict what it is shown.

    What: the targets are the inputs one step on, and an output changes with the input that is its target. Info: the
        targets are the tokens themselves, and an output has seen its own and no later ones.
    Why it hurts: the loss falls quickly to nearly nothing, because the answer is copied; what is to be predicted later
        is not there to be copied.
    How measured: the first batch's targets against its inputs, place by place; where they are such, two passes in eval
        mode on two sequences, one of them with another value at one place, and the outputs there and before it.
    When it is a false alarm: a series that is to be smoothed with what follows known. Encoders that see all tokens and
        give them back, and decoders that shift their inputs themselves, are not reported.
    Fix: a causal mask (is_causal=True with attn_mask), no bidirectional layer; inputs tokens[:, :-1] and targets
        tokens[:, 1:].
    References: Vaswani et al. 2017, section 3.2.3.
    """
    leak = trace.leak
    if not trace.targets:
        yield NotAssessed("DAT008", "needs targets: the batch has none")
    elif leak is None or not leak.told:
        return
    elif leak.shift:
        yield Finding(
            "DAT008", "leaked-targets", "warning", "wiring", "",
            message="Targets are the inputs one step on, and the output at a place changes with the next input, which "
            "is its target.",
            why="The answer is copied: the loss falls to nearly nothing, and nothing is learned that predicts.",
            advice="Let no place see a later one: a causal mask for attention, no bidirectional recurrent layer, "
            "convolutions padded in front.",
            value=1.0, threshold=0.0, evidence={"shift": 1},
        )  # fmt: skip
    else:
        yield Finding(
            "DAT008", "leaked-targets", "info", "data", "",
            message="Targets are the input tokens themselves, and the output at a place has seen the token there.",
            why="The answer is copied: the loss falls to nearly nothing, and nothing is learned that predicts.",
            advice="Shift them by one: inputs tokens[:, :-1], targets tokens[:, 1:].",
            value=1.0, threshold=0.0, evidence={"shift": 0},
        )  # fmt: skip
