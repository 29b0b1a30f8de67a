"""Second derivatives that are zero everywhere: ACT007 flat-derivatives."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, counted, rule
from gainstage.trace.records import Trace

_EQUATION = """
    import torch, gainstage as gs
    from torch import nn
    class Solution(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(1, 32), {act}(), nn.Linear(32, 32), {act}(), nn.Linear(32, 1))
        def forward(self, x):
            x = x.requires_grad_()
            u = self.net(x)
            du = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
            return torch.autograd.grad(du.sum(), x, create_graph=True)[0]  # u''
    points = torch.rand(64, 1)
    subject = gs.Subject(Solution(), (points, -torch.sin(3 * points)), nn.MSELoss())
"""


@rule(
    "ACT007", "flat-derivatives", severities=("warning",), cause="activation", status="preview",
    explains=("GRD001", "GRD003", "OPT002", "OPT003"),
    bad=_EQUATION.format(act="nn.ReLU"), good=_EQUATION.format(act="nn.Tanh"),
)  # fmt: skip
def flat_derivatives(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The model or its loss asks for a second derivative of a network that has none.

    What: derivatives that the model or the loss takes itself pass a rectifier (ReLU, leaky ReLU, hardtanh) with nothing
        but zeros, as the second derivative of a network of such does, which is made of straight pieces.
    Why it hurts: what the loss asks of that derivative, an equation's curvature for one, cannot be learned: it is zero
        whatever the weights are, and passes no gradient on.
    How measured: the derivatives that run before the loss is known, on the first batch; two rectifiers in a row or more
        are needed to show it. First derivatives, as of a gradient penalty or of forces, are not zero.
    When it is a false alarm: a network whose rectifiers are all off for this batch.
    Fix: tanh, sine, softplus, GELU or SiLU, whose derivatives have derivatives.
    References: Raissi, Perdikaris and Karniadakis 2019; Sitzmann et al. 2020.
    """
    if not trace.flat_derivatives:
        return
    yield Finding(
        "ACT007", "flat-derivatives", "warning", "activation", "",
        message=f"A derivative that the model or its loss takes itself is zero before it passes "
        f"{counted(trace.flat_derivatives, 'rectifier')}: a second derivative of straight pieces.",
        why="A network of rectifiers has no curvature: what the loss asks of it is zero whatever the weights are.",
        advice="Use tanh, sine, softplus, GELU or SiLU, which can be differentiated more than once.",
        value=float(trace.flat_derivatives), threshold=0.0,
    )  # fmt: skip
