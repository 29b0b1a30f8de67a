"""What the reported programs share: drawing examples and cutting them into batches."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Examples = tuple[Tensor, ...]


def split(size: int, *tensors: Tensor) -> list[Examples]:
    """Whole batches of so many examples, in their order."""
    count = tensors[0].shape[0] // size * size
    return [tuple(tensor[start : start + size] for tensor in tensors) for start in range(0, count, size)]


def drawn(make: Callable[[int], Examples], count: int, *, held_out: int) -> Examples:
    """The examples of the training set; those held out are drawn and dropped, as the weights' draws come after them."""
    examples = make(count)
    make(held_out)
    return examples
