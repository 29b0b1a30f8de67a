"""A weight as matrices: one for each group of a convolution, or each projection that is packed into it."""

from __future__ import annotations

import math

import torch

from gainstage.schemes.base import Site
from gainstage.schemes.variances import FLOAT32


def matrix_refusal(site: Site) -> str | None:
    """Why a weight has no layout as matrices, or None."""
    dimensions = len(site.shape)
    if site.convolution:
        fits = dimensions > 2 and site.shape[0] % site.groups == 0
        return None if fits else f"a parameter of shape {site.shape} is no kernel"
    fits = dimensions == 2 and (site.parts == 1 or site.shape[_packed_along(site)] % site.parts == 0)
    return None if fits else f"a parameter of shape {site.shape} is no matrix"


def centre_refusal(site: Site) -> str | None:
    """Why a weight has no centre tap, or None; a matrix is a kernel of one tap."""
    even = [size for size in site.kernel if size % 2 == 0]
    return matrix_refusal(site) or (f"a kernel of {even[0]} taps has none in its centre" if even else None)


def tap_shape(site: Site) -> tuple[int, int, int]:
    """Number of blocks, and rows and columns of each, of the matrices at one tap of the kernel."""
    rows, columns = site.shape[:2]
    if site.convolution:
        return site.groups, rows // site.groups, columns
    by_rows = _packed_along(site) == 0
    return (site.parts, rows // site.parts, columns) if by_rows else (site.parts, rows, columns // site.parts)


def _packed_along(site: Site) -> int:
    """The dimension of a matrix along which projections are packed: not that of a unit's inputs."""
    return 0 if site.shape[1] == site.fan_in else 1


def flat_shape(site: Site) -> tuple[int, int, int]:
    """The same of the whole kernel, its taps beside each other in the columns."""
    blocks, rows, columns = tap_shape(site)
    return blocks, rows, columns * site.receptive_field


def from_flat(blocks: torch.Tensor, site: Site) -> torch.Tensor:
    """The weight whose `flat_shape` matrices these are."""
    if site.parts > 1 and _packed_along(site) == 1:
        return torch.cat(list(blocks), dim=1)
    return blocks.reshape(site.shape)


def from_centre(blocks: torch.Tensor, site: Site) -> torch.Tensor:
    """The weight with these `tap_shape` matrices at the centre of the kernel, and zeros at its other taps."""
    if not site.convolution:
        return from_flat(blocks, site)
    weight = torch.zeros(site.shape, **FLOAT32)
    centre = sum(size // 2 * math.prod(site.kernel[axis + 1 :]) for axis, size in enumerate(site.kernel))
    weight.flatten(2)[..., centre] = blocks.flatten(0, 1)
    return weight
