"""Condition numbers of products of random matrices, in float64."""

from __future__ import annotations

import math
import statistics

import torch
from torch import Tensor

from gainstage.lab.catalogue.initialization.products_ill_conditioned import ProductsDesign
from gainstage.lab.judge import Row
from gainstage.seeding import generator


def measure(design: ProductsDesign, seed: int) -> list[Row]:
    """Gaussian factors."""
    return _rows(design, seed, "gaussian")


def control(design: ProductsDesign, seed: int) -> list[Row]:
    """Orthogonal factors."""
    return _rows(design, seed, "orthogonal")


def condition(matrix: Tensor) -> float:
    """The largest singular value over the smallest; infinite where that is 0."""
    values = torch.linalg.svdvals(matrix)
    return float(values[0] / values[-1])


def factor(draw: str, width: int, draws: torch.Generator) -> Tensor:
    """A normal matrix of variance 1/width, or the orthogonal part of one."""
    matrix = torch.randn(width, width, generator=draws, dtype=torch.float64) / math.sqrt(width)
    return torch.linalg.qr(matrix)[0] if draw == "orthogonal" else matrix


def conditions(draw: str, width: int, factors: int, draws: torch.Generator) -> list[float]:
    """Of the product of the first m factors, for m = 1 to ``factors``."""
    product, found = torch.eye(width, dtype=torch.float64), list[float]()
    for _ in range(factors):
        product = factor(draw, width, draws) @ product
        found.append(condition(product))
    return found


def _rows(design: ProductsDesign, seed: int, draw: str) -> list[Row]:
    draws = generator(seed, "products-ill-conditioned", draw)
    chains = [conditions(draw, design.width, design.factors, draws) for _ in range(design.draws)]
    medians = [statistics.median(values) for values in zip(*chains, strict=True)]
    return [
        {"draw": draw, "factors": index + 1, "condition": value if math.isfinite(value) else None}
        for index, value in enumerate(medians)
    ]
