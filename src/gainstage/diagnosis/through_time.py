"""How much of the gradient comes back to the first steps of a sequence through recurrent layers."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gainstage.landscape.training import gradients_kept, trained
from gainstage.trace.copies import copied
from gainstage.trace.subject import Subject
from gainstage.trace.training_records import ThroughTimeRecord

# Over fewer steps hardly anything fades.
SHORTEST = 8
FLAT = 2  # dimensions of one sequence by itself


def through_time(subject: Subject, seed: int = 0) -> tuple[ThroughTimeRecord, ...]:
    """A record for each recurrent layer of torch that runs over eight steps or more, in the order of the modules.

    It costs a pass forward and back on a copy, and none without such layers. Packed sequences are left out.

    Args:
        subject: Whose first batch it is; stays as it is.
        seed: Of random numbers.
    """
    if not any(isinstance(module, nn.RNNBase) for module in subject.model.modules()):
        return ()
    added: dict[str, Tensor] = {}
    try:
        with gradients_kept(subject):
            run = copied(subject.replace(batches=[subject.batches.first()]))
            layers = {name: layer for name, layer in run.model.named_modules() if isinstance(layer, nn.RNNBase)}
            for name, layer in layers.items():
                layer.register_forward_pre_hook(partial(_add_zeros, added, name), with_kwargs=True)
            trained(run, 1, seed, lambda _: None, rate=lambda _: 0.0)
    except Exception:  # What cannot be trained is said elsewhere.
        return ()
    found = (_record(name, layers[name], zeros) for name, zeros in added.items())
    return tuple(record for record in found if record is not None)


def _add_zeros(added: dict[str, Tensor], name: str, _: nn.Module, args: Any, kwargs: Any) -> Any:
    """Zeros that want a gradient, added to what the layer is called with first."""
    if not args or not isinstance(args[0], Tensor) or name in added:
        return args, kwargs
    added[name] = torch.zeros_like(args[0], requires_grad=True)
    return (args[0] + added[name], *args[1:]), kwargs


def _record(name: str, layer: nn.RNNBase, zeros: Tensor) -> ThroughTimeRecord | None:
    along = 1 if layer.batch_first and zeros.ndim > FLAT else 0
    if zeros.grad is None or zeros.shape[along] < SHORTEST:
        return None
    squares = zeros.grad.double().square().transpose(0, along).flatten(1).sum(1)
    most = float(squares.max())
    if not 0 < most < float("inf"):
        return None
    return ThroughTimeRecord(name, layer.mode, len(squares), float(squares.min() / most) ** 0.5)
