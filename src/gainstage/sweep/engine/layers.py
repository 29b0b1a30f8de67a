"""Layers of many dense networks at once, forward and backward, with what is in memory anyway reused.

Values have the shape (runs, features, batch). With the batch last a linear layer is one batched product whose result
is contiguous, and a batch norm runs along rows. Each layer owns the gradient that it is handed and may overwrite it.
Forward in training mode keeps what backward needs; `evaluated` keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import nn

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
    """

    def __init__(self, stack: Stack, names: dict[str, str], repeated: frozenset[str]) -> None:
        self.stack, self._names, self._repeated = stack, names, repeated

    def __contains__(self, own: str) -> bool:
        return own in self._names

    def __getitem__(self, own: str) -> torch.Tensor:
        name = self._names[own]
        return self.stack.parameters[name] if name in self.stack.parameters else self.stack.buffers[name]

    def trains(self, own: str) -> bool:
        """Whether a gradient of it is wanted."""
        return own in self._names and self._names[own] in self.stack.gradients

    def give(self, own: str, gradient: torch.Tensor) -> None:
        """Writes a gradient, or adds it."""
        kept = self.stack.gradients[self._names[own]]
        if self._names[own] in self._repeated:
            kept += gradient.view_as(kept)
        else:
            kept.copy_(gradient.view_as(kept))

    def give_product(self, own: str, left: torch.Tensor, right: torch.Tensor) -> None:
        """Writes or adds the batched product of two tensors, without a copy where it can."""
        if self._names[own] in self._repeated:
            self.stack.gradients[self._names[own]].baddbmm_(left, right)
        else:
            torch.bmm(left, right, out=self.stack.gradients[self._names[own]])


class Linear:
    """y = Wx + b; dW = dy·xᵀ, db = Σ dy, dx = Wᵀ·dy."""

    def __init__(self, bound: Bound) -> None:
        self._bound, self._inputs, self._kept = bound, torch.empty(0), torch.empty(0)

    def forward(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        (self._inputs,) = inputs
        weight = self._bound["weight"]
        shape = (*weight.shape[:2], self._inputs.shape[2])
        if self._kept.shape != shape:
            self._kept = self._inputs.new_empty(shape)
        torch.bmm(weight, self._inputs, out=self._kept)
        return self._kept.add_(self._bound["bias"].unsqueeze(2)) if "bias" in self._bound else self._kept

    def evaluated(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        weight = self._bound["weight"]
        if "bias" not in self._bound:
            return torch.bmm(weight, inputs[0])
        return torch.baddbmm(self._bound["bias"].unsqueeze(2), weight, inputs[0])

    def backward(self, gradient: Values, *, wanted: bool) -> Sequence[Values]:
        """See `Layer`."""
        if self._bound.trains("weight"):
            self._bound.give_product("weight", gradient, self._inputs.transpose(1, 2))
        if self._bound.trains("bias"):
            self._bound.give("bias", gradient.sum(2))
        return (torch.bmm(self._bound["weight"].transpose(1, 2), gradient),) if wanted else ()


class BatchNorm:
    """y = γ(x - μ)/√(v + ε) + β over the batch, and running averages of μ and v.

    Args:
        module: Whose options count; with running averages by a momentum.
        bound: Its parameters and buffers.
        reuse: Whether the input is needed by nobody else, so that it may be centred in place.
    """

    def __init__(self, module: nn.BatchNorm1d, bound: Bound, *, reuse: bool) -> None:
        self._eps, self._momentum = module.eps, float(module.momentum or 0)
        self._bound, self._reuse = bound, reuse
        self._kept, self._centred, self._inverse = torch.empty(0), torch.empty(0), torch.empty(0)

    def forward(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        (x,) = inputs
        size = x.shape[2]
        if size < 2:
            raise ValueError("Expected more than 1 value per channel when training")
        mean = x.mean(2)
        centred = x.sub_(mean.unsqueeze(2)) if self._reuse else (x - mean.unsqueeze(2)).contiguous()
        variance = torch.linalg.vector_norm(centred, dim=2).square_().div_(size)
        self._bound["running_mean"].lerp_(mean, self._momentum)
        self._bound["running_var"].lerp_(variance * (size / (size - 1)), self._momentum)
        self._bound["num_batches_tracked"].add_(1)
        self._centred, self._inverse = centred, variance.add_(self._eps).rsqrt_()
        return self._scaled()

    def _scaled(self) -> Values:
        affine = "weight" in self._bound
        slope = self._inverse * self._bound["weight"] if affine else self._inverse
        if self._kept.shape != self._centred.shape:
            self._kept = torch.empty_like(self._centred)
        found = torch.mul(self._centred, slope.unsqueeze(2), out=self._kept)
        return found.add_(self._bound["bias"].unsqueeze(2)) if affine else found

    def evaluated(self, inputs: Sequence[Values]) -> Values:
        """See `Layer`."""
        affine = "weight" in self._bound
        slope = (self._bound["running_var"] + self._eps).rsqrt_()
        slope = slope * self._bound["weight"] if affine else slope
        shift = -self._bound["running_mean"] * slope
        shift = shift + self._bound["bias"] if affine else shift
        scaled = inputs[0].mul_(slope.unsqueeze(2)) if self._reuse else inputs[0] * slope.unsqueeze(2)
        return scaled.add_(shift.unsqueeze(2))

    def backward(self, gradient: Values, *, wanted: bool) -> Sequence[Values]:
        """See `Layer`."""
        rows = (1, -1, gradient.shape[2])
        affine = "weight" in self._bound
        inverse = self._inverse.view(-1)
        # The input is centred already: its mean is zero.
        dx, dw, db = torch.ops.aten.native_batch_norm_backward(
            gradient.reshape(rows), self._centred.view(rows), self._bound["weight"].reshape(-1) if affine else None,
            None, None, torch.zeros_like(inverse), inverse, True, self._eps, [wanted, affine, affine],
        )  # fmt: skip
        for name, found in (("weight", dw), ("bias", db)):
            if self._bound.trains(name):
                self._bound.give(name, found)
        return (dx.view_as(gradient),) if wanted else ()


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
