"""Matrices that pass their input through."""

from __future__ import annotations

import torch

from gainstage.schemes.base import LayerScheme, Site, register
from gainstage.schemes.layouts import from_flat, matrix_refusal, tap_shape
from gainstage.schemes.variances import FLOAT32


def _refusal(site: Site) -> str | None:
    return "a convolution has kernels" if site.convolution else matrix_refusal(site)


def _variance(site: Site) -> float:
    _, rows, columns = tap_shape(site)
    return site.gain**2 / max(rows, columns)


def _draws(site: Site, _generator: torch.Generator) -> torch.Tensor:
    """W = gain·I, for each of q, k and v in one weight; nothing is random.

    With more outputs than inputs the rest of them is zero, with fewer the rest of the inputs is not read. For
    convolutions `dirac` takes its place.

    Validity:
        The planner gives gain 1 also before rectifiers: what has passed one ReLU passes the next unchanged, and
        √2 a layer would grow without bound. Zero outputs get a gradient only through what follows.

    References:
        Le et al. 2015, A simple way to initialize recurrent networks of rectified linear units.
    """
    blocks, rows, columns = tap_shape(site)
    return from_flat(site.gain * torch.eye(rows, columns, **FLOAT32).expand(blocks, rows, columns), site)


register(LayerScheme("identity", "Le et al. 2015", _variance, _draws, refusal=_refusal, fallback="dirac"))
