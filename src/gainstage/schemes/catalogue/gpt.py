"""The fixed scale of GPT, whatever the width."""

from __future__ import annotations

import torch

from gainstage.schemes.base import LayerScheme, Site, register
from gainstage.schemes.variances import draw

STD = 0.02


def _variance(_site: Site) -> float:
    return STD**2


def _draws(site: Site, generator: torch.Generator) -> torch.Tensor:
    """N(0, 0.02²), biases zero.

    Validity:
        Made for pre-norm transformers about 768 wide, where LeCun's is 1/√768 = 0.036. Without norms only a
        fan_in of 2500 keeps the signal of a linear map; smaller ones let it fall. The division of the
        residual projections by √(number of branches) belongs to the model as a whole, not to a layer.

    References:
        Radford et al. 2018, Improving language understanding by generative pre-training, section 4.1.
    """
    return draw(site.shape, STD**2, "normal", generator)


register(LayerScheme("gpt", "Radford et al. 2018", _variance, _draws))
