"""Which parameters make up a layer, layers in order of execution."""

from __future__ import annotations

from gainstage.landscape.objective import Objective
from gainstage.trace.outline import outline


def layer_parameters(objective: Objective) -> dict[str, tuple[str, ...]]:
    """The trainable parameters of each layer, by the layer's name, in order of execution.

    A layer is whatever reads a parameter of two dimensions or more, with its bias; the scales and shifts that follow
    (a norm's γ and β, a SkipInit α) belong to the last such layer, those in front of all to a layer of their own. A
    parameter that several layers read belongs to the first. What the forward pass does not read is left out.

    Args:
        objective: Whose model's.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from gainstage.trace import Subject
        >>> model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
        >>> layer_parameters(Objective(Subject(model, (torch.randn(8, 3), torch.randn(8, 1)))))
        {'0': ('0.weight', '1.weight', '1.bias'), '3': ('3.weight', '3.bias')}
    """
    trained = dict(zip(objective.names, objective.parameters, strict=True))
    free = set(trained)
    found: dict[str, list[str]] = {}
    # Not on the meta device: what is probed is small enough to be run, and its first use costs a second.
    for layer in outline(objective.subject.replace(batches=objective.batches), meta=False).layers:
        own = [name for name in layer.parameters if name in free]
        applied = [name for _, name in layer.modifiers if name in free and name not in own]
        free.difference_update(own, applied)
        if applied:
            # What scales a signal on its way here belongs to the layer that the signal comes from.
            found.setdefault(next(reversed(found), layer.name), []).extend(applied)
        if any(trained[name].ndim > 1 for name in own) or (own and not found):
            found.setdefault(layer.name, []).extend(own)
        elif own:
            found[next(reversed(found))].extend(own)
    return {name: tuple(names) for name, names in found.items()}
