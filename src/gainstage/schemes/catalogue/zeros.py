"""All weights zero: for the last layer of a branch, and as a control."""

from __future__ import annotations

import torch

from gainstage.schemes.base import LayerScheme, Site, register
from gainstage.schemes.variances import FLOAT32


def _variance(_site: Site) -> float:
    return 0.0


def _draws(site: Site, _generator: torch.Generator) -> torch.Tensor:
    """W = 0.

    Validity:
        For the last map of a residual branch or of the network. Two such maps in a row never learn: each
        has a gradient of zero because of the other.

    References:
        Zhang et al. 2019, Fixup initialization, section 3.
    """
    return torch.zeros(site.shape, **FLOAT32)


register(LayerScheme("zeros", "Zhang et al. 2019", _variance, _draws))
