"""Standardized weights: those of each output unit are centred and of exact variance, as NF-ResNets keep them."""

from __future__ import annotations

import torch

from gainstage import theory
from gainstage.schemes.base import LayerScheme, Site, register
from gainstage.schemes.layouts import matrix_refusal
from gainstage.schemes.variances import FLOAT32


def _variance(site: Site) -> float:
    return site.gain**2 / site.fan_in


def _refusal(site: Site) -> str | None:
    entries = torch.Size(site.shape).numel() // max(1, _units(site))
    return matrix_refusal(site) or ("of a single weight nothing can be centred" if entries < 2 else None)


def _units(site: Site) -> int:
    """Number of output units."""
    if site.convolution:
        return site.shape[1] * site.groups if site.transposed else site.shape[0]
    return site.shape[1] if _by_column(site) else site.shape[0]


def _by_column(site: Site) -> bool:
    """Whether a matrix is laid out (in, out); a square one is taken for torch's (out, in)."""
    return site.shape[1] != site.fan_in and site.shape[0] == site.fan_in


def _draws(site: Site, generator: torch.Generator) -> torch.Tensor:
    """W = gain·(Z - μ)/(σ·√fan_in), Z ~ N(0, 1), μ and σ of the weights of each output unit.

    The gain is Var[φ]^(-1/2) of the activation whose output the layer reads.
    Centred weights do not see the mean that φ leaves, so that every channel keeps the variance, and a mean near 0.

    Validity:
        Where padding cuts a kernel off, what is left of it is not centred.

    References:
        Brock, De and Smith 2021, Characterizing signal propagation to close the performance gap in unnormalized
        ResNets, section 3; Qiao et al. 2019, Micro-batch training with batch-channel normalization and weight
        standardization.
    """
    units = torch.randn(_units(site), torch.Size(site.shape).numel() // _units(site), generator=generator, **FLOAT32)
    units -= units.mean(1, keepdim=True)
    units *= _variance(site) ** 0.5 / units.square().mean(1, keepdim=True).sqrt()
    if site.convolution and site.transposed:
        # (groups, out, in, taps) to (groups·in, out, *kernel)
        inputs = site.shape[0] // site.groups
        blocks = units.reshape(site.groups, site.shape[1], inputs, site.receptive_field)
        return blocks.transpose(1, 2).reshape(site.shape)
    return units.T.contiguous() if not site.convolution and _by_column(site) else units.reshape(site.shape)


register(LayerScheme("nf_normal", "Brock et al. 2021", _variance, _draws, theory.nf_gain, _refusal, gain_of="before"))
