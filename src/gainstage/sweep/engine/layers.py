"""Layers of many dense networks at once, forward and backward, with what is in memory anyway reused.

Values have the shape (runs, features, batch). With the batch last a linear layer is one batched product whose result
is contiguous, and a batch norm runs along rows. Each layer owns the gradient that it is handed and may overwrite it.
Forward in training mode keeps what backward needs; `evaluated` keeps nothing, and may overwrite what forward kept.
Memory is kept from step to step: pages that are new cost more than what is computed in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import nn

from gainstage.sweep.engine.rooms import Room, Spares
from gainstage.sweep.engine.stack import Stack

Values = torch.Tensor


class Layer(Protocol):
    """One step of a network."""

    def forward(self, inputs: Sequence[Values]) -> Values:
        """The output in training mode."""
        ...

    def evaluated(self, inputs: Sequence[Values]) -> Values:
        """The output in evaluation mode."""
        ...

    def backward(self, gradient: Values, *, wanted: bool) -> Sequence[Values]:
        """The gradient of each input, if it is wanted; writes those of the layer's parameters."""
        ...


class Bound:
    """A layer's own parameters and buffers in a stack that may be replaced by a smaller one.

    Args:
        stack: Where they are.
        names: Of the layer's tensors, as its module calls them, to their names in the stack.
        repeated: Names of parameters that other layers use too, whose gradients are sums.

    Attributes:
        names: As given.
    """

    def __init__(self, stack: Stack, names: dict[str, str], repeated: frozenset[str]) -> None:
        self.names, self._repeated = names, repeated
        self.adopt(stack)

    def adopt(self, stack: Stack) -> None:
        """Goes on with another stack."""
        tensors = {**stack.parameters, **stack.buffers}
        self._tensors = {own: tensors[name] for own, name in self.names.items()}
        # A view takes as long as a small computation: those that every step needs are made once.
        self._columns = {own: tensor.unsqueeze(-1) for own, tensor in self._tensors.items()}
        self._gradients = {
            own: stack.gradients[name] for own, name in self.names.items() if name in stack.gradients
        }  # fmt: skip

    def __contains__(self, own: str) -> bool:
        return own in self.names

    def __getitem__(self, own: str) -> torch.Tensor:
        return self._tensors[own]

    def column(self, own: str) -> torch.Tensor:
        """A tensor with one more dimension, to be the same for all of a batch."""
        return self._columns[own]

    def trains(self, own: str) -> bool:
        """Whether a gradient of it is wanted."""
        return own in self._gradients

    def give(self, own: str, gradient: torch.Tensor) -> None:
        """Writes a gradient, or adds it."""
        if self.names[own] in self._repeated:
            self._gradients[own].add_(gradient)
        else:
            self._gradients[own].copy_(gradient)

    def give_product(self, own: str, left: torch.Tensor, right: torch.Tensor) -> None:
        """Writes or adds the batched product of two tensors, without a copy where it can."""
        if self.names[own] in self._repeated:
            self._gradients[own].baddbmm_(left, right)
        else:
            torch.bmm(left, right, out=self._gradients[own])

    def give_sum(self, own: str, gradient: Values) -> None:
        """Writes or adds the sum over the batch."""
        if self.names[own] in self._repeated:
            self._gradients[own].add_(gradient.sum(2))
        else:
            torch.sum(gradient, 2, out=self._gradients[own])


class Linear:
    """y = Wx + b; dW = dy·xᵀ, db = Σ dy, dx = Wᵀ·dy.

    Args:
        bound: Its parameters.
        spares: Where the gradient that it is handed goes, and that of its input comes from.
    """

    def __init__(self, bound: Bound, spares: Spares) -> None:
        self._bound, self._spares, self._inputs, self._room = bound, spares, torch.empty(0), Room()

    def forward(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        (self._inputs,) = inputs
        return self.evaluated(inputs)

    def evaluated(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        weight, x = self._bound["weight"], inputs[0]
        found = torch.bmm(weight, x, out=self._room.shaped((*weight.shape[:2], x.shape[2]), weight))
        return found.add_(self._bound.column("bias")) if "bias" in self._bound else found

    def backward(self, gradient: Values, *, wanted: bool) -> Sequence[Values]:
        """See `Layer`."""
        if self._bound.trains("weight"):
            self._bound.give_product("weight", gradient, self._inputs.transpose(1, 2))
        if self._bound.trains("bias"):
            self._bound.give_sum("bias", gradient)
        found: Sequence[Values] = ()
        if wanted:
            before = self._spares.take(self._inputs)
            found = (torch.bmm(self._bound["weight"].transpose(1, 2), gradient, out=before),)
        self._spares.put(gradient)
        return found


class LayerNorm:
    """y = γ(x - μ)/√(v + ε) + β over the features of each sample."""

    def __init__(self, module: nn.LayerNorm, bound: Bound) -> None:
        self._eps, self._size, self._bound = module.eps, list(module.normalized_shape), bound
        self._kept: tuple[torch.Tensor, ...] = ()

    def _forward(self, inputs: Sequence[Values]) -> tuple[Values, tuple[torch.Tensor, ...]]:
        rows = inputs[0].transpose(1, 2).contiguous()
        plain, mean, inverse = torch.native_layer_norm(rows, self._size, None, None, self._eps)
        found = plain
        if "weight" in self._bound:
            found = plain * self._bound["weight"].unsqueeze(1)
        if "bias" in self._bound:
            found = found + self._bound["bias"].unsqueeze(1)
        return found.transpose(1, 2), (rows, mean, inverse, plain)

    def forward(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        found, self._kept = self._forward(inputs)
        return found

    def evaluated(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        return self._forward(inputs)[0]

    def backward(self, gradient: Values, *, wanted: bool) -> Sequence[Values]:
        """See `Layer`."""
        rows, mean, inverse, plain = self._kept
        gradient = gradient.transpose(1, 2).contiguous()
        if self._bound.trains("weight"):
            self._bound.give("weight", (gradient * plain).sum(1))
        if self._bound.trains("bias"):
            self._bound.give("bias", gradient.sum(1))
        if not wanted:
            return ()
        if "weight" in self._bound:
            gradient = gradient * self._bound["weight"].unsqueeze(1)
        dx, _, _ = torch.ops.aten.native_layer_norm_backward(
            gradient, rows, self._size, mean, inverse, None, None, [True, False, False]
        )
        return (dx.transpose(1, 2),)


class Relu:
    """y = max(0, x), in place where the input is needed by nobody else."""

    def __init__(self, *, reuse: bool) -> None:
        self._reuse, self._output = reuse, torch.empty(0)

    def forward(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        self._output = inputs[0].relu_() if self._reuse else inputs[0].relu()
        return self._output

    def evaluated(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        return inputs[0].relu_() if self._reuse else inputs[0].relu()

    def backward(self, gradient: Values, *, wanted: bool) -> Sequence[Values]:
        """See `Layer`."""
        if not wanted:
            return ()
        return (torch.ops.aten.threshold_backward.grad_input(gradient, self._output, 0, grad_input=gradient),)


class Elementwise:
    """Any function of each number alone, by torch's own derivative of it."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._function, self._pair = function, (torch.empty(0), torch.empty(0))

    def forward(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        with torch.enable_grad():
            before = inputs[0].detach().requires_grad_()
            self._pair = (before, self._function(before))
        return self._pair[1].detach()

    def evaluated(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        return self._function(inputs[0])

    def backward(self, gradient: Values, *, wanted: bool) -> Sequence[Values]:
        """See `Layer`."""
        before, after = self._pair
        return torch.autograd.grad(after, before, gradient) if wanted else ()


class Sum:
    """y = a + b, as at the end of a residual branch."""

    def forward(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        return inputs[0] + inputs[1]

    def evaluated(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        return inputs[0] + inputs[1]

    def backward(self, gradient: Values, *, wanted: bool) -> Sequence[Values]:
        """See `Layer`."""
        return (gradient, gradient.clone()) if wanted else ()


class Dropout:
    """y = x·mask/(1 - p), each run's mask from its own generator, as torch draws it for that run alone.

    Args:
        p: The share that is dropped.
        generators: Of each run; the list is the chunk's, which drops some of them.
    """

    def __init__(self, p: float, generators: list[torch.Generator]) -> None:
        self._p, self._generators, self._mask = p, generators, torch.empty(0)

    def forward(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        (x,) = inputs
        if self._p in (0.0, 1.0):
            self._mask = torch.full_like(x, 1 - self._p)
            return x * self._mask
        drawn = torch.empty_like(x.transpose(1, 2), memory_format=torch.contiguous_format)
        for own, generator in zip(drawn, self._generators, strict=True):
            own.bernoulli_(1 - self._p, generator=generator)
        self._mask = drawn.div_(1 - self._p).transpose(1, 2)
        return x * self._mask

    def evaluated(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        return inputs[0]

    def backward(self, gradient: Values, *, wanted: bool) -> Sequence[Values]:
        """See `Layer`."""
        return (gradient * self._mask,) if wanted else ()
