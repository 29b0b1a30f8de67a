"""Recurrent layers that remember: what a network learns with them, and not without, it had forgotten on the way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gainstage.errors import SubjectError
from gainstage.trace.copies import copied
from gainstage.trace.running import outputs_of, seeing_inputs, undisturbed
from gainstage.trace.subject import Subject

SHORTEST = 2  # steps: of one nothing can be forgotten


class LongMemory(nn.LSTM):
    """An LSTM that is called, and answers, as a plain recurrent layer does."""

    # A plain layer's state is one tensor, and an LSTM's are two: to stand in for it, it cannot be called as one.
    def forward(self, input: Any, hx: Tensor | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What `nn.RNN` returns: the outputs of all steps, and the last state of each layer."""
        state = None if hx is None else (hx, torch.zeros_like(hx))
        outputs, (hidden, _) = super().forward(input, state)
        return outputs, hidden


def remembering(series: Subject) -> Subject:
    """A copy whose plain recurrent layers are LSTMs, and whose gates stand open for about as many steps as there are.

    Biases of LSTMs and GRUs are drawn as by Tallec and Ollivier 2018, *Can recurrent neural networks warp time?*

    Raises:
        SubjectError: if there is no recurrent layer, or none that runs over several steps.
    """
    subject = copied(series)
    layers = {name: layer for name, layer in subject.model.named_modules() if isinstance(layer, nn.RNNBase)}
    steps = _steps(subject, layers)
    if not steps:
        raise SubjectError("trial: the model must have recurrent layers over several steps to remember more of them.")
    for name, layer in layers.items():
        kept = _long(layer, subject.optimizer) if layer.mode.startswith("RNN") else layer
        if kept is not layer:
            parent, _, last = name.rpartition(".")
            setattr(subject.model.get_submodule(parent), last, kept)
        _open_gates(kept, max(steps.values()))
    return subject


def _steps(subject: Subject, layers: dict[str, nn.RNNBase]) -> dict[str, int]:
    """Of each layer that is called with a sequence: over how many steps."""
    found: dict[str, int] = {}

    def see(name: str, inputs: Tensor) -> None:
        if inputs.ndim > 1:
            found[name] = inputs.shape[1 if layers[name].batch_first and inputs.ndim > 2 else 0]

    with undisturbed(subject.model), seeing_inputs(dict(layers), see):
        outputs_of(subject.model, subject.batches.first(), subject.forward)
    return {name: steps for name, steps in found.items() if steps >= SHORTEST}


def _long(layer: nn.RNNBase, optimizer: torch.optim.Optimizer | None) -> LongMemory:
    first = next(layer.parameters())
    made = LongMemory(
        layer.input_size, layer.hidden_size, layer.num_layers, layer.bias, layer.batch_first, layer.dropout,
        layer.bidirectional, device=first.device, dtype=first.dtype,
    ).train(layer.training)  # fmt: skip
    for group in optimizer.param_groups if optimizer is not None else []:
        if any(parameter is first for parameter in group["params"]):
            group["params"].extend(made.parameters())
    return made


def _open_gates(layer: nn.RNNBase, steps: int) -> None:
    """Forget gates that let go after 1 to ``steps`` steps, evenly; the gates that let in closed by as much."""
    size = layer.hidden_size
    for name, bias in layer.named_parameters():
        if not name.startswith("bias_hh"):
            continue
        spans = torch.empty(size, device=bias.device).uniform_(1, max(SHORTEST, steps - 1)).log().to(bias.dtype)
        with torch.no_grad():
            bias[size : 2 * size] = spans
            if layer.mode == "LSTM":
                bias[:size] = -spans
