"""What torch's own linear and convolutional layers are born with: the control."""

from __future__ import annotations

import math

import torch

from gainstage.schemes.base import LayerScheme, Site, register
from gainstage.schemes.variances import draw


def _fan_in(site: Site) -> float:
    """As torch counts: of a transposed convolution from the second dimension, which is that of the outputs."""
    return float(math.prod(site.shape[1:])) if site.transposed else site.fan_in


def _variance(site: Site) -> float:
    return 1 / (3 * _fan_in(site))


def _draws(site: Site, generator: torch.Generator) -> torch.Tensor:
    """U(±1/√fan_in), and the biases alike: Var W = 1/(3·fan_in), a sixth of He's.

    Validity:
        As torch does it, of transposed convolutions too. `torch.nn.MultiheadAttention` draws its packed
        projection otherwise (Glorot's, of the stack). Deep networks without norms lose their signal.

    References:
        torch.nn.Linear.reset_parameters, ``kaiming_uniform_(a=√5)``.
    """
    return draw(site.shape, _variance(site), "uniform", generator)


register(
    LayerScheme(
        "torch_default", "torch.nn.Linear.reset_parameters", _variance, _draws,
        bias_variance=_variance, bias_distribution="uniform",
    )
)  # fmt: skip
