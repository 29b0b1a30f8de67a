"""Any network with its weights drawn by a scheme of two lines, and with a norm that only centers.

`gainstage.initialize` outlines each network first, which takes longer than a short training of a small one; these
draws need no outline, since every hidden layer of these networks has the same activation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gainstage.errors import UnknownNameError
from gainstage.norm.layers.inputs import batch_dims, by_channel
from gainstage.norm.layers.measured import MeasuredNorm, Statistics
from gainstage.sweep.references import resolve

# Of the weights of two and more dimensions; biases become zero. He 2015 and Glorot 2010, normal draws.
DRAWS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "he": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "glorot": nn.init.xavier_normal_,
}
CENTERED = "centered"


class Centering(MeasuredNorm):
    """Batch norm without its division: y = x - μ_B + β, with the running mean in evaluation mode.

    Args:
        num_features: Number of channels.
    """

    running = {"running_mean": 0.0}  # noqa: RUF012 - as declared by the base

    def __init__(self, num_features: int) -> None:
        super().__init__(
            num_features, 0.0, 0.1, weight=False, bias=True, track_running_stats=True, device=None, dtype=None
        )

    def measure(self, x: Tensor) -> tuple[Statistics, Statistics]:
        """μ_B."""
        mean = x.mean(batch_dims(x))
        return (mean,), (mean,)

    def normed(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """X - μ + β."""
        return self.affine(x - by_channel(statistics[0], x))


def initialized(network: str, draws: str, norm: str = "none", **options: Any) -> nn.Module:
    """A network whose weights a scheme draws from torch's generator.

    Args:
        network: A reference to a factory that takes ``norm`` (`gainstage.lab.apparatus.networks:mlp`).
        draws: One of `DRAWS`.
        norm: As the factory has it, or ``centered``: its batch norms with `Centering` in their place.
        options: Of the factory.

    Raises:
        UnknownNameError: if there are no such draws.
    """
    if draws not in DRAWS:
        raise UnknownNameError("lab networks", "draws", draws, DRAWS)
    model = resolve(network)(norm="batch" if norm == CENTERED else norm, **options)
    if norm == CENTERED:
        _center(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                DRAWS[draws](parameter)
            elif name.rpartition(".")[2] == "bias":
                parameter.zero_()
    return model


def _center(model: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(parent, name, Centering(child.num_features))
