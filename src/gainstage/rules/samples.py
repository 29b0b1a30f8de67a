"""What outputs owe to the samples: DAT005 mixed-samples, DAT007 ignored-input."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Threshold, rule
from gainstage.rules.signal import MAPS
from gainstage.trace.records import Trace

# Room for rounding, where the sizes of products differ.
OWED = Threshold(
    "owed", 1e-2, "change over the outputs' standard deviation",
    "142 networks of the zoo: no change at all; faulty ones: 0.4 to 2.2 (docs/thresholds.md)",
)  # fmt: skip
SAME = Threshold(
    "same", 1e-6, "standard deviation over samples, over the outputs' rms",
    "rounding is 1e-7; healthy programs: 2.6e-3 and more (docs/thresholds.md)",
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


@rule(
    "DAT007", "ignored-input", severities=("warning",), cause="wiring", status="preview",
    explains=("INI009", "OPT001", "OPT002", "OPT003", "OPT004", "GRD006"), thresholds=(SAME,),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        class Reader(nn.Module):
            def __init__(self):
                super().__init__()
                self.words, self.cell = nn.Embedding(50, 16), nn.LSTM(16, 32, batch_first=True)
                self.head = nn.Linear(32, 2)
            def forward(self, x):
                return self.head(self.cell(self.words(x))[0][:, -1])  # the last step is padding
        tokens = torch.randint(1, 50, (64, 80))
        tokens[:, 8:] = 0
        subject = gs.Subject(Reader(), (tokens, torch.randint(2, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        class Reader(nn.Module):
            def __init__(self):
                super().__init__()
                self.words, self.cell = nn.Embedding(50, 16), nn.LSTM(16, 32, batch_first=True)
                self.head = nn.Linear(32, 2)
            def forward(self, x):
                return self.head(self.cell(self.words(x))[0][:, -1])
        tokens = torch.randint(1, 50, (64, 80))
        tokens[:, :72] = 0  # padded in front
        subject = gs.Subject(Reader(), (tokens, torch.randint(2, (64,))))
    """,
)  # fmt: skip
def ignored_input(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """What the network says does not depend on what it is given, or not on all of it.

    What: in eval mode, samples that differ have the same outputs, up to rounding; or outputs stay the same where all
        but the first step or row is another sample's; or attention over token ids says the same of them in reverse.
    Why it hurts: the loss cannot tell the network what to do with which input; it learns the commonest answer.
    How measured: the standard deviation over up to 8 samples of the outputs, over their rms; further passes on these
        samples with the rest exchanged, or with the tokens turned round. Maps whose weights start at zero say nothing
        yet, and are not judged, nor is a rest that is all padding.
    When it is a false alarm: a memory that has to carry something further than it can at the start; sets of tokens,
        whose order means nothing.
    Fix: read a recurrent layer where the sequence ends, not behind its padding (pad in front, pack_padded_sequence);
        batch_first=True where a token of its own is read; positions added to the embeddings.
    References: PyTorch, nn.utils.rnn.pack_padded_sequence; nn.MultiheadAttention, on batch_first.
    """
    mixing = trace.mixing
    if mixing is None or mixing.spread is None:
        normed = "batch norms that train do something else in eval mode"
        yield NotAssessed("DAT007", "needs a run of the check itself" if mixing is None else mixing.reason or normed)
        return
    if _starts_closed(trace) or any(tensor.same_samples for tensor in trace.inputs):
        return
    if mixing.spread <= SAME.value:
        yield _ignored(
            "all", mixing.spread, SAME.value,
            f"The outputs of {mixing.samples} samples that differ are the same: they vary by {mixing.spread:.1e} of "
            "their size.",
            "Whatever the input is, the answer is one; training can only find the commonest.",
            "Read a recurrent layer at the last step that is no padding; set batch_first=True where a class token is "
            "read; else follow the signal: gs.record(model, batch) shows where the samples become alike.",
        )  # fmt: skip
    elif mixing.first_alone:
        yield _ignored(
            "first", 0.0, 0.0,
            "No output depends on more than the first step or row: with another sample's behind it all stay the same.",
            "What stands there cannot be learned from.",
            "Look for an index that takes the wrong step: of a recurrent layer the last one, [:, -1], has read all.",
        )  # fmt: skip
    elif mixing.orderless:
        yield _ignored(
            "order", 0.0, 0.0,
            "The order of the tokens makes no difference: turned round they have the same outputs.",
            "Attention sees a bag of tokens: what depends on their order cannot be learned.",
            "Add a positional encoding to the embeddings, if the order matters.",
        )  # fmt: skip


CLOSED = 1e-2  # LayerScale starts at 1e-6 to 1e-4 in deep networks, and at 0.1 in shallow ones


def _starts_closed(trace: Trace) -> bool:
    """Whether something starts at zero, or near it, that the signal has to pass: a map, a norm's scale, a gate."""
    zero = {parameter.name for parameter in trace.parameters if parameter.max_abs == 0}
    small = {parameter.name for parameter in trace.parameters if (parameter.max_abs or 0.0) < CLOSED}
    return any(
        (layer.kind in (*MAPS, "norm") and zero.intersection(layer.parameters[:1]))
        or any(name in small for _, name in layer.modifiers)
        for layer in trace.layers
    )


def _ignored(kind: str, value: float, threshold: float, message: str, why: str, advice: str) -> Finding:
    return Finding(
        "DAT007", "ignored-input", "warning", "wiring", "", message=message, why=why, advice=advice, value=value,
        threshold=threshold, evidence={"kind": kind},
    )  # fmt: skip
