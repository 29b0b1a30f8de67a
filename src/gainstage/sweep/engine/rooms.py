"""Memory that is kept from step to step.

An allocator gives a large block back to the system when it is freed, and the next one is new pages, each of which the
system clears at its first touch: for small networks that took longer than the computation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

# A gradient is on its way and another is made of it; more are never free at once but behind branches.
_SPARES = 2


class Room:
    """Memory for one value, as large as the largest of its shapes yet.

    Example:
        >>> room = Room()
        >>> large = room.shaped((2, 3), torch.zeros(1)).zero_()
        >>> room.shaped((4,), torch.zeros(1)).fill_(1.0).sum(), large.sum()
        (tensor(4.), tensor(4.))
    """

    def __init__(self) -> None:
        self._memory = self._view = torch.empty(0)

    def shaped(self, shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
        """A tensor of a shape, of the type and on the device of another; ends the last one's life."""
        if self._view.shape != tuple(shape):
            size = math.prod(shape)
            if self._memory.numel() < size:
                self._memory = like.new_empty(size)
            self._view = self._memory[:size].view(*shape)
        return self._view


class Spares:
    """Tensors that nobody needs any more, for those who need one of the same shape.

    Example:
        >>> spares = Spares()
        >>> spares.put(torch.zeros(2, 3))
        >>> spares.take(torch.ones(2, 3)), spares.take(torch.ones(4)).shape
        (tensor([[0., 0., 0.],
                [0., 0., 0.]]), torch.Size([4]))
    """

    def __init__(self) -> None:
        self._free: dict[tuple[int, ...], list[torch.Tensor]] = {}

    def take(self, like: torch.Tensor) -> torch.Tensor:
        """A contiguous tensor of another's shape, with anything in it."""
        free = self._free.get(tuple(like.shape))
        return free.pop() if free else torch.empty_like(like, memory_format=torch.contiguous_format)

    def put(self, tensor: torch.Tensor) -> None:
        """Gives a tensor away that has its memory for itself."""
        free = self._free.setdefault(tuple(tensor.shape), [])
        if tensor.is_contiguous() and len(free) < _SPARES:
            free.append(tensor)

    def clear(self) -> None:
        """Frees all of them."""
        self._free.clear()
