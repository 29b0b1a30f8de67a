"""What the optimizer holds, and what it does not: OPT006 missing-parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from gainstage.rules.base import Finding, NotAssessed, Severity, counted, loss_name, rule, some
from gainstage.rules.fresh import freshly_drawn
from gainstage.rules.signal import MAPS
from gainstage.rules.tried import far_behind, relief, told
from gainstage.trace.records import ParameterRecord, Trace, UnregisteredRecord
from gainstage.trace.training_records import OptimizerRecord


@rule(
    "OPT006", "missing-parameters", severities=("error", "warning", "info"), cause="optimizer",
    explains=("OPT002", "OPT003"),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1000))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model[2] = nn.Linear(64, 3)  # the optimizer still holds the old one
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))), optimizer=optimizer)
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 3))
        model[0].requires_grad_(False)
        subject = gs.Subject(model, (torch.randn(64, 16), torch.randint(3, (64,))),
                             optimizer=torch.optim.SGD(model[2].parameters(), lr=0.1))
    """,
)  # fmt: skip
def missing_parameters(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """The optimizer does not hold parameters that the loss would train.

    What: trainable parameters with a gradient that are in no group of the optimizer; parameters that the model reads
        and does not list, so that no optimizer built from model.parameters() holds them, nor any state dict.
    Why it hurts: they keep their initial values; the run works, and learns less or nothing.
    How measured: by identity, the optimizer's groups against the model's parameters that received a gradient.
    When it is a false alarm: several optimizers that share a model. Where the split looks deliberate it is worth
        knowing only: everything from some layer up to the loss is held and nothing before it, matrices are held and
        vectors are not, or the other way round, embeddings are held apart, the step is written by hand, what is held
        is a small part (adapters), or biases and scales alone are missing: they cost little. Layers before those held
        whose weights look as they were drawn, though, have nothing to give that is worth keeping: a warning, unless
        they say requires_grad_(False); so it is if a trial ends far better with all parameters held. A network that is
        kept in a list to hide it from the state dict, as for a perceptual loss, should say so, too.
    Fix: build the optimizer after the model is complete and on its device, over model.parameters(). Keep layers in
        nn.ModuleList or nn.ModuleDict, not in a list or dict, and single parameters as attributes of a module.
    References: PyTorch, torch.optim, on constructing optimizers.
    """
    unlisted = [parameter for parameter in trace.unregistered if not parameter.held]
    if unlisted:
        yield _unlisted_finding(trace, unlisted)
        return
    optimizer = trace.optimizer
    if optimizer is None:
        yield NotAssessed("OPT006", "needs an optimizer")
        return
    if not trace.backward or not math.isfinite(trace.loss):
        yield NotAssessed("OPT006", "needs gradients, which tell what takes part in the loss")
        return
    taking_part = [p for p in trace.parameters if p.requires_grad and p.grad_rms is not None]
    missing = [p for p in taking_part if p.name in set(optimizer.missing)]
    if not missing:
        return
    held = [p for p in taking_part if p.name not in set(optimizer.missing)]
    on_purpose = _deliberate(trace, optimizer, missing, held)
    untrained = on_purpose == _LAST_LAYERS and _untrained(trace, missing)
    found = _missing_finding(optimizer, missing, held, on_purpose, untrained=untrained)
    ends = relief(trace, "parameters")
    if found.severity == "info" and ends is not None and far_behind(trace, ends):
        found = replace(found, severity="warning", message=f"{found.message} {told(trace, ends, 'with all of them')}")
    yield found


def _unlisted_finding(trace: Trace, unlisted: Sequence[UnregisteredRecord]) -> Finding:
    places = tuple(dict.fromkeys(parameter.module for parameter in unlisted))
    shapes = [" x ".join(map(str, parameter.shape)) or "scalar" for parameter in unlisted]
    return Finding(
        "OPT006", "missing-parameters", "error", "wiring", places[0],
        message=f"{places[0] or 'The model'} reads {counted(len(unlisted), 'parameter')} that model.parameters() does "
        f"not list ({some(shapes)}): no optimizer built from it trains them.",
        why="They keep their initial values, are not saved with the model, and do not follow it to a device.",
        advice="Keep layers in nn.ModuleList or nn.ModuleDict instead of a list or dict, and parameters as attributes.",
        value=float(len(unlisted)), threshold=0.0,
        evidence={"kind": "unlisted", "shapes": shapes, "listed": len(trace.parameters)},
    )  # fmt: skip


_LAST_LAYERS = "it holds all of the last layers and none of the first"
SMALL_PART = 0.05  # share of the values: adapters and prompts are less, a trunk or a head is more


def _deliberate(
    trace: Trace, optimizer: OptimizerRecord, missing: Sequence[ParameterRecord], held: Sequence[ParameterRecord]
) -> str:
    """What makes the split look meant; empty if nothing does."""
    if optimizer.foreign and any(p.dtype in ("float16", "bfloat16") for p in missing):
        return "what it holds may be copies in higher precision"
    if optimizer.foreign or not held:
        return ""
    if loss_name(trace) == "forward":
        return "the step is written by hand and may be one of several"
    matrices = {len(p.shape) >= 2 for p in missing}, {len(p.shape) >= 2 for p in held}
    if matrices in (({False}, {True}), ({True}, {False})) or optimizer.type in ("Muon", "SparseAdam"):
        return "the split is one by shape, as for two optimizers"
    tables = {name for layer in trace.layers if layer.kind == "embedding" for name in layer.parameters}
    if {p.name for p in missing} <= tables or {p.name for p in held} <= tables:
        return "embeddings are held apart"
    order = {name: index for index, layer in enumerate(trace.layers) for name in layer.parameters}
    places = [[order[p.name] for p in group if p.name in order] for group in (missing, held)]
    if all(places) and max(places[0]) < min(places[1]):
        return _LAST_LAYERS
    if _values(held) < SMALL_PART * _values((*held, *missing)):
        return "what it holds is a small part, as of adapters"
    if all(len(p.shape) < 2 for p in missing):
        return "what it lacks are biases and scales, without which a network learns little less"
    return ""


def _untrained(trace: Trace, missing: Sequence[ParameterRecord]) -> bool:
    """Whether the layers of these parameters look as they were drawn."""
    names = {parameter.name for parameter in missing}
    return freshly_drawn(
        [
            layer
            for layer in trace.layers
            if (layer.kind in MAPS or layer.op == "rnn") and names.intersection(layer.parameters)
        ]
    )


def _missing_finding(
    optimizer: OptimizerRecord, missing: Sequence[ParameterRecord], held: Sequence[ParameterRecord], on_purpose: str,
    *, untrained: bool,
) -> Finding:  # fmt: skip
    names = [parameter.name for parameter in missing]
    other = f", and {optimizer.foreign} that are not of this model" if optimizer.foreign else ""
    severity: Severity = "warning" if untrained else "info" if on_purpose else "error"
    on_purpose += ", and those look as they were drawn, not trained" if untrained else ""
    return Finding(
        "OPT006", "missing-parameters", severity, "optimizer", names[0].rpartition(".")[0],
        message=f"The optimizer ({optimizer.type}) holds {len(held)} of the {len(held) + len(missing)} parameters that "
        f"the loss trains{other}. It lacks {some(names)}" + (f"; {on_purpose}." if on_purpose else "."),
        why="No step ever changes what the optimizer does not hold, though its gradients are computed.",
        advice="Build the optimizer over model.parameters(), or load trained weights. If it is meant, call "
        "requires_grad_(False) on the rest; if another optimizer holds it, this is no fault." if untrained
        else "If that is meant, call requires_grad_(False) on the rest: it saves its gradients." if on_purpose
        else "Build the optimizer over model.parameters() once the model is complete, its last layer replaced.",
        value=float(len(missing)), threshold=0.0,
        evidence={
            "missing": names, "held": len(held), "foreign": optimizer.foreign,
            **({"kind": "last layers"} if on_purpose.startswith(_LAST_LAYERS) else {}),
        },
    )  # fmt: skip


def _values(parameters: Iterable[ParameterRecord]) -> int:
    return sum(math.prod(parameter.shape) for parameter in parameters)
