"""Convolutions that pass their input through."""

from __future__ import annotations

import torch

from gainstage.schemes.base import LayerScheme, Site, register
from gainstage.schemes.layouts import centre_refusal, from_centre, tap_shape
from gainstage.schemes.variances import FLOAT32


def _refusal(site: Site) -> str | None:
    return centre_refusal(site) if site.convolution else "a matrix has no kernel"


def _variance(site: Site) -> float:
    _, rows, columns = tap_shape(site)
    return site.gain**2 / (max(rows, columns) * site.receptive_field)


def _draws(site: Site, _generator: torch.Generator) -> torch.Tensor:
    """gain·I at the centre tap, zero at all others, for each group; nothing is random.

    With more outputs than inputs (of a group) the rest of them is zero, with fewer the rest of the inputs is not
    read. Needs a kernel of odd sizes; for matrices `identity` takes its place.

    Validity:
        An image passes through at stride 1, with padding that keeps the size. The planner gives gain 1 also
        before rectifiers, for the reason that `identity` gives.

    References:
        Zagoruyko and Komodakis 2017, DiracNets.
    """
    blocks, rows, columns = tap_shape(site)
    return from_centre(site.gain * torch.eye(rows, columns, **FLOAT32).expand(blocks, rows, columns), site)


register(LayerScheme("dirac", "Zagoruyko and Komodakis 2017", _variance, _draws, refusal=_refusal, fallback="identity"))
