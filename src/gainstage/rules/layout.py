"""How values lie in a tensor: DAT006 scrambled-axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gainstage.rules.base import Finding, NotAssessed, counted, rule
from gainstage.trace.records import ReshapeRecord, Trace


@rule(
    "DAT006", "scrambled-axes", severities=("warning",), cause="wiring", status="preview",
    explains=("DAT005", "OPT003"),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        class Reader(nn.Module):
            def __init__(self):
                super().__init__()
                self.convolution, self.head = nn.Conv1d(6, 32, 3), nn.Linear(32, 3)
            def forward(self, x):  # (samples, steps, sensors)
                x = x.view(x.size(0), x.size(2), x.size(1))
                return self.head(self.convolution(x).relu().mean(-1))
        subject = gs.Subject(Reader(), (torch.randn(64, 20, 6), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        class Reader(nn.Module):
            def __init__(self):
                super().__init__()
                self.convolution, self.head = nn.Conv1d(6, 32, 3), nn.Linear(32, 3)
            def forward(self, x):  # (samples, steps, sensors)
                return self.head(self.convolution(x.transpose(1, 2)).relu().mean(-1))
        subject = gs.Subject(Reader(), (torch.randn(64, 20, 6), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def scrambled_axes(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """A view or reshape to the sizes of a transposed tensor, which does not transpose it.

    What: inside the model a tensor that depends on the input is viewed or reshaped to its own sizes in another order,
        as (samples, steps, features) to (samples, features, steps); or the loss views outputs (samples, classes,
        places) as rows of so many as there are classes.
    Why it hurts: a reshape leaves all values in line and only cuts the line elsewhere: what was a feature becomes a
        mixture of steps and features, and of samples where their dimension takes part.
    How measured: the sizes before and after each view and reshape, dimensions of size 1 left out; the same again with
        one sample less, so that sizes that are the same by chance tell nothing. Dimensions of equal size hide it, and
        what is done to the data before they reach the model is not seen. A matrix that was padded just before, or
        that loses a row and is turned back, is skewed on purpose, as for relative positions.
    When it is a false alarm: neighbours merged into features where there happen to be as many of these as of those.
    Fix: transpose or permute, then reshape if need be.
    References: PyTorch, torch.Tensor.view, and torch.Tensor.permute.
    """
    in_loss = [record for record in trace.reshapes if record.in_loss]
    if in_loss:
        yield from _cut_classes(trace, in_loss[0])
    inside = [record for record in trace.reshapes if not record.in_loss]
    reshapes = [record for record in inside if not _turned_back(record, inside)]
    if not reshapes:
        return
    first = reshapes[0]
    others = f", and {counted(len(reshapes) - 1, 'more')} like it" if len(reshapes) > 1 else ""
    yield Finding(
        "DAT006", "scrambled-axes", "warning", "wiring", first.module,
        message=f"In {first.module or 'the root'} a tensor of shape {_sizes(first.before)} is viewed as "
        f"{_sizes(first.after)}{others}: the sizes of a transposed tensor, without its values being moved.",
        why="A view only cuts the same row of values elsewhere: steps, channels or samples are mixed up.",
        advice="Use transpose or permute, which move the values along with the sizes.",
        value=float(len(reshapes)), threshold=0.0,
        evidence={"reshapes": [[record.module, record.before, record.after] for record in reshapes]},
    )  # fmt: skip


def _cut_classes(trace: Trace, record: ReshapeRecord) -> Iterator[Finding]:
    """A view that takes neighbouring places for the classes of one, where classes are told apart."""
    labels = trace.loss_record.labels if trace.loss_record is not None else None
    classes = record.after[1]
    if labels is None or labels.classes != classes:
        return
    axes = range(len(record.before))
    order = ", ".join(str(axis) for axis in (0, *axes[2:], 1))
    yield Finding(
        "DAT006", "scrambled-axes", "warning", "loss", "",
        message=f"Outputs of shape {_sizes(record.before)} are viewed as {_sizes(record.after)}: the "
        f"{classes} classes stand in dimension 1, and each row is {classes} neighbouring places of one class instead.",
        why="A softmax over such a row compares places with each other; what is learned is not what is asked.",
        advice=f"Move the classes last first: outputs.permute({order}).reshape(-1, {classes}); or hand outputs and "
        "targets to cross_entropy as they are.",
        value=1.0, threshold=0.0, evidence={"reshapes": [[record.module, record.before, record.after]]},
    )  # fmt: skip


def _turned_back(record: ReshapeRecord, others: Sequence[ReshapeRecord]) -> bool:
    """Whether another one in the same module undoes it, but for a row that is left out: a matrix is skewed so."""

    def undone(one: ReshapeRecord, other: ReshapeRecord) -> bool:
        cut = sum(abs(ours - theirs) for ours, theirs in zip(one.after, other.before, strict=False))
        return one.module == other.module and len(one.after) == len(other.before) and cut == 1

    return any(undone(record, other) or undone(other, record) for other in others)


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
