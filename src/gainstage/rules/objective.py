"""What the loss asks for: OPT008 wrong-sign, OPT009 posterior-collapse."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Threshold, rule
from gainstage.trace.records import Trace

PAID = Threshold(
    "paid", 0.5, "nats a sample that a code can pay for", "sums against means: 0.01 to 0.1 (docs/thresholds.md)"
)


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
    if not loss.contrary or loss.input is None or (trace.optimizer is not None and trace.optimizer.maximizes):
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


_CODED = """
        import torch, gainstage as gs
        import torch.nn.functional as F
        from torch import nn
        class Coder(nn.Module):
            def __init__(self):
                super().__init__()
                self.reads, self.mean, self.log_variance = nn.Linear(64, 32), nn.Linear(32, 4), nn.Linear(32, 4)
                self.draws = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 64))
            def forward(self, x):
                seen = torch.relu(self.reads(x))
                mean, log_variance = self.mean(seen), self.log_variance(seen)
                return self.draws(mean + torch.randn_like(mean) * (0.5 * log_variance).exp()), mean, log_variance
        def loss(outputs, targets):
            image, mean, log_variance = outputs
            divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
            return F.binary_cross_entropy_with_logits(image, targets{reduction}) + divergence
        images = torch.randint(2, (32, 64)).float()
        subject = gs.Subject(Coder(), (images, images), loss)
    """


@rule(
    "OPT009", "posterior-collapse", severities=("warning",), cause="loss", status="preview", explains=("OPT003",),
    thresholds=(PAID,), bad=_CODED.format(reduction=""),
    good=_CODED.format(reduction=', reduction="sum"'),
)  # fmt: skip
def posterior_collapse(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """A code costs so much and can earn so little that it will say next to nothing.

    What: half a nat in the code of every sample costs more than a perfect reconstruction is better than the best
        constant one.
    Why it hurts: what the code says of a sample makes the loss worse, but for a fraction of a nat; it all but falls
        silent, and the reconstructions are nearly the mean.
    How measured: the loss is asked for made-up reconstructions and codes: outputs are taken for means and logarithms
        of variances if the loss has their divergence from a normal prior, whatever the reconstruction is. Its rise for
        a code of 1.49 nats (means of +-1.5, log-variances of -1.5) is the price, and the difference of the losses of
        the targets and of their mean what there is to be earned: no code with a lower loss than none has carries more
        nats than the one over the other.
    When it is a false alarm: a weight of the divergence that is lowered later on.
    Fix: both terms summed over their dimensions and averaged over samples; with a mean over pixels for one, the same
        mean for the other.
    References: Kingma and Welling 2014; Higgins et al. 2017 (the weight); Lucas et al. 2019 (collapse).
    """
    loss = trace.loss_record
    if loss is None or loss.name == "surrogate":
        yield NotAssessed("OPT009", "needs targets: the batch has none")
        return
    prior = loss.prior
    if prior is None or prior.nats >= PAID.value:
        return
    yield Finding(
        "OPT009", "posterior-collapse", "warning", "loss", "",
        message=f"One nat of code for every sample costs {prior.price:.3g}, and a perfect reconstruction earns "
        f"{prior.gain:.3g} in all: the code can pay for {prior.nats:.2g} nats at most.",
        why="To say more of a sample costs more than it earns: the code all but falls silent, and samples look alike.",
        advice="Reduce both terms alike: sum over pixels and over the code, then the mean over samples; or give the "
        "divergence a weight that fits the reconstruction's mean.",
        value=prior.nats, threshold=PAID.value, evidence={"price": prior.price, "gain": prior.gain},
    )  # fmt: skip
