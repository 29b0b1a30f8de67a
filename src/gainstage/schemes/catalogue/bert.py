"""The fixed scale of BERT, whatever the width."""

from __future__ import annotations

import torch

from gainstage.schemes.base import LayerScheme, Site, register
from gainstage.schemes.variances import TRUNCATED_VARIANCE, draw

STD = 0.02


def _variance(_site: Site) -> float:
    return STD**2 * TRUNCATED_VARIANCE


def _draws(site: Site, generator: torch.Generator) -> torch.Tensor:
    """N(0, 0.02²) within ±0.04, biases zero.

    The cut is not made up for, as in the authors' own code: the entries have a standard deviation of 0.0176.

    Validity:
        Made for transformers with norms, 768 to 1024 wide.

    References:
        Devlin et al. 2019, BERT, and its published code.
    """
    return draw(site.shape, _variance(site), "truncated_normal", generator)


register(LayerScheme("bert", "Devlin et al. 2019", _variance, _draws))
