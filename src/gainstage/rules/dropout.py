"""How much of the signal dropout leaves: ACT005 heavy-dropout."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Threshold, counted, rule
from gainstage.rules.tried import RELIEVED, relief, told
from gainstage.trace.records import Trace

DROPPED = Threshold(
    "dropped",
    0.85,
    "share of values",
    "networks in use drop up to 0.8 before their read-out; keep probabilities are 0.9",
)
SUSPECTED = Threshold("suspected", 0.6, "share of values, where a trial without it ends far better", "it costs a run")


@rule(
    "ACT005", "heavy-dropout", severities=("warning",), cause="normalization", status="preview",
    explains=("OPT001", "OPT002", "OPT003"), thresholds=(DROPPED, SUSPECTED, RELIEVED),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.9), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def heavy_dropout(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Dropout leaves next to nothing of the signal.

    What: a dropout module in training mode drops 0.85 of its input or more; or 0.6, and a trial ends below 0.4 of its
        loss without any dropout; or dropout behind the last layer, on what the loss reads.
    Why it hurts: what is left is scaled up to keep the mean, so that the noise has p / (1 - p) times the signal's
        power: nine times at 0.9. Few units of a layer learn in any step.
    How measured: the module's own p, if it ran, and a trial made twice, where ten batches or more let some be held out.
        F.dropout, which has no module, is seen behind the last layer alone.
    When it is a false alarm: inputs that hold the same many times over, as bags of words.
    Fix: PyTorch's p is the share that is dropped, not the one that is kept: 1 - p, usually 0.1 to 0.5.
    References: Srivastava et al. 2014, section 7.3 (p there is the share that is kept).
    """
    if _on_scores(trace):
        yield _on_outputs(trace)
        return
    ends = relief(trace, "dropout")
    limit = SUSPECTED if ends is not None else DROPPED
    heavy = [entry for entry in trace.dropouts if entry.share >= limit.value]
    if not heavy:
        return
    most = max(heavy, key=lambda entry: entry.share)
    others = f", {counted(len(heavy) - 1, 'more module')} likewise" if len(heavy) > 1 else ""
    noise = f"{most.share / (1 - most.share):.3g} times the signal's power" if most.share < 1 else "all there is"
    yield Finding(
        "ACT005", "heavy-dropout", "warning", "normalization", most.module,
        message=f"The dropout at {most.module or 'the root'} drops {100 * most.share:.3g}% of its input{others}: its "
        f"noise is {noise}." + (f" {told(trace, ends, 'without any dropout')}" if ends is not None else ""),
        why="Too little of the signal is left to learn from in any one step.",
        advice="p is the share that is dropped, 0.1 to 0.5 as a rule"
        + (f". If {most.share:g} was to be kept, write p={1 - most.share:.2g}." if most.share < 1 else "."),
        value=most.share, threshold=limit.value,
        evidence={"modules": [entry.module for entry in heavy], "with": ends and ends[0], "without": ends and ends[1]},
    )  # fmt: skip


_ELEMENTWISE = frozenset((
    "log_softmax", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
))  # fmt: skip


def _on_scores(trace: Trace) -> bool:
    """Whether dropout stands right before the loss, or before the squashing that it starts with."""
    loss = trace.loss_record
    if loss is None or loss.input is None or len(trace.returned) > 1 or not _ELEMENTWISE.issuperset(loss.ops[:1]):
        return False  # a head inside the loss, or a comparison of samples, may well read what was dropped from
    layer = trace.layers[loss.input]
    return "dropout" in loss.via or (layer.op in ("log_softmax", "softmax", "sigmoid") and "dropout" in layer.via)


def _on_outputs(trace: Trace) -> Finding:
    loss = trace.loss_record
    layer = trace.layers[loss.input] if loss is not None and loss.input is not None else None
    return Finding(
        "ACT005", "heavy-dropout", "warning", "normalization", layer.module if layer else "",
        message=f"Dropout stands behind the last layer{f', {layer.name}' if layer else ''}: the loss reads outputs of "
        "which some are set to zero at random.",
        why="An answer that was left out is counted as zero, whatever the network has learned to say.",
        advice="Put the dropout before the last layer; F.dropout needs training=self.training, too.",
        evidence={"kind": "outputs"}, layers=(layer.name,) if layer else (),
    )  # fmt: skip


@rule(
    "NRM016", "dropout-in-eval", severities=("warning",), cause="normalization", status="preview",
    bad="""
        import torch, gainstage as gs
        from torch import nn
        class Classifier(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc1, self.fc2 = nn.Linear(16, 64), nn.Linear(64, 3)
            def forward(self, x):
                return self.fc2(nn.functional.dropout(self.fc1(x).relu(), 0.5))  # training=self.training is missing
        subject = gs.Subject(Classifier(), (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        class Classifier(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc1, self.fc2 = nn.Linear(16, 64), nn.Linear(64, 3)
            def forward(self, x):
                return self.fc2(nn.functional.dropout(self.fc1(x).relu(), 0.5, training=self.training))
        subject = gs.Subject(Classifier(), (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def dropout_in_eval(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Dropout goes on in eval mode.

    What: a pass with every module in eval mode drops values at random.
    Why it hurts: predictions change from call to call, and are worse than those of the whole network.
    How measured: the operations of a pass on two samples in eval mode, where training drops something.
    When it is a false alarm: Monte Carlo dropout, which averages many such passes on purpose.
    Fix: F.dropout(x, p, training=self.training), dropout_p=self.p if self.training else 0.0 in
        scaled_dot_product_attention, or nn.Dropout, which knows the mode.
    References: PyTorch, torch.nn.functional.dropout, whose ``training`` is True unless it is told; Gal and Ghahramani
        2016, on dropout at test time.
    """
    if not trace.dropped_in_eval:
        return
    yield Finding(
        "NRM016", "dropout-in-eval", "warning", "normalization", "",
        message=f"With every module in eval mode a pass still drops values at random, "
        f"{counted(trace.dropped_in_eval, 'time')}.",
        why="Predictions differ from call to call and are worse than they need be; what was learned looks worse, too.",
        advice="Write F.dropout(x, p, training=self.training), or use nn.Dropout, which knows the mode.",
        value=float(trace.dropped_in_eval), threshold=0.0,
    )  # fmt: skip
