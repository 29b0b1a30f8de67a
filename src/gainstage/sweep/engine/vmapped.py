"""Any network computed many at once, by torch's vmap over its own forward."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call, vmap

from gainstage.sweep.engine.stack import Stack
from gainstage.sweep.losses import LossFunction, losses


class Vmapped:
    """A program: one module's forward, mapped over the parameters and buffers of a stack.

    Batch norm's running averages are written in place into the stacked buffers, run by run. What draws random
    numbers is refused by vmap: a run's draws would depend on its neighbours.

    Args:
        model: One of the networks; lends its forward and its options.
        stack: Of all runs.
        function: The loss.
    """

    def __init__(self, model: nn.Module, stack: Stack, function: LossFunction) -> None:
        self.stack, self._model, self._function = stack, model, function

    def gradients(self, inputs: torch.Tensor, targets: torch.Tensor, *, shared: bool) -> torch.Tensor:
        """See `gainstage.sweep.engine.tape.Tape.gradients`."""
        stack = self.stack
        leaves = {name: stack.parameters[name].detach().requires_grad_() for name in stack.trained}
        outputs = self._mapped({**stack.parameters, **leaves}, inputs, shared=shared)
        found = losses(self._function, outputs, targets, shared=shared)
        gradients = torch.autograd.grad(found.sum(), list(leaves.values()))
        for own, gradient in zip(stack.gradients.values(), gradients, strict=True):
            own.copy_(gradient)
        return found.detach()

    @torch.no_grad()
    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """See `gainstage.sweep.engine.tape.Tape.outputs`."""
        self._model.eval()
        try:
            return self._mapped(self.stack.parameters, inputs, shared=True)
        finally:
            self._model.train()

    def keep(self, stack: Stack, kept: Sequence[int]) -> None:  # noqa: ARG002 - the stack is all that it has
        """Goes on with a smaller stack."""
        self.stack = stack

    def _mapped(self, parameters: dict[str, torch.Tensor], inputs: torch.Tensor, *, shared: bool) -> torch.Tensor:
        def one(own: dict[str, torch.Tensor], buffers: dict[str, torch.Tensor], batch: torch.Tensor) -> torch.Tensor:
            return functional_call(self._model, (own, buffers), (batch,))

        over = vmap(one, in_dims=(0, 0, None if shared else 0), randomness="error")
        return over(parameters, self.stack.buffers, inputs)
