"""Convolutions that keep the norm of every input: orthogonal at the centre tap, zero at all others."""

from __future__ import annotations

import torch

from gainstage.schemes.base import LayerScheme, Site, preserving_gain, register
from gainstage.schemes.haar import haar
from gainstage.schemes.layouts import centre_refusal, from_centre, tap_shape


def _channels(site: Site) -> tuple[int, int]:
    """Inputs and outputs, of a group."""
    _, rows, columns = tap_shape(site)
    if not site.convolution:
        return round(site.fan_in), round(site.fan_out)
    return (rows, columns) if site.transposed else (columns, rows)


def _refusal(site: Site) -> str | None:
    reason = centre_refusal(site)
    if reason is not None:
        return reason
    inputs, outputs = _channels(site)
    each = " of a group" if site.groups > 1 else ""
    return f"{outputs} outputs{each} cannot keep the norm of {inputs} inputs" if outputs < inputs else None


def _variance(site: Site) -> float:
    return site.gain**2 / (max(tap_shape(site)[1:]) * site.receptive_field)


def _draws(site: Site, generator: torch.Generator) -> torch.Tensor:
    """The centre tap H has HᵀH = gain²·I and is uniformly distributed; all other taps are zero.

    Each group is orthogonal for itself. Needs a kernel of odd sizes and at least as many outputs as inputs (of a
    group); elsewhere `orthogonal` takes its place. A matrix is a kernel of one tap.

    Validity:
        The norm is kept times the gain, for every input, at stride 1, with padding that keeps the size; a strided
        one keeps the norm of the pixels that it reads.

    References:
        Xiao et al. 2018, Dynamical isometry and a mean field theory of CNNs.
    """
    return from_centre(haar(*tap_shape(site), site.gain, generator), site)


register(
    LayerScheme(
        "delta_orthogonal", "Xiao et al. 2018", _variance, _draws, preserving_gain, _refusal, fallback="orthogonal"
    )
)
