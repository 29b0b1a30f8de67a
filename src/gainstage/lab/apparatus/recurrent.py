"""Plain recurrent networks, with a norm of the summed inputs at each step or without."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gainstage.errors import UnknownNameError
from gainstage.lab.apparatus.networks import ACTIVATIONS

RECURRENT_NORMS = ("none", "layer", "batch")
# 1/E[φ(z)²] to first order: of a recurrent matrix that keeps the size of the state without inputs.
_KEEPING = {"relu": 2.0, "tanh": 1.0}


class StepBatchNorm(nn.Module):
    """Batch norm with running statistics for each step, and one γ and β for all, as in Cooijmans et al. 2016.

    Args:
        steps: How many have statistics; later ones have those of the last.
        width: Features.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, steps: int, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(steps, width))
        self.register_buffer("running_var", torch.ones(steps, width))

    def forward(self, x: Tensor, step: int) -> Tensor:
        """Normalized over the batch in training mode, by the step's running statistics else."""
        place = min(step, len(self.running_mean) - 1)
        mean, var = self.running_mean[place], self.running_var[place]
        return F.batch_norm(x, mean, var, self.weight, self.bias, self.training)


class StepLayerNorm(nn.LayerNorm):
    """Layer norm, which is the same at every step."""

    def forward(self, input: Tensor, step: int = 0) -> Tensor:  # noqa: ARG002 - one interface for both
        """Normalized over the features."""
        return super().forward(input)


class RecurrentNet(nn.Module):
    """h_t = φ(N(W h_{t-1} + U x_t) + b), h_0 = 0, and a linear read-out of the last h.

    W is normal with variance gain²·2/width (ReLU) or gain²/width (tanh), U normal with variance 1/inputs, b = 0.

    Args:
        steps: Of a sequence; only batch norm needs to know.
        width: Of the state.
        inputs: Features of a step.
        classes: Of the read-out.
        activation: φ, ``relu`` or ``tanh``.
        norm: N, one of `RECURRENT_NORMS`; its own shift is b.
        gain: At 1, W keeps the size of a state without inputs.

    Raises:
        UnknownNameError: if the norm or activation is not known.
    """

    def __init__(
        self, steps: int = 64, width: int = 64, inputs: int = 1, classes: int = 10, activation: str = "relu",
        norm: str = "none", gain: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        for what, name, known in (("activation", activation, _KEEPING), ("norm", norm, RECURRENT_NORMS)):
            if name not in known:
                raise UnknownNameError("lab recurrent", what, name, known)
        self.recurrent = nn.Linear(width, width, bias=norm == "none")
        self.fed = nn.Linear(inputs, width, bias=False)
        self.read_out = nn.Linear(width, classes)
        self.activation = ACTIVATIONS[activation]()
        self.norm = {"layer": StepLayerNorm(width), "batch": StepBatchNorm(steps, width)}.get(norm)
        nn.init.normal_(self.recurrent.weight, std=gain * math.sqrt(_KEEPING[activation] / width))
        nn.init.normal_(self.fed.weight, std=inputs**-0.5)
        if norm == "none":
            nn.init.zeros_(self.recurrent.bias)

    def states(self, x: Tensor) -> list[Tensor]:
        """h_1 to h_T, each of shape (batch, width).

        Args:
            x: Of shape (batch, T·inputs): step after step.
        """
        fed = self.fed(x.unflatten(1, (-1, self.fed.in_features)))
        h, found = torch.zeros_like(fed[:, 0]), list[Tensor]()
        for step in range(fed.shape[1]):
            summed = self.recurrent(h) + fed[:, step]
            h = cast("Tensor", self.activation(summed if self.norm is None else self.norm(summed, step)))
            found.append(h)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Logits, of shape (batch, classes)."""
        return self.read_out(self.states(x)[-1])


def recurrent_net(
    steps: int = 64, width: int = 64, inputs: int = 1, activation: str = "relu", norm: str = "none", gain: float = 1.0
) -> RecurrentNet:
    """A `RecurrentNet` for ten classes, as a sweep can name it."""
    return RecurrentNet(steps, width, inputs, 10, activation, norm, gain)
