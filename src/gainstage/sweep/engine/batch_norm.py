"""Batch norms of many networks at once; all of a network keep their statistics in one place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from gainstage.sweep.engine.layers import Bound, Values
from gainstage.sweep.engine.rooms import Room
from gainstage.sweep.engine.stack import Stack


class BatchNorm:
    """y = γ(x - μ)/√(v + ε) + β over the batch.

    With c = x - μ and s = 1/√(v + ε): dβ = Σ dy, dγ = s·Σ dy·c, dx = γs(dy - Σ dy/n - c·s²·Σ dy·c/n).

    Args:
        module: Whose options count; with running averages by a momentum.
        bound: Its parameters and buffers.
        reuse: Whether the input is needed by nobody else, so that it may be centred in place.

    Attributes:
        bound: As given.
        momentum: Of the running averages, which `Averages` moves.
    """

    def __init__(self, module: nn.BatchNorm1d, bound: Bound, *, reuse: bool) -> None:
        self.bound, self.momentum = bound, float(module.momentum or 0)
        self._eps, self._reuse, self._affine, self._room = module.eps, reuse, "weight" in bound, Room()
        self._output = self._centred = torch.empty(0)
        self.adopt(torch.empty(0), torch.empty(0))

    def adopt(self, sums: torch.Tensor, norms: torch.Tensor) -> None:
        """Where to leave the sums of the inputs and the norms of the centred ones, each of shape (runs, features)."""
        self._sums, self._norms, self._least = sums, norms, sums.new_tensor(self._eps)
        self._inverse, self._along, self._total = (torch.empty_like(sums) for _ in range(3))
        self._slope = torch.empty_like(sums) if self._affine else self._inverse
        self._columns = [own.unsqueeze(-1) for own in (sums, self._slope, self._along, self._total)]

    def forward(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        (x,) = inputs
        size = x.shape[2]
        if size < 2:
            raise ValueError("Expected more than 1 value per channel when training")
        sums, slope, _, _ = self._columns
        torch.sum(x, 2, out=self._sums)
        if self._reuse:
            self._centred = x.sub_(sums, alpha=1 / size)
        else:
            self._centred = torch.sub(x, sums, alpha=1 / size).contiguous()
        torch.linalg.vector_norm(self._centred, dim=2, out=self._norms)
        torch.addcmul(self._least, self._norms, self._norms, value=1 / size, out=self._inverse).rsqrt_()
        if self._affine:
            torch.mul(self._inverse, self.bound["weight"], out=self._slope)
        room = self._room.shaped(self._centred.shape, self._centred)
        self._output = torch.mul(self._centred, slope, out=room)
        return self._output.add_(self.bound.column("bias")) if self._affine else self._output

    def evaluated(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        slope = (self.bound["running_var"] + self._eps).rsqrt_()
        slope = slope * self.bound["weight"] if self._affine else slope
        shift = -self.bound["running_mean"] * slope
        shift = shift + self.bound["bias"] if self._affine else shift
        scaled = inputs[0].mul_(slope.unsqueeze(2)) if self._reuse else inputs[0] * slope.unsqueeze(2)
        return scaled.add_(shift.unsqueeze(2))

    def backward(self, gradient: Values, *, wanted: bool) -> Sequence[Values]:
        """See `Layer`."""
        size = gradient.shape[2]
        _, slope, along, total = self._columns
        # Whoever took the output has been backward before: its memory is free.
        torch.mul(gradient, self._centred, out=self._output)
        torch.sum(self._output, 2, out=self._along)
        torch.sum(gradient, 2, out=self._total)
        self._along.mul_(self._inverse)
        if self.bound.trains("weight"):
            self.bound.give("weight", self._along)
        if self.bound.trains("bias"):
            self.bound.give("bias", self._total)
        if not wanted:
            return ()
        self._along.mul_(self._inverse)
        gradient.sub_(self._centred.mul_(along), alpha=1 / size).sub_(total, alpha=1 / size)
        return (gradient.mul_(slope),)


class Averages:
    """Running means and variances of batch norms of one momentum, moved at once: r ← (1 - m)r + m·s.

    The buffers of the stack become views of one tensor, so that a step takes as many operations for all norms as for
    one.

    Args:
        norms: Each with buffers of its own.
        stack: Of all runs.
    """

    def __init__(self, norms: Sequence[BatchNorm], stack: Stack) -> None:
        self._norms = norms
        self.adopt(stack)

    def adopt(self, stack: Stack) -> None:
        """Goes on with another stack, whose buffers it lays out anew."""
        self._means, self._variances, self._counts = (
            self._laid(stack, own) for own in ("running_mean", "running_var", "num_batches_tracked")
        )
        self._sums, self._roots = torch.zeros_like(self._means), torch.zeros_like(self._means)
        sizes = [norm.bound["running_mean"].numel() for norm in self._norms]
        for norm, sums, roots in zip(self._norms, self._sums.split(sizes), self._roots.split(sizes), strict=True):
            shape = norm.bound["running_mean"].shape
            norm.bound.adopt(stack)
            norm.adopt(sums.view(shape), roots.view(shape))

    def _laid(self, stack: Stack, own: str) -> torch.Tensor:
        names = [norm.bound.names[own] for norm in self._norms]
        if len(names) == 1:
            return stack.buffers[names[0]].view(-1)
        flat = torch.cat([stack.buffers[name].reshape(-1) for name in names])
        pieces = flat.split([stack.buffers[name].numel() for name in names])
        stack.buffers.update(
            {name: piece.view_as(stack.buffers[name]) for name, piece in zip(names, pieces, strict=True)}
        )
        return flat

    def move(self, size: int) -> None:
        """After a forward on batches of a size."""
        momentum = self._norms[0].momentum
        self._means.lerp_(self._sums.mul_(1 / size), momentum)
        self._variances.lerp_(self._roots.square_().mul_(1 / (size - 1)), momentum)
        self._counts.add_(1)


def averages(norms: Sequence[BatchNorm], stack: Stack) -> list[Averages]:
    """Of all batch norms of a network, in the order in which they are to be moved.

    Args:
        norms: In the order of the forward. Buffers that several have are moved once for each.
        stack: Of all runs.
    """
    groups: dict[tuple[float, int], list[BatchNorm]] = {}
    seen: set[str] = set()
    for place, norm in enumerate(norms):
        name = norm.bound.names["running_mean"]
        groups.setdefault((norm.momentum, place if name in seen else -1), []).append(norm)
        seen.add(name)
    # Those that are alone in their group leave the buffers where the others have laid them.
    ordered = sorted(groups.items(), key=lambda group: group[0][1])
    return [Averages(group, stack) for _, group in ordered]
