"""Samples of a batch are kept apart: DAT005 mixed-samples."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Threshold, rule
from gainstage.trace.records import Trace

# Room for rounding, where the sizes of products differ.
OWED = Threshold(
    "owed", 1e-2, "change over the outputs' standard deviation",
    "142 networks of the zoo: no change at all; faulty ones: 0.4 to 2.2 (docs/thresholds.md)",
)  # fmt: skip


@rule(
    "DAT005", "mixed-samples", severities=("warning",), cause="wiring", status="preview", explains=("OPT003",),
    thresholds=(OWED,),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        class Reader(nn.Module):
            def __init__(self):
                super().__init__()
                self.cell, self.head = nn.LSTM(8, 32), nn.Linear(32, 3)  # it takes the samples for steps
            def forward(self, x):
                return self.head(self.cell(x)[0][:, -1])
        subject = gs.Subject(Reader(), (torch.randn(64, 12, 8), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        class Reader(nn.Module):
            def __init__(self):
                super().__init__()
                self.cell, self.head = nn.LSTM(8, 32, batch_first=True), nn.Linear(32, 3)
            def forward(self, x):
                return self.head(self.cell(x)[0][:, -1])
        subject = gs.Subject(Reader(), (torch.randn(64, 12, 8), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def mixed_samples(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """What the network says of a sample depends on the other samples of its batch.

    What: the outputs of samples change when another sample is exchanged, in eval mode.
    Why it hurts: the same input has another output in another batch; what is learnt from neighbours is of no use where
        there are others, or none.
    How measured: two passes in eval mode on up to 8 samples, one of which is exchanged for another; the largest change
        of an output of the others, over the standard deviation of the outputs. Only where every sample has one target,
        which tells where the samples stand, and where inputs are sequences or images.
    When it is a false alarm: networks that compare the samples of a batch on purpose, also in eval mode, such as
        experts with a limited capacity.
    Fix: batch_first=True for recurrent layers, attention and transformers on (sample, step, feature); view and reshape
        that leave dimension 0 as it is (permute first); softmax, mean and norms over other dimensions than 0.
    References: PyTorch, nn.LSTM and nn.MultiheadAttention, on batch_first.
    """
    mixing = trace.mixing
    if mixing is None or mixing.change is None:
        yield NotAssessed("DAT005", "needs a run of the check itself" if mixing is None else mixing.reason)
        return
    if mixing.change <= OWED.value:
        return
    yield Finding(
        "DAT005", "mixed-samples", "warning", "wiring", "",
        message="What the model says of a sample depends on the others in its batch: with one of "
        f"{mixing.samples} samples exchanged, outputs of the others change by up to {mixing.change:.2g} standard "
        "deviations, in eval mode.",
        why="The same input has another output in another batch, so what is learnt does not hold for new data.",
        advice="Set batch_first=True on recurrent layers and attention, and look for a view, reshape, softmax or mean "
        "that takes dimension 0 for another.",
        value=mixing.change, threshold=OWED.value, evidence={"samples": mixing.samples},
    )  # fmt: skip
