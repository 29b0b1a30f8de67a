"""Residual balance: how large each branch is beside the stream that it is added to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from gainstage.trace import graph
from gainstage.trace.subject import as_subject
from gainstage.trace.watching import Seen, watched


@dataclass(frozen=True)
class BlockBalance:
    """Of one residual addition, out = stream + branch, over all values of a batch.

    Attributes:
        name: Of the sum, as in a trace.
        block: From 1, in order of execution.
        branch_var, stream_var, out_var: Variances of what is added, as it arrives there (behind dropout and SkipInit's
            α), and of their sum.
        ratio: branch_var/stream_var; None where the stream does not vary or a value is not finite.
        share: branch_var/out_var, De and Smith's figure; None likewise.
        correlation: Between stream and branch; None where one of them does not vary.
    """

    name: str
    block: int
    branch_var: float
    stream_var: float
    out_var: float
    ratio: float | None
    share: float | None
    correlation: float | None


@dataclass(frozen=True)
class ResidualBalance:
    """Of each residual block in order of execution; none if there is no residual addition."""

    blocks: tuple[BlockBalance, ...]


_Moments = tuple[float, float, float]


def residual_balance(subject_or_model: Any, batches: Any = None, loss: Any = None) -> ResidualBalance:
    """Returns branch variance over stream variance at each residual addition.

    Var(f(x))/Var(x), and Var(f(x))/Var(x + f(x)). With a norm at the head of each branch the stream's variance grows
    by one branch's at each block, so that the share falls as 1/(l + 1); with branches that preserve variance and no
    norm the share stays at 1/2 and the variance doubles.

    Args:
        subject_or_model, batches, loss: As in `gainstage.check`; the first batch is used, forward only.

    Returns:
        One entry for each block of `Trace.residuals` where just one of the two terms comes through the branch: a gated
        sum, x(1 - t) + t f(x) with t of x, has no stream that is left as it is.

    Raises:
        SubjectError: if the batch does not fit the model.

    Validity:
        Variance over all values, so that a difference between channels' means counts, which a norm would take away.
        The share's 1/(l + 1) is for branch and stream without correlation, and for equal branches at initialization.

    Example:
        >>> from torch import nn
        >>> class Block(nn.Module):
        ...     def __init__(self) -> None:
        ...         super().__init__()
        ...         self.branch = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        ...     def forward(self, x: torch.Tensor) -> torch.Tensor:
        ...         return x + self.branch(x)
        >>> model = nn.Sequential(nn.Linear(3, 4), Block(), Block())
        >>> [block.name for block in residual_balance(model, torch.randn(8, 3)).blocks]
        ['1:add', '2:add']

    References:
        De and Smith 2020, Batch normalization biases residual blocks towards the identity function in deep networks.
    """
    sums: dict[int, tuple[_Moments, tuple[tuple[int, ...], tuple[int, ...]]]] = {}

    def look(seen: Seen) -> None:
        if len(seen.terms) == 2:
            (first, origin), (second, other) = seen.terms
            sums[seen.position] = _moments(first, second), (origin, other)

    layers = watched(as_subject(subject_or_model, batches, loss), look)
    found: list[BlockBalance] = []
    for block in graph.residuals(layers):
        if block.sum in sums:
            moments, origins = sums[block.sum]
            ours = [bool(set(origin) & set(block.branch)) for origin in origins]
            if ours[0] != ours[1]:
                stream, branch = (1, 0) if ours[0] else (0, 1)
                found.append(
                    _balance(layers[block.sum].name, len(found) + 1, moments[branch], moments[stream], moments[2])
                )
    return ResidualBalance(tuple(found))


def _moments(first: torch.Tensor, second: torch.Tensor) -> _Moments:
    """Both variances and the covariance, in float64: a branch may be a thousandth of its stream."""
    x, y = first.double(), second.double()
    x, y = x - x.mean(), y - y.mean()
    return float((x * x).mean()), float((y * y).mean()), float((x * y).mean())


def _balance(name: str, block: int, branch: float, stream: float, covariance: float) -> BlockBalance:
    out = branch + stream + 2 * covariance
    usable = math.isfinite(out)
    both = usable and branch > 0 and stream > 0
    return BlockBalance(
        name, block, branch, stream, out,
        ratio=branch / stream if usable and stream > 0 else None,
        share=branch / out if usable and out > 0 else None,
        correlation=max(-1.0, min(1.0, covariance / math.sqrt(branch) / math.sqrt(stream))) if both else None,
    )  # fmt: skip
