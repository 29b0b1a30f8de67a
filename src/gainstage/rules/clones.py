"""INI007 cloned-layers: layers that start as copies of each other."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Severity, counted, rule
from gainstage.trace.records import ParameterRecord, Trace


@rule(
    "INI007", "cloned-layers", severities=("warning", "info"), cause="init",
    bad="""
        import copy, torch, gainstage as gs
        from torch import nn

        class Mixture(nn.Module):
            def __init__(self):
                super().__init__()
                expert = nn.Sequential(nn.Linear(16, 8), nn.ReLU())
                self.experts = nn.ModuleList(copy.deepcopy(expert) for _ in range(4))
                self.head = nn.Linear(8, 3)

            def forward(self, x):
                return self.head(sum(expert(x) for expert in self.experts) / 4)

        subject = gs.Subject(Mixture(), (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        shared = nn.Linear(16, 16)  # one layer twice is no copy
        model = nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(16, 3))
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def cloned_layers(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Layers start with the very same weights as another one.

    What: warning: weights that are copies of another layer's and receive the same gradient. Info: copies whose
        gradients differ.
    Why it hurts: layers side by side that start equal and are pushed the same way stay equal: four of them do the work
        of one. In a row, copies come apart with the first step.
    How measured: equality of all values of weights of one shape, and of their gradients up to rounding, on one batch.
    When it is a false alarm: copies in a row cost nothing that could be measured (docs/thresholds.md), torch's own
        nn.TransformerEncoder makes them, and so do experts that grow from one trained layer; hence they are worth
        knowing only. Not reported are shared weights, constants, identities, norms, and what does not train.
    Fix: build each layer anew, or re-draw the weights (gs.initialize); copy.deepcopy of a layer copies its draw.
    References: Goodfellow, Bengio and Courville 2016, section 8.4; pytorch issues 72253 and 86274.
    """
    if not trace.backward:
        yield NotAssessed("INI007", "needs the gradients of a backward pass: what does not train may be a copy")
        return
    records = {parameter.name: parameter for parameter in trace.parameters}
    clones = [p for p in trace.parameters if p.twin is not None and _trains(p) and _trains(records[p.twin])]
    locked = [p for p in clones if p.twin_gradient]
    if locked:
        yield _finding(
            trace, "warning", locked, "start with the same weights and receive the same gradient",
            "Layers that start equal and are pushed the same way stay equal: all of them together are worth one.",
        )  # fmt: skip
    elif clones:
        yield _finding(
            trace, "info", clones, "start with the same weights, and different gradients take them apart",
            "Copies come apart with the first steps; until then they do the same to what they read.",
        )  # fmt: skip


def _trains(parameter: ParameterRecord) -> bool:
    return parameter.requires_grad and bool(parameter.grad_rms)


def _finding(trace: Trace, severity: Severity, clones: list[ParameterRecord], what: str, why: str) -> Finding:
    first, readers = clones[0], {name: layer.name for layer in reversed(trace.layers) for name in layer.parameters}
    more = f" ({counted(len(clones) - 1, 'more weight')} like it)" if len(clones) > 1 else ""
    return Finding(
        "INI007", "cloned-layers", severity, "init", first.name.rpartition(".")[0],
        message=f"{first.twin} and {first.name} {what}{more}.", why=why,
        advice="Build every layer anew instead of copying one, or re-draw the weights (gs.initialize).",
        value=float(len(clones)), threshold=0.0, evidence={"weights": len(clones), "twin": first.twin},
        layers=tuple(dict.fromkeys(readers[p.name] for p in clones if p.name in readers)),
    )  # fmt: skip
