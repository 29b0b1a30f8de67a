"""Parameters and buffers of many runs, one behind the other in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

Named = Mapping[str, torch.Tensor]


class Stack:
    """The state of the runs of a chunk.

    All trained parameters are in one flat buffer, parameter by parameter and within each run by run, so that a
    parameter of all runs is one contiguous block, and an optimizer's update a handful of operations on the whole.

    Args:
        models: One for each run, of the same shapes.
        trained: Names of the parameters that are updated.

    Attributes:
        runs: How many there are.
        values, gradient: The flat buffers.
        parameters: Name to a view of shape (runs, ...), for trained ones; to a stacked tensor for others.
        gradients: Name to the view of the gradient of a trained parameter.
        buffers: Name to a stacked tensor.

    Raises:
        ValueError: if the shapes differ from run to run.

    Example:
        >>> stack = Stack([nn.Linear(2, 1), nn.Linear(2, 1)], ["weight", "bias"])
        >>> stack.values.shape, stack.parameters["weight"].shape
        (torch.Size([6]), torch.Size([2, 1, 2]))
    """

    def __init__(self, models: Iterable[nn.Module], trained: Sequence[str]) -> None:
        states = [_state(model) for model in models]
        if len({_shapes(parameters) + _shapes(buffers) for parameters, buffers in states}) > 1:
            raise ValueError("the factory's shapes differ from seed to seed")
        parameters = {name: torch.stack([own[name] for own, _ in states]) for name in states[0][0]}
        self.trained = tuple(trained)
        self.shapes = {name: tuple(parameters[name].shape[1:]) for name in self.trained}
        self.buffers = {name: torch.stack([own[name] for _, own in states]) for name in states[0][1]}
        self._others = {name: value for name, value in parameters.items() if name not in self.shapes}
        self._adopt(torch.cat([parameters[name].reshape(-1) for name in self.trained]), len(states))

    def _adopt(self, values: torch.Tensor, runs: int) -> None:
        self.runs, self.values, self.gradient = runs, values, torch.zeros_like(values)
        self.parameters = {**self._others, **self.blocks(values)}
        self.gradients = self.blocks(self.gradient)

    def blocks(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views of shape (runs, ...) on a flat buffer, by name."""
        sizes = [self.runs * math.prod(shape) for shape in self.shapes.values()]
        pieces = flat.split(sizes)
        return {
            name: piece.view(self.runs, *self.shapes[name]) for name, piece in zip(self.shapes, pieces, strict=True)
        }

    def spread(self, values: Sequence[float]) -> torch.Tensor:
        """One value for each run, repeated over its numbers in the flat buffer; one number if all are the same."""
        column = torch.tensor(values, dtype=self.values.dtype, device=self.values.device)
        return column[0] if len(set(values)) == 1 else self.spread_tensor(column)

    def spread_tensor(self, column: torch.Tensor) -> torch.Tensor:
        """`spread` of values of shape (runs,) on the device."""
        return torch.cat([column.repeat_interleave(math.prod(shape)) for shape in self.shapes.values()])

    def shrunk(self, flat: torch.Tensor, kept: Sequence[int]) -> torch.Tensor:
        """What is left of a flat buffer when all runs but these are dropped."""
        index = torch.tensor(kept, device=flat.device)
        return torch.cat([block[index].reshape(-1) for block in self.blocks(flat).values()])

    def norms(self, named: Named) -> torch.Tensor:
        """The Euclidean norm over all given tensors of each run, of shape (runs,)."""
        each = [torch.linalg.vector_norm(block.flatten(1), dim=1) for block in named.values()]
        return torch.linalg.vector_norm(torch.stack(each), dim=0)

    def finite(self) -> torch.Tensor:
        """Whether each run's trained parameters are all finite, of shape (runs,)."""
        each = [block.flatten(1).isfinite().all(1) for block in self.blocks(self.values).values()]
        return torch.stack(each).all(0)

    def keep(self, kept: Sequence[int]) -> Stack:
        """Another stack, of these runs alone."""
        index = torch.tensor(kept, device=self.values.device)
        smaller = object.__new__(Stack)
        smaller.trained, smaller.shapes = self.trained, self.shapes
        smaller.buffers = {name: value[index] for name, value in self.buffers.items()}
        smaller._others = {name: value[index] for name, value in self._others.items()}
        smaller._adopt(self.shrunk(self.values, kept), len(kept))
        return smaller


def _state(model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Each parameter and buffer once: a tied one under its first name."""
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    return parameters, {name: value.detach() for name, value in model.named_buffers()}


def _shapes(named: Named) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, tuple(value.shape)) for name, value in named.items())
