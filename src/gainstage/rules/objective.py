"""What the loss asks for: OPT008 wrong-sign."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, rule
from gainstage.trace.records import Trace


@rule(
    "OPT008", "wrong-sign", severities=("error",), cause="loss", status="preview",
    explains=("INI006", "GRD004", "OPT001", "OPT002", "OPT003", "OPT004"),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        def dice(outputs, targets):
            return 2 * (outputs * targets).sum() / (outputs.sum() + targets.sum() + 1e-6)
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 8), nn.Sigmoid())
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(2, (64, 8)).float()), dice)
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        def dice_loss(outputs, targets):
            return 1 - 2 * (outputs * targets).sum() / (outputs.sum() + targets.sum() + 1e-6)
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 8), nn.Sigmoid())
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(2, (64, 8)).float()), dice_loss)
    """,
)  # fmt: skip
def wrong_sign(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The loss is lower for wrong answers than for right ones.

    What: of classes, or of targets of ones and zeros, wrong answers cost less than right ones, whether they are put as
        probabilities, as milder ones or as logits; of other targets the loss is lower beside them than at them.
    Why it hurts: training lowers the loss, and makes the network worse.
    How measured: the loss is asked for the loss of made-up outputs, on the targets of the batch.
    When it is a false alarm: outputs that are distances, with labels of one for what belongs together; a network that
        is to be misled or to forget. A critic, whose loss is linear in what it says, is not reported.
    Fix: minimise 1 - score or -score, not the score; look at each term's sign where several are added.
    References: Milletari, Navab and Ahmadi 2016, for Dice as a score to be maximised.
    """
    loss = trace.loss_record
    if loss is None or loss.chosen or loss.name == "surrogate":
        yield NotAssessed("OPT008", "needs a loss that was handed in")
        return
    if not loss.contrary or loss.input is None:
        return
    layer = trace.layers[loss.input]
    # What was put together behind the last layer may be a distance.
    if set(loss.via) - {"dropout"}:
        return
    yield Finding(
        "OPT008", "wrong-sign", "error", "loss", layer.module,
        message="The loss is lower for wrong answers than for right ones, of which it was asked on this batch's "
        "targets.",
        why="Training lowers the loss, and makes the network worse.",
        advice="Minimise 1 - score or -score, not the score; look at the sign of each term.",
        layers=(layer.name,),
    )  # fmt: skip
