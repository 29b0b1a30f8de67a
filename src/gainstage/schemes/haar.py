"""Random orthogonal matrices, uniformly distributed, without a QR decomposition."""

from __future__ import annotations

import torch

from gainstage.schemes.variances import FLOAT32

# Reflections that are applied together: as many as make the products large and the triangular part small.
_BLOCK = 128


def haar(blocks: int, rows: int, columns: int, gain: float, generator: torch.Generator) -> torch.Tensor:
    """Independent uniformly distributed matrices with orthonormal rows, or columns if they are fewer.

    QR of a Gaussian matrix reflects its first column onto an axis, then what is left of the second, and so on; what
    is left of a column is Gaussian again, independent of all before. So the reflections can be drawn directly, and
    only their product is computed: Q·sign(diag R) has the same law as what is returned. The product is taken
    128 reflections at a time, H₁···H_b = I - U T Uᵀ with T⁻¹ = ½I + (the part of UᵀU above its diagonal).

    Args:
        blocks: Number of matrices.
        rows, columns: Of each, above zero.
        gain: Every singular value.
        generator: A CPU generator.

    Returns:
        (blocks, rows, columns), float32 on the CPU; with g = gain, W Wᵀ = g²·I or Wᵀ W = g²·I to about 1e-6.

    Validity:
        The last bits depend on the number of threads and on the processor.

    Example:
        >>> import torch
        >>> w = haar(1, 3, 5, 2.0, torch.Generator().manual_seed(0))[0]
        >>> torch.allclose(w @ w.T, 4 * torch.eye(3), atol=1e-5)
        True

    References:
        Stewart 1980, The efficient generation of random orthogonal matrices; Mezzadri 2007; Joffrain et al. 2006,
        Accumulating Householder transformations, revisited.
    """
    units, signs = _reflectors(blocks, min(rows, columns), max(rows, columns), generator)
    product = _product(units, gain * signs)
    return product if rows <= columns else product.mT.contiguous()


def _reflectors(blocks: int, few: int, many: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit normals u of the reflections I - 2uuᵀ, one a row, zero before the diagonal; and the signs of diag R."""
    x = torch.randn(blocks, few, many, generator=generator, **FLOAT32).triu_()
    norm, diagonal = torch.linalg.vector_norm(x, dim=-1), x.diagonal(dim1=-2, dim2=-1)
    # Away from the axis, not towards it: nothing cancels. The reflection takes x to -sign·‖x‖ on the axis.
    sign = torch.ones_like(diagonal).copysign_(diagonal)
    length = (2 * norm * (norm + diagonal.abs())).sqrt()
    diagonal.add_(sign * norm)
    # A row of one number may be zero; its reflection is then none.
    return x.div_(length.clamp_(min=1e-30).unsqueeze(-1)), -sign


def _product(units: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """The first rows of the product of all reflections, the last one first, each row scaled."""
    result = torch.zeros_like(units)
    result.diagonal(dim1=-2, dim2=-1).copy_(scales)
    few = units.shape[1]
    # From the last block back: before it is applied, a block's own rows and columns are still diagonal.
    for start in reversed(range(0, few, _BLOCK)):
        stop = min(start + _BLOCK, few)
        u = units[:, start:stop, start:]
        own, later = u[..., : stop - start], u[..., stop - start :]
        inverse = (u @ u.mT).triu_(1)
        inverse.diagonal(dim1=-2, dim2=-1).fill_(0.5)
        reflected = torch.linalg.solve_triangular(inverse.mT, u, upper=False)
        along = torch.cat([result[:, start:stop, start:stop] @ own.mT, result[:, stop:, stop:] @ later.mT], 1)
        for block, a, r in zip(result[:, start:, start:], along, reflected, strict=True):
            block.addmm_(a, r, alpha=-1)
    return result
