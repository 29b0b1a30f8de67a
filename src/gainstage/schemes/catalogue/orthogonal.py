"""Orthogonal weights: every singular value is the gain."""

from __future__ import annotations

import torch

from gainstage.schemes.base import LayerScheme, Site, preserving_gain, register
from gainstage.schemes.haar import haar
from gainstage.schemes.layouts import flat_shape, from_flat, matrix_refusal


def _variance(site: Site) -> float:
    _, rows, columns = flat_shape(site)
    return site.gain**2 / max(rows, columns)


def _draws(site: Site, generator: torch.Generator) -> torch.Tensor:
    """W Wᵀ = gain²·I, or Wᵀ W where rows are more; uniformly distributed. Var W = gain²/max(rows, columns).

    A convolution's kernel is flattened to (out, in·k), a transposed one's to (in, out·k); each group, and each of
    q, k and v in one weight, is orthogonal for itself.

    Validity:
        A linear map keeps the norm of every input unless it has fewer outputs. A flattened kernel does not keep
        the norm of an image: its patches overlap. See delta_orthogonal.

    References:
        Saxe et al. 2014, Exact solutions to the nonlinear dynamics of learning in deep linear neural networks.
    """
    return from_flat(haar(*flat_shape(site), site.gain, generator), site)


register(LayerScheme("orthogonal", "Saxe et al. 2014", _variance, _draws, preserving_gain, matrix_refusal))
